"A stand-in for CUDA.jl on a machine without a GPU."
module CUDA
functional() = false
end
