"""
A stand-in for the part of Knet 1.4 that the adapter uses: its names, keywords, shapes and meanings, as its documentation
and sources tell them, in plain loops. Gradients are central differences of the loss, so it is for small networks alone.
Numbers are kept in Float64, which those differences need. The real package refuses what its signatures do not know,
and so does this.
"""
module Knet

export @diff, Param, RNN, batchnorm, bnmoments, conv4, dropout, grad, mat, nll, param, pool, relu, update!, value

mutable struct Param{T}
    value::T
    opt::Any
end
Param(value) = Param{typeof(value)}(value, nothing)

const array_type = Ref{Type}(Array{Float32})
atype() = array_type[]
const made = Param[]  # every one there is, for a tape to know
param(array::AbstractArray) = (push!(made, Param(Float64.(array))); made[end])
value(x) = x
value(p::Param) = p.value

# What Params do in formulas here.
Base.:*(w::Param, x) = w.value * x
Base.getindex(p::Param, i...) = p.value[i...]
Base.sum(f::typeof(abs2), p::Param) = sum(f, p.value)
Base.Broadcast.broadcastable(p::Param) = p.value

# Differentiation ------------------------------------------------------------------------------------------------

struct Tape
    loss::Float64
    again::Function
    slopes::IdDict{Param,Any}
end
macro diff(expression)
    return :(let again = () -> $(esc(expression))
        Tape(again(), again, IdDict{Param,Any}())
    end)
end
value(tape::Tape) = tape.loss

const probing = Ref(false)  # whether the loss is computed again for a slope, which moving averages are not to see

"All slopes are taken at the first question, before anything changes: a real tape remembers, this one computes again."
function grad(tape::Tape, p::Param)
    if isempty(tape.slopes)
        probing[] = true
        foreach(each -> tape.slopes[each] = slope(tape.again, each.value), made)
        tape.again()
        probing[] = false
    end
    return tape.slopes[p]
end

function slope(loss, array)
    found = similar(array)
    for i in eachindex(array)
        original, step = array[i], 1e-6
        array[i] = original + step
        above = loss()
        array[i] = original - step
        found[i] = (above - loss()) / 2step
        array[i] = original
    end
    return found
end

# Optimizers -------------------------------------------------------------------------------------------------------

abstract type Rule end
mutable struct SGD <: Rule; lr; end
mutable struct Momentum <: Rule; lr; gamma; v; end
mutable struct Adam <: Rule; lr; beta1; beta2; eps; t; m; v; end
mutable struct Adadelta <: Rule; lr; rho; eps; G; delta; end
SGD(; lr=0.1) = SGD(lr)
Momentum(; lr=0.05, gamma=0.95) = Momentum(lr, gamma, 0.0)
Adam(; lr=0.001, beta1=0.9, beta2=0.999, eps=1e-8) = Adam(lr, beta1, beta2, eps, 0, 0.0, 0.0)
Adadelta(; lr=1.0, rho=0.9, eps=1e-6) = Adadelta(lr, rho, eps, 0.0, 0.0)

update!(p::Param, g) = (p.value .-= change(p.opt, g); p)

change(o::SGD, g) = o.lr .* g
change(o::Momentum, g) = -(o.v = o.gamma .* o.v .- o.lr .* g)
function change(o::Adam, g)
    o.t += 1
    o.m = o.beta1 .* o.m .+ (1 - o.beta1) .* g
    o.v = o.beta2 .* o.v .+ (1 - o.beta2) .* g .^ 2
    return o.lr .* (o.m ./ (1 - o.beta1^o.t)) ./ (sqrt.(o.v ./ (1 - o.beta2^o.t)) .+ o.eps)
end
function change(o::Adadelta, g)
    o.G = o.rho .* o.G .+ (1 - o.rho) .* g .^ 2
    step = g .* sqrt.(o.delta .+ o.eps) ./ sqrt.(o.G .+ o.eps)
    o.delta = o.rho .* o.delta .+ (1 - o.rho) .* step .^ 2
    return o.lr .* step
end

# Operators --------------------------------------------------------------------------------------------------------

relu(x::T) where {T} = max(x, T(0))
mat(x; dims::Int=ndims(x) - 1) = reshape(x, prod(size(x)[1:dims]), :)

"w (W1, W2, in, out), x (X1, X2, in, batch); mode 0 flips the kernel."
conv4(w, x; padding=0, stride=1, mode=0) =
    correlation(mode == 0 ? value(w)[end:-1:1, end:-1:1, :, :] : value(w), x, padding, stride)

