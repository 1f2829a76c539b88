# What a framework must offer to be measured: the verbs of the core, and `forward` for each layer of the vocabulary.
#
# An adapter is a file beside this one that ends with the constructor of a subtype of Adapter, called with the request.
# Arrays cross this border as arrays.jl says: canonical, axes reversed, Float32; labels are Int32 class ids from 0.

abstract type Adapter end

"The framework, this release of it or this device cannot do what was asked; the text says why."
struct Unsupported <: Exception
    reason::String
end
Base.showerror(io::IO, error::Unsupported) = print(io, error.reason)

# The verbs of the core --------------------------------------------------------------------------------------------

"Make the model of these lowered layers with these weights (name to array), ready to step."
function build! end

"A batch as `step!` wants it, already on the device where the framework can keep it there."
place(::Adapter, inputs, labels) = (inputs, labels)

"The outputs (classes, batch), computed as in training: batch norm uses the batch."
function logits end

"Start one training step (or one forward pass in inference) and return what `loss` or `outputs` reads."
function step! end

"The mean cross-entropy, without the L2 term, of the step that returned this handle."
loss(::Adapter, handle) = Float64(handle)

"Inference: the outputs (..., batch) of the step that returned this handle."
outputs(::Adapter, handle) = Array(handle)

"The outputs (classes, batch), computed as at test: moving averages, no dropout."
function predict end

"Return once everything started on the device has ended."
synchronize(::Adapter) = nothing

"Every parameter the model now holds, by name."
function parameters end

"The framework's own word: versions, device (\"cpu\" or the GPU's name), threads."
function framework_facts end

# The layer vocabulary ---------------------------------------------------------------------------------------------

"One layer: takes and returns the framework's own tensor."
forward(adapter::Adapter, ::Val{kind}, x, layer) where {kind} =
    throw(Unsupported("the adapter $(nameof(typeof(adapter))) has no $kind"))

"x through these layers, one after the other."
function chain(adapter::Adapter, layers, x)
    for layer in layers
        x = forward(adapter, Val(Symbol(layer["kind"])), x, layer)
    end
    return x
end
