# A training run over samples that every cell sees in one order, and how many others it then classifies right.

"(inputs, labels) of these rows (from 0) of a part; images are kept as bytes and become value * scale - mean."
function batch_of(arrays, part, rows)
    inputs = collect(selectdim(arrays["$(part)_inputs"], ndims(arrays["$(part)_inputs"]), rows .+ 1))
    if eltype(inputs) == UInt8
        inputs = Float32.(inputs) .* arrays["scale"] .- arrays["mean"]
    end
    return inputs, arrays["$(part)_labels"][rows.+1]
end

"Step through the whole order; the seconds without what made the batches."
function train(adapter, path)
    arrays = read_npz(path)
    order = arrays["order"]  # the train rows of each step, so that nobody's shuffling differs
    seconds = 0.0
    for step in 1:size(order, 2)
        inputs, labels = batch_of(arrays, "train", order[:, step])
        start = clock()
        step!(adapter, place(adapter, inputs, labels))
        synchronize(adapter)
        seconds += clock() - start
    end
    return Dict("steps" => size(order, 2), "seconds" => seconds, "accuracy" => accuracy(adapter, arrays, size(order, 1)))
end

"The share of the test samples, in full batches, whose largest output is that of their class."
function accuracy(adapter, arrays, batch)
    right = seen = 0
    for start in 0:batch:length(arrays["test_labels"])-batch
        inputs, labels = batch_of(arrays, "test", start:start+batch-1)
        scores = predict(adapter, place(adapter, inputs, labels))
        right += count(argmax(view(scores, :, i)) - 1 == labels[i] for i in 1:batch)
        seen += batch
    end
    return right / seen
end
