# The guest in Julia: `julia guest.jl JOB_FOLDER` reads request.json and leaves answer.json beside it.
#
# It speaks the protocol of ../__main__.py, on Julia 1.5 and newer with its standard library and one framework. Its own
# stdout carries one JSON event a line, for live progress only; whatever a framework prints goes to stderr, a log.

module Guest

using Printf: @sprintf

# Of request and answer, as in ../__main__.py. History: 2, the first here; 3, moving averages in the witness, and words for
# numbers that are not finite.
const SCHEMA = 3

include("json.jl")
include("random.jl")
include("arrays.jl")
include("adapter.jl")
include("weights.jl")
include("witness.jl")
include("timing.jl")
include("training.jl")
include("facts.jl")

function main(folder)
    say = event_stream()
    request = parse_json(read(joinpath(folder, "request.json"), String))
    if request["schema"] != SCHEMA
        println(stderr, "this guest reads requests of schema $SCHEMA, not $(request["schema"])")
        exit(1)
    end
    write_answer(folder, answer_to(request, say, folder))
end

"Keep stdout for events and send everyone else's prints, C code's too, to stderr."
function event_stream()
    events = Base.fdio(ccall(:dup, Cint, (Cint,), 1), true)
    redirect_stdout(stderr)
    ccall(:dup2, Cint, (Cint, Cint), 2, 1)
    return function (event; fields...)
        named = Dict{String,Any}(string(name) => value for (name, value) in fields)
        named["event"] = event
        println(events, json(named))
        flush(events)
    end
end

"The answer, whatever happens: a failure is a status with a reason, its traceback on stderr."
function answer_to(request, say, folder)
    answer = Dict{String,Any}("schema" => SCHEMA, "status" => "ok", "costs_seconds" => Dict{String,Float64}())
    try
        measure(request, answer, say, folder)
    catch caught
        caught isa InterruptException && rethrow()
        error = root_of(caught)
        if error isa Unsupported
            answer["status"], answer["reason"] = "unsupported", error.reason
        elseif error isa WrongWeights
            answer["status"], answer["reason"] = "wrong_witness", error.reason
        else
            showerror(stderr, caught, catch_backtrace())
            println(stderr)
            answer["status"], answer["reason"] = fate_of(error), one_line(error)
        end
    end
    answer["costs_seconds"] = Dict(name => round(cost; digits=6) for (name, cost) in answer["costs_seconds"])
    return answer
end

"What failed in a file that was loaded, or while a module got ready."
root_of(error) = error isa Union{LoadError,InitError} ? root_of(error.error) : error

function fate_of(error)
    words = ("out of memory", "out of gpu memory", "out_of_memory", "bad_alloc", "can't allocate memory")
    text = lowercase(sprint(showerror, error))
    starved = error isa OutOfMemoryError || any(word -> occursin(word, text), words)
    return starved ? "out_of_memory" : "crashed"
end

function one_line(error)
    name = string(nameof(typeof(error)))
    text = join(split(sprint(showerror, error)), ' ')
    text = startswith(text, name) ? lstrip(text[ncodeunits(name)+1:end], [':', ' ']) : text
    return "$name: " * (text in ("", "()") ? "no message" : first(text, 300))
end

"Import, build, prove, warm up, sample, train; every finding goes into the answer as soon as it is had."
function measure(request, answer, say, folder)
    costs = answer["costs_seconds"]
    function cost(work, name)
        say("state"; state=name)
        start = clock()
        result = work()
        costs[name] = clock() - start
        return result
    end

    answer["facts"] = place_facts()
    file = joinpath(@__DIR__, request["adapter"] * ".jl")
    isfile(file) || throw(Unsupported("this guest has no adapter $(request["adapter"])"))
    make = cost(() -> Base.include(Guest, file), "import")
    # What was just loaded is newer than the code that runs here; one call into the newest world, and all of it is known.
    Base.invokelatest(measure_with, make, request, answer, say, folder, cost)
end

function measure_with(make, request, answer, say, folder, cost)
    adapter = make(request)
    answer["facts"]["framework"] = framework_facts(adapter)

    workload, layers, seed = request["workload"], request["network"], request["seed"]
    drawn = first_batch(workload["data"], workload["batch"], layers[1]["in_shape"], workload["classes"], seed + 1)
    batch, answer["witness"] = prove(adapter, request, drawn, cost)

    sampling = request["sampling"]
    if sampling === nothing
        answer["peak_memory_bytes"] = peak_memory_bytes()
        return
    end

    step() = step!(adapter, batch)
    wait() = synchronize(adapter)

    say("state"; state="warm_up")
    answer["warm_up"] = warm_up(step, wait, sampling)
    say("state"; state="sampling")
    answer["samples"] = samples(step, wait, sampling, answer["warm_up"],
        sample -> say("sample"; seconds=sample["seconds"], steps=sample["steps"]))
    answer["facts"]["framework"] = framework_facts(adapter)
    answer["peak_memory_bytes"] = peak_memory_bytes()

    training = request["training"]
    if training !== nothing
        build!(adapter, layers, draw(layers, seed))
        answer["training"] = cost(() -> train(adapter, joinpath(folder, training["file"])), "training")
    end
    return
end

"The batch in its place and the witness; the adapter is left with the network built for the timed steps."
function prove(adapter, request, drawn, cost)
    layers = request["network"]
    proven = without_dropout(layers)
    given = cost(() -> draw(layers, request["seed"]), "weights")
    cost(() -> build!(adapter, proven, given), "build")
    cost(() -> check_read_back(given, parameters(adapter)), "read_back")
    batch = place(adapter, drawn...)
    on_first_step(run) = cost(run, "first_step")
    if request["workload"]["mode"] == "inference"
        found = inference_witness(adapter, batch, on_first_step)
    else
        trainable = Set(p["name"] for p in parameters_of(layers) if p["trainable"])
        found = training_witness(adapter, given, trainable, batch, request["witness_steps"], on_first_step)
    end
    found["parameters"] = sum(length(array) for array in values(given))
    proven == layers || cost(() -> build!(adapter, layers, given), "rebuild")
    return batch, found
end

"Beside and then in place, so that a reader never sees half an answer."
function write_answer(folder, answer)
    path = joinpath(folder, "answer.json")
    write(path * ".part", json(answer))
    Base.Filesystem.rename(path * ".part", path)
end

end

if abspath(PROGRAM_FILE) == abspath(@__FILE__)
    Guest.main(ARGS[1])
end
