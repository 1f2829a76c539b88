# Knet 1.4: Params, @diff and update!, its own operators of layers, KnetArrays on a GPU.
#
# Its layouts are those of arrays.jl: images (w, h, channels, batch), filters (w, h, in, out), dense (out, in). Its SGD,
# momentum (v = m v - rate g), Adam (epsilon outside the corrected root) and Adadelta (inside both) are the reference's;
# its batch norm keeps moving averages of the biased variance on the CPU, and cuDNN's of the unbiased on a GPU.

import CUDA
import LinearAlgebra
using Knet: Knet, @diff, Param, RNN, batchnorm, bnmoments, conv4, dropout, grad, mat, nll, param, pool, relu, update!, value

include("knet_gru.jl")

const CUDNN_LEAST_EPSILON = 1e-5  # below, Knet takes this instead, and only warns

mutable struct OnKnet <: Adapter
    gpu::Bool
    inference::Bool
    optimizer::Dict{String,Any}
    l2::Float32
    training::Bool  # whether the layers work as in training just now
    layers::Vector{Any}
    parts::Dict{String,Any}  # what a layer keeps, by its name
    learned::Vector{Param}
    decayed::Vector{Param}
    OnKnet(gpu, inference, optimizer, l2) = new(gpu, inference, optimizer, l2, true)
end

function on_knet(request)
    gpu, workload = request["device"] == "gpu", request["workload"]
    gpu && !CUDA.functional() && throw(Unsupported("CUDA.jl sees no GPU that works"))
    gpu || (Knet.array_type[] = Array{Float32})  # where there is a GPU, Knet would take it
    LinearAlgebra.BLAS.set_num_threads(request["threads"])
    return OnKnet(gpu, workload["mode"] == "inference", workload["optimizer"], workload["l2"])
end

framework_facts(adapter::OnKnet) = Dict{String,Any}(
    "versions" => filter(pair -> pair.first in ("Knet", "AutoGrad", "NNlib", "CUDA"), packages()),
    "device" => adapter.gpu ? CUDA.name(CUDA.device()) : "cpu",
    "threads" => Threads.nthreads(),
)

# The model --------------------------------------------------------------------------------------------------------

function build!(adapter::OnKnet, layers, weights)
    adapter.layers = layers
    adapter.parts = Dict{String,Any}()
    for layer in walk(layers)
        if !isempty(layer["parameters"])
            given = Dict(part_of(p) => weights[p["name"]] for p in layer["parameters"])
            adapter.parts[layer["name"]] = kept(adapter, Val(Symbol(layer["kind"])), layer, given)
        end
    end
    parts = [adapter.parts[layer["name"]] for layer in walk(layers) if haskey(adapter.parts, layer["name"])]
    adapter.learned = Param[p for part in parts for p in learned_of(part)]
    adapter.decayed = adapter.l2 == 0 ? Param[] :
        Param[adapter.parts[layer["name"]].weight for layer in walk(layers) if layer["kind"] == "conv2d"]
    for p in adapter.learned
        p.opt = new_optimizer(adapter.optimizer)
    end
end

"A parameter's name without its layer's."
part_of(parameter) = String(split(parameter["name"], '.')[end])

learned_of(part::NamedTuple) = [p for p in values(part) if p isa Param]
learned_of(part::RNN) = [part.w]

function new_optimizer(constants)
    kind, lr = constants["kind"], constants["learning_rate"]
    kind == "sgd" && return Knet.SGD(lr=lr)
    kind == "momentum" && return Knet.Momentum(lr=lr, gamma=constants["momentum"])
    kind == "adam" && return Knet.Adam(
        lr=lr, beta1=constants["beta1"], beta2=constants["beta2"], eps=constants["epsilon"])
    kind == "adadelta" && return Knet.Adadelta(lr=lr, rho=constants["rho"], eps=constants["epsilon"])
    throw(Unsupported("the Knet adapter has no optimizer $kind"))
end

"An array of ours as a Param of Knet's; copied, since a Param changes in place."
own(array) = param(copy(array))

kept(::OnKnet, ::Val{kind}, layer, given) where {kind} = throw(Unsupported("the Knet adapter has no $kind"))
kept(::OnKnet, ::Val{:conv2d}, layer, given) = (
    weight=own(given["weight"]), bias=layer["bias"] ? own(reshape(given["bias"], 1, 1, :, 1)) : nothing)
kept(::OnKnet, ::Val{:dense}, layer, given) = (
    weight=own(given["weight"]), bias=layer["bias"] ? own(given["bias"]) : nothing)
kept(::OnKnet, ::Val{:embedding}, layer, given) = (weight=own(given["weight"]),)

"Knet keeps gamma and beta in one vector, and moments in the shape in which they are used."
function kept(adapter::OnKnet, ::Val{:batch_norm}, layer, given)
    if adapter.gpu && layer["epsilon"] < CUDNN_LEAST_EPSILON
        throw(Unsupported("cuDNN's batch norm takes no epsilon below $CUDNN_LEAST_EPSILON, and this one is $(layer["epsilon"])"))
    end
    shape = length(layer["in_shape"]) == 3 ? (1, 1, :, 1) : (:, 1)
    moment(part) = value(own(reshape(given[part], shape)))
    moments = bnmoments(momentum=1 - layer["momentum"], mean=moment("moving_mean"), var=moment("moving_variance"))
    return (scale_and_shift=own([given["gamma"]; given["beta"]]), moments=moments)
end

function kept(::OnKnet, ::Val{:gru}, layer, given)
    if !layer["reset_after"]
        throw(Unsupported("Knet's GRU applies the reset gate after the recurrent product, never before it"))
    end
    rnn = RNN(layer["in_shape"][2], layer["units"]; rnnType=:gru)
    vector = gru_vector(given["weight"], given["recurrent_weight"], given["bias"], given["recurrent_bias"])
    rnn.w = own(reshape(vector, 1, 1, :))
    return rnn
