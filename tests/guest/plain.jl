# A small adapter without packages, for the tests: flatten, dense and relu, their gradients by hand, and plain SGD.
# The option `fault` makes it wrong in ways that really happen.

mutable struct Plain <: Adapter
    rate::Float32
    fault::String
    inference::Bool
    layers::Vector{Any}
    values::Dict{String,Array{Float32}}
    tape::Vector{Function}
    gradients::Dict{String,Array{Float32}}
    Plain(rate, fault, inference) = new(rate, fault, inference)
end

function plain(request)
    fault, workload = get(request["options"], "fault", ""), request["workload"]
    fault == "crash" && error("it fell\nover")
    fault == "starved" && throw(OutOfMemoryError())
    println("a framework that talks on stdout")
    workload["optimizer"]["kind"] == "sgd" || throw(Unsupported("plain steps by SGD alone"))
    return Plain(workload["optimizer"]["learning_rate"], fault, workload["mode"] == "inference")
end

framework_facts(::Plain) = Dict("versions" => Dict("plain" => "1"), "device" => "cpu")

function build!(adapter::Plain, layers, weights)
    adapter.layers = layers
    adapter.values = Dict(name => copy(array) for (name, array) in weights)
end

parameters(adapter::Plain) = Dict(
    name => adapter.fault == "rounded" ? round.(array; digits=3) : copy(array) for (name, array) in adapter.values)

function logits(adapter::Plain, batch)
    adapter.tape, adapter.gradients = Function[], Dict{String,Array{Float32}}()
    return chain(adapter, adapter.layers, batch[1])
end

predict(adapter::Plain, batch) = logits(adapter, batch)

function step!(adapter::Plain, (inputs, labels))
    scores = logits(adapter, (inputs, labels))
    adapter.inference && return scores
    log_shares = scores .- maximum(scores; dims=1)
    log_shares = log_shares .- log.(sum(exp.(log_shares); dims=1))
    places = [CartesianIndex(label + 1, i) for (i, label) in enumerate(labels)]
    gradient = exp.(log_shares)
    gradient[places] .-= 1
    gradient ./= length(labels)
    for back in reverse(adapter.tape)
        gradient = back(gradient)
    end
    for (name, change) in adapter.gradients
        adapter.fault == "stuck" && endswith(name, "bias") && continue
        adapter.values[name] .-= adapter.rate .* change
    end
    return -sum(log_shares[places]) / length(labels)
end

function forward(adapter::Plain, ::Val{:flatten}, x, layer)
    push!(adapter.tape, gradient -> reshape(gradient, size(x)))
    return reshape(x, :, size(x)[end])
end

function forward(adapter::Plain, ::Val{:relu}, x, layer)
    push!(adapter.tape, gradient -> gradient .* (x .> 0))
    return max.(x, 0)
end

function forward(adapter::Plain, ::Val{:dense}, x, layer)
    weight, bias = adapter.values[layer["name"]*".weight"], adapter.values[layer["name"]*".bias"]
    push!(adapter.tape, function (gradient)
        adapter.gradients[layer["name"]*".weight"] = gradient * x'
        adapter.gradients[layer["name"]*".bias"] = vec(sum(gradient; dims=2))
        return weight' * gradient
    end)
    return weight * x .+ (adapter.fault == "no bias" ? 0 : bias)
end

plain
