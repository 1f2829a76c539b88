"""The first batch, drawn from its own frozen RandomState stream."""
from __future__ import absolute_import, division, print_function

import numpy as np


def first_batch(data, batch, input_shape, classes, seed):
    """(inputs, labels): float32 images from U[low, high) or int32 token ids, and int32 class ids."""
    stream = np.random.RandomState(seed)
    shape = (batch,) + tuple(input_shape)
    if data["kind"] == "tokens":
        inputs = stream.randint(0, data["vocabulary"], size=shape).astype(np.int32)
    else:
        inputs = stream.uniform(data["low"], data["high"], size=shape).astype(np.float32)
    return inputs, stream.randint(0, classes, size=batch).astype(np.int32)
