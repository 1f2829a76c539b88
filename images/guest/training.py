"""A training run over samples that every cell sees in one order, and how many others it then classifies right."""
from __future__ import absolute_import, division, print_function

import io
import os

import numpy as np


class Samples(object):
    """The arrays of a samples file: `order` holds the train rows of each step, so nobody's shuffling differs.

    Images are kept as bytes and become (value * scale - mean) as float32; tokens stay int32 ids.
    """

    def __init__(self, path):
        with io.open(path, "rb") as file:
            self.arrays = dict(np.load(file).items())
        self.steps = len(self.arrays["order"])

    def batch(self, part, rows):
        """(inputs, labels) of these rows of the part "train" or "test"."""
        inputs = self.arrays[part + "_inputs"][rows]
        if inputs.dtype == np.uint8:
            inputs = inputs.astype(np.float32) * self.arrays["scale"] - self.arrays["mean"]
        return inputs, self.arrays[part + "_labels"][rows]

    def training_batches(self):
        for rows in self.arrays["order"]:
            yield self.batch("train", rows)

    def test_batches(self):
        """Full batches only, as in training: some adapters cannot take another size."""
        size = self.arrays["order"].shape[1]
        for start in range(0, len(self.arrays["test_labels"]) - size + 1, size):
            yield self.batch("test", slice(start, start + size))


def train(adapter, folder, training, clock):
    """Step through the whole order; {"steps", "seconds", "accuracy"}, the seconds without what made the batches."""
    samples = Samples(os.path.join(folder, training["file"]))
    seconds = 0.0
    for inputs, labels in samples.training_batches():
        start = clock()
        adapter.step(adapter.place(inputs, labels))
        adapter.synchronize()
        seconds += clock() - start
    return {"steps": samples.steps, "seconds": seconds, "accuracy": accuracy(adapter, samples.test_batches())}


def accuracy(adapter, batches):
    """The share of these samples whose largest output is that of their class."""
    right = [np.argmax(adapter.predict(adapter.place(inputs, labels)), axis=1) == labels for inputs, labels in batches]
    return float(np.mean(right))
