# Starting weights and the first batch, drawn in network order from the frozen stream; weights.py and data.py in Julia.

"Every layer in network order: a residual, then its body, then its shortcut."
function walk(layers)
    found = Any[]
    for layer in layers
        push!(found, layer)
        append!(found, walk(get(layer, "body", Any[])))
        append!(found, walk(get(layer, "shortcut", Any[])))
    end
    return found
end

"Every parameter's description in network order."
parameters_of(layers) = [parameter for layer in walk(layers) for parameter in layer["parameters"]]

"Name to Float32 array; constants (low == high) take nothing from the stream."
function draw(layers, seed)
    stream = RandomState(seed)
    return Dict{String,Array{Float32}}(p["name"] => draw_one(p, stream) for p in parameters_of(layers))
end

function draw_one(parameter, stream)
    low, high = Float64(parameter["low"]), Float64(parameter["high"])
    drawn = Array{Float32}(undef, size_here(parameter["shape"]))
    return low == high ? fill!(drawn, low) : uniform!(stream, drawn, low, high)
end

"The same layers less every dropout, as the witness is taken."
function without_dropout(layers)
    kept = [copy(layer) for layer in layers if layer["kind"] != "dropout"]
    for layer in kept, branch in ("body", "shortcut")
        haskey(layer, branch) && (layer[branch] = without_dropout(layer[branch]))
    end
    return kept
end

"(inputs, labels): Float32 images from U[low, high) or Int32 token ids, and Int32 class ids from 0."
function first_batch(data, batch, input_shape, classes, seed)
    stream = RandomState(seed)
    size = size_here([batch; input_shape])
    inputs = data["kind"] == "tokens" ?
        randint!(stream, Array{Int32}(undef, size), data["vocabulary"]) :
        uniform!(stream, Array{Float32}(undef, size), Float64(data["low"]), Float64(data["high"]))
    return inputs, randint!(stream, Vector{Int32}(undef, batch), classes)
end
