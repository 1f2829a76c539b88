# What the guest can say of the place it runs in: Julia, packages, threads, memory.

const COUNTED = ("JULIA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "JULIA_CUDA_VERSION")

"Facts of Julia, of the packages of its project and of the variables that decide how many threads work."
place_facts() = Dict{String,Any}(
    "julia" => string(VERSION),
    "implementation" => "Julia",
    "system" => "$(Sys.KERNEL) $(Sys.MACHINE)",
    "cpu" => Sys.CPU_NAME,
    "threads" => Threads.nthreads(),
    "packages" => packages(),
    "environment" => Dict(name => ENV[name] for name in COUNTED if haskey(ENV, name)),
)

"Name to version of all that the active project's manifest pins; without a project, nothing."
function packages()
    project = Base.active_project()
    manifest = project === nothing ? "" : joinpath(dirname(project), "Manifest.toml")
    return isfile(manifest) ? packages_in(read(manifest, String)) : Dict{String,String}()
end

# Line by line: Julia has a reader of TOML since 1.6 alone, and a manifest is written by Pkg in one form.
function packages_in(manifest)
    found, name = Dict{String,String}(), ""
    for line in split(manifest, '\n')
        heading = match(r"^\[\[(?:deps\.)?(\w+)\]\]", line)
        heading === nothing || (name = String(heading[1]))
        version = match(r"^version = \"(.*)\"", line)
        version === nothing || (found[name] = String(version[1]))
    end
    return found
end

"The most memory this process held at once."
peak_memory_bytes() = Int(Sys.maxrss())