function correlation(w, x, padding, stride)
    outer(i) = (size(x, i) + 2padding - size(w, i)) ÷ stride + 1
    y = zeros(outer(1), outer(2), size(w, 4), size(x, 4))
    for n in axes(y, 4), k in axes(y, 3), j in axes(y, 2), i in axes(y, 1)
        for c in axes(w, 3), b in axes(w, 2), a in axes(w, 1)
            row, column = (i - 1) * stride + a - padding, (j - 1) * stride + b - padding
            if 1 <= row <= size(x, 1) && 1 <= column <= size(x, 2)
                y[i, j, k, n] += w[a, b, c, k] * x[row, column, c, n]
            end
        end
    end
    return y
end

"mode 0: the largest, padding left out; mode 1: the mean, padding counted."
function pool(x; window=2, padding=0, stride=window, mode=0)
    pair(i) = i isa Tuple ? i : (i, i)
    return pooled(x, pair(window), pair(stride), padding, mode)
end

function pooled(x, window, stride, padding, mode)
    outer(i) = (size(x, i) + 2padding - window[i]) ÷ stride[i] + 1
    y = zeros(outer(1), outer(2), size(x, 3), size(x, 4))
    inside(i, k) = max(1, (i - 1) * stride[k] - padding + 1):min(size(x, k), (i - 1) * stride[k] - padding + window[k])
    for n in axes(y, 4), c in axes(y, 3), j in axes(y, 2), i in axes(y, 1)
        seen = view(x, inside(i, 1), inside(j, 2), c, n)
        y[i, j, c, n] = mode == 0 ? maximum(seen) : sum(seen) / prod(window)
    end
    return y
end

dropout(x, p; drop=true) = drop && p > 0 ? x .* (rand(size(x)...) .> p) ./ (1 - p) : x

mutable struct BNMoments
    momentum::Float64
    mean
    var
end
bnmoments(; momentum=0.1, mean=nothing, var=nothing) = BNMoments(momentum, mean, var)

function batchnorm(x, moments, params; eps=1e-5, training=true)
    others = (1:ndims(x)-2..., ndims(x))
    shape = (ones(Int, ndims(x) - 2)..., :, 1)
    scale, shift = reshape.((value(params)[1:end÷2], value(params)[end÷2+1:end]), Ref(shape))
    mean, var = moments.mean, moments.var
    if training
        mean = sum(x; dims=others) ./ (length(x) / size(x, ndims(x) - 1))
        var = sum(abs2, x .- mean; dims=others) ./ (length(x) / size(x, ndims(x) - 1))
        if !probing[]
            moments.mean = moments.momentum .* mean .+ (1 - moments.momentum) .* moments.mean
            moments.var = moments.momentum .* var .+ (1 - moments.momentum) .* moments.var
        end
    end
    return scale .* (x .- mean) ./ sqrt.(var .+ eps) .+ shift
end

"scores (classes, batch), labels from 1."
function nll(scores, labels)
    shares = scores .- maximum(scores; dims=1)
    shares = shares .- log.(sum(exp.(shares); dims=1))
    return -sum(shares[label, i] for (i, label) in enumerate(labels)) / length(labels)
end

"One layer of gated units: the vector w holds matrices (inputs, units) of the gates r, i, n, then of the state, then biases."
mutable struct RNN
    w::Any
    inputs::Int
    units::Int
end
function RNN(inputs, units; rnnType=:lstm)
    rnnType == :gru || error("the stand-in knows :gru alone")
    return RNN(Param(zeros(1, 1, 3units * (inputs + units + 2))), inputs, units)
end

function (r::RNN)(x)
    w, H, X, at = vec(r.w.value), r.units, r.inputs, 0
    taken(rows) = (at += rows * H; reshape(w[at-rows*H+1:at], rows, H))
    Wr, Wi, Wn, Rr, Ri, Rn = taken(X), taken(X), taken(X), taken(H), taken(H), taken(H)
    bWr, bWi, bWn, bRr, bRi, bRn = (vec(taken(1)) for _ in 1:6)
    sigm(x) = 1 / (1 + exp(-x))
    h, y = zeros(H, size(x, 2)), zeros(H, size(x, 2), size(x, 3))
    for t in axes(x, 3)
        now = x[:, :, t]
        reset = sigm.(Wr' * now .+ Rr' * h .+ bWr .+ bRr)
        keep = sigm.(Wi' * now .+ Ri' * h .+ bWi .+ bRi)
        new = tanh.(Wn' * now .+ reset .* (Rn' * h .+ bRn) .+ bWn)
        h = (1 .- keep) .* new .+ keep .* h
        y[:, :, t] = h
    end
    return y
end

end
