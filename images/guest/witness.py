"""The numbers that prove which network a cell computes: weights read back, first logits, losses, first updates."""
from __future__ import absolute_import, division, print_function

import numpy as np

from weights import CHUNK

SHOWN = 10  # numbers of each sample's outputs, or of a moving average, that the answer repeats; the norm covers the rest


class WrongWeights(Exception):
    """What the adapter reads back is not what it was given."""


def check_read_back(given, read, when=""):
    """Raise WrongWeights, which says when, unless both hold the same names and exactly the same numbers."""
    missing, extra = sorted(set(given) - set(read)), sorted(set(read) - set(given))
    if missing or extra:
        raise WrongWeights("%sparameters missing: %s; not asked for: %s" % (when, missing or "none", extra or "none"))
    for name in sorted(given):
        if given[name].shape != read[name].shape:
            raise WrongWeights("%s%s has shape %s, not %s" % (when, name, read[name].shape, given[name].shape))
        if not np.array_equal(given[name], read[name]):
            worst = float(np.max(np.abs(given[name].astype(np.float64) - read[name])))
            raise WrongWeights("%s%s reads back with a difference of %g" % (when, name, worst))


def outputs_in_short(outputs):
    """The first outputs of each sample and the L2 norm of all: {"first": [[...]], "norm": x}."""
    outputs = np.asarray(outputs, dtype=np.float64).reshape(len(outputs), -1)
    return {"first": outputs[:, :SHOWN].tolist(), "norm": float(np.sqrt(np.sum(outputs ** 2)))}


def update_norms(before, after, trainable):
    """The L2 norm of the change of each trainable parameter, summed in float64."""
    return dict((name, norm_of_change(before[name].reshape(-1), after[name].reshape(-1)))
                for name in before if name in trainable)


def changes_of_averages(before, after, trainable):
    """The change of each parameter that is not trained, in float64: {"first": [...], "norm": x} by name."""
    flat = dict((name, (before[name].reshape(-1), after[name].reshape(-1))) for name in before if name not in trainable)
    return dict((name, {"first": (new[:SHOWN].astype(np.float64) - old[:SHOWN]).tolist(), "norm": norm_of_change(old, new)})
                for name, (old, new) in flat.items())


def norm_of_change(before, after):
    """Of flat arrays, some at a time: whole, the doubles of VGG16's largest weight alone take a gigabyte."""
    squares = 0.0
    for start in range(0, before.size, CHUNK):
        change = after[start:start + CHUNK].astype(np.float64) - before[start:start + CHUNK]
        squares += float(np.dot(change, change))
    return float(np.sqrt(squares))


def training_witness(adapter, given, trainable, batch, steps, on_first_step):
    """Outputs, the loss of each of the first steps, and each parameter's first change.

    `on_first_step` is called with a function that runs the first step, and times it. What `logits` does to the averages
    shows in no loss, so they are read back behind it; what it does to the rest shows in the losses that follow, and to read
    all of VGG16 takes seconds.
    """
    found = {"outputs": outputs_in_short(adapter.logits(batch))}
    if len(trainable) < len(given):
        check_read_back(given, adapter.parameters(), "after logits, ")
    found["losses"] = [on_first_step(lambda: adapter.loss(adapter.step(batch)))]
    after = adapter.parameters()
    found["update_norms"] = update_norms(given, after, trainable)
    found["averages"] = changes_of_averages(given, after, trainable)
    found["averages_in_forms"] = dict((form, changes_of_averages(given, averages, trainable))
                                   for form, averages in adapter.averages_in_forms(given, batch).items())
    del after
    for _ in range(steps - 1):
        found["losses"].append(adapter.loss(adapter.step(batch)))
    return found


def inference_witness(adapter, batch, on_first_step):
    """The outputs of the first forward pass."""
    return {"outputs": outputs_in_short(on_first_step(lambda: adapter.outputs(adapter.step(batch))))}