end

function parameters(adapter::OnKnet)
    found = Dict{String,Array{Float32}}()
    for layer in walk(adapter.layers)
        if !isempty(layer["parameters"])
            read = read_back(Val(Symbol(layer["kind"])), layer, adapter.parts[layer["name"]])
            for p in layer["parameters"]
                found[p["name"]] = reshape(read[part_of(p)], size_here(p["shape"]))
            end
        end
    end
    return found
end

"The arrays that a layer holds now, in any shape, by the names of its parameters."
read_back(::Val, layer, part) =
    Dict(string(name) => Array(value(p)) for (name, p) in pairs(part) if p !== nothing)
read_back(::Val{:gru}, layer, rnn) = gru_arrays(vec(Array(value(rnn.w))), layer["in_shape"][2], layer["units"])

function read_back(::Val{:batch_norm}, layer, part)
    both = reshape(Array(value(part.scale_and_shift)), :, 2)
    return Dict("gamma" => both[:, 1], "beta" => both[:, 2],
        "moving_mean" => Array(part.moments.mean), "moving_variance" => Array(part.moments.var))
end

# The verbs --------------------------------------------------------------------------------------------------------

"Classes and tokens count from 1 in Julia; Knet's RNN wants (features, batch, time), so tokens lie as (batch, time)."
function place(::OnKnet, inputs, labels)
    placed = eltype(inputs) <: Integer ? Int.(permutedims(inputs)) .+ 1 : convert(Knet.atype(), inputs)
    return placed, Int.(labels) .+ 1
end

function step!(adapter::OnKnet, (inputs, labels))
    adapter.training = !adapter.inference
    adapter.inference && return chain(adapter, adapter.layers, inputs)
    plain = Ref{Any}()
    tape = @diff begin
        total = nll(chain(adapter, adapter.layers, inputs), labels)
        plain[] = value(total)
        for weight in adapter.decayed
            total = total + adapter.l2 * sum(abs2, weight)
        end
        total
    end
    for p in adapter.learned
        update!(p, grad(tape, p))
    end
    return plain[]
end

function logits(adapter::OnKnet, (inputs, _))
    all_moments = [part.moments for part in values(adapter.parts) if part isa NamedTuple && haskey(part, :moments)]
    before = [(copy(moments.mean), copy(moments.var)) for moments in all_moments]
    adapter.training = true
    found = Array(chain(adapter, adapter.layers, inputs))
    for (moments, (mean, var)) in zip(all_moments, before)
        moments.mean, moments.var = mean, var
    end
    return found
end

function predict(adapter::OnKnet, (inputs, _))
    adapter.training = false
    return Array(chain(adapter, adapter.layers, inputs))
end

synchronize(adapter::OnKnet) = (adapter.gpu && CUDA.synchronize(); nothing)

# Layers -----------------------------------------------------------------------------------------------------------

with_bias(x, bias) = bias === nothing ? x : x .+ bias

function forward(adapter::OnKnet, ::Val{:conv2d}, x, layer)
    part = adapter.parts[layer["name"]]
    # mode 1 is the cross-correlation; Knet's own default flips the kernel.
    return with_bias(conv4(part.weight, x; padding=layer["padding"], stride=layer["stride"], mode=1), part.bias)
end

function forward(adapter::OnKnet, ::Val{:dense}, x, layer)
    part = adapter.parts[layer["name"]]
    return with_bias(part.weight * x, part.bias)
end

function forward(adapter::OnKnet, ::Val{:batch_norm}, x, layer)
    part = adapter.parts[layer["name"]]
    normal(x) = batchnorm(x, part.moments, part.scale_and_shift; eps=layer["epsilon"], training=adapter.training)
    axis = layer["axis"]
    axis == 0 && return normal(x)
    order = axis == 1 ? (1, 3, 2, 4) : (3, 2, 1, 4)  # Knet normalises over the last axis but one, and no other
    return permutedims(normal(permutedims(x, order)), order)
end

forward(::OnKnet, ::Val{:relu}, x, layer) = relu.(x)
forward(::OnKnet, ::Val{:leaky_relu}, x, layer) = relu.(x) .- Float32(layer["slope"]) .* relu.(-x)
forward(::OnKnet, ::Val{:tanh}, x, layer) = tanh.(x)
forward(::OnKnet, ::Val{:max_pool}, x, layer) =
    pool(x; window=layer["kernel"], stride=layer["stride"], padding=layer["padding"])
forward(::OnKnet, ::Val{:avg_pool}, x, layer) = pool(x; window=layer["kernel"], stride=layer["stride"], mode=1)
forward(::OnKnet, ::Val{:global_avg_pool}, x, layer) = mat(pool(x; window=(size(x, 1), size(x, 2)), mode=1))
forward(::OnKnet, ::Val{:flatten}, x, layer) = mat(x)
forward(adapter::OnKnet, ::Val{:dropout}, x, layer) = dropout(x, layer["rate"]; drop=adapter.training)

function forward(adapter::OnKnet, ::Val{:embedding}, x, layer)
    columns = adapter.parts[layer["name"]].weight[:, vec(x)]
    return reshape(columns, layer["dimension"], size(x)...)
end

function forward(adapter::OnKnet, ::Val{:gru}, x, layer)
    states = adapter.parts[layer["name"]](x)
    return states[:, :, size(states, 3)]
end

forward(adapter::OnKnet, ::Val{:residual}, x, layer) = chain(adapter, layer["body"], x) .+ chain(adapter, layer["shortcut"], x)

on_knet
