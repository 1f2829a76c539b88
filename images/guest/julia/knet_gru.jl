# Between the canonical arrays of a GRU and the one vector in which Knet keeps it, as cuDNN does.
#
# The vector holds the input's matrices of the gates reset, update, new, then the state's, then the biases of both in the
# same order; a matrix lies as (inputs, units), column by column. The canonical gates r, z, n are the same three: Knet,
# like cuDNN, has h' = (1 - z) n + z h and n = tanh(x Wn + bn + r (h Un + cn)).

"The vector of weight (3 units, inputs), recurrent weight (3 units, units), bias and recurrent bias (3 units)."
function gru_vector(weight, recurrent_weight, bias, recurrent_bias)
    units = size(recurrent_weight, 2)
    gates(matrix) = (vec(permutedims(matrix[(gate-1)*units+1:gate*units, :])) for gate in 1:3)
    return vcat(gates(weight)..., gates(recurrent_weight)..., bias, recurrent_bias)
end

"What `gru_vector` undoes: the four arrays by the names of their parameters."
function gru_arrays(vector, inputs, units)
    at = 0
    function taken(rows)
        gates = [permutedims(reshape(vector[at+(gate-1)*rows*units+1:at+gate*rows*units], rows, units)) for gate in 1:3]
        at += 3 * rows * units
        return vcat(gates...)
    end
    weight, recurrent_weight = taken(inputs), taken(units)
    biases = reshape(vector[at+1:end], 3 * units, 2)
    return Dict("weight" => weight, "recurrent_weight" => recurrent_weight,
        "bias" => biases[:, 1], "recurrent_bias" => biases[:, 2])
end
