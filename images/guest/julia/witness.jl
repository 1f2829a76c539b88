# The numbers that prove which network a cell computes: weights read back, first outputs, losses, first updates.

const SHOWN = 10  # numbers of each sample's outputs, or of a moving average, that the answer repeats; the norm covers the rest

"What the adapter reads back is not what it was given."
struct WrongWeights <: Exception
    reason::String
end
Base.showerror(io::IO, error::WrongWeights) = print(io, error.reason)

"WrongWeights, which says when, unless both hold the same names and exactly the same numbers."
function check_read_back(given, read, when="")
    missing_, extra = setdiff(keys(given), keys(read)), setdiff(keys(read), keys(given))
    listed(names) = isempty(names) ? "none" : join(sort!(collect(names)), ", ")
    if !isempty(missing_) || !isempty(extra)
        throw(WrongWeights("$(when)parameters missing: $(listed(missing_)); not asked for: $(listed(extra))"))
    end
    for name in sort!(collect(keys(given)))
        if size(given[name]) != size(read[name])
            throw(WrongWeights("$when$name has shape $(shape_there(read[name])), not $(shape_there(given[name]))"))
        elseif given[name] != read[name]
            worst = maximum(abs.(Float64.(given[name]) .- read[name]))
            throw(WrongWeights("$when$name reads back with a difference of $(@sprintf("%g", worst))"))
        end
    end
end

"The first outputs of each sample and the L2 norm of all: {\"first\": [[...]], \"norm\": x}."
function outputs_in_short(outputs)
    rows = reshape(Float64.(outputs), :, size(outputs, ndims(outputs)))
    first_ = [rows[1:min(SHOWN, end), sample] for sample in 1:size(rows, 2)]
    return Dict("first" => first_, "norm" => sqrt(sum(abs2, rows)))
end

"The L2 norm of the change of each trainable parameter, summed in Float64."
update_norms(before, after, trainable) =
    Dict(name => norm_of_change(before[name], after[name]) for name in keys(before) if name in trainable)

"The change of each parameter that is not trained, in Float64: {\"first\": [...], \"norm\": x} by name."
changes_of_averages(before, after, trainable) =
    Dict(name => change_in_short(before[name], after[name]) for name in keys(before) if !(name in trainable))

change_in_short(before, after) = Dict(
    "first" => Float64.(after[1:min(SHOWN, end)]) .- Float64.(before[1:min(SHOWN, end)]),
    "norm" => norm_of_change(before, after),
)

function norm_of_change(before::Array{Float32}, after::Array{Float32})
    squares = 0.0
    @inbounds for i in eachindex(before, after)
        squares += abs2(Float64(after[i]) - Float64(before[i]))
    end
    return sqrt(squares)
end

"""
Outputs, the loss of each of the first steps, and each parameter's first change; `on_first_step` times the first.

What `logits` does to the averages shows in no loss, so they are read back behind it.
"""
function training_witness(adapter, given, trainable, batch, steps, on_first_step)
    found = Dict{String,Any}("outputs" => outputs_in_short(logits(adapter, batch)))
    length(trainable) < length(given) && check_read_back(given, parameters(adapter), "after logits, ")
    losses = [on_first_step(() -> loss(adapter, step!(adapter, batch)))]
    after = parameters(adapter)
    found["update_norms"] = update_norms(given, after, trainable)
    found["averages"] = changes_of_averages(given, after, trainable)
    for _ in 2:steps
        push!(losses, loss(adapter, step!(adapter, batch)))
    end
    found["losses"] = losses
    return found
end

"The outputs of the first forward pass."
inference_witness(adapter, batch, on_first_step) =
    Dict{String,Any}("outputs" => outputs_in_short(on_first_step(() -> outputs(adapter, step!(adapter, batch)))))
