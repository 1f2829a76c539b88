"""Starting weights: named, and drawn in network order from the frozen stream of numpy's RandomState."""
from __future__ import absolute_import, division, print_function

import numpy as np

CHUNK = 1 << 20  # numbers at a time, for doubles of all of VGG16's would take a gigabyte and the time to map it

def walk(layers):
    """Every layer in network order: a residual, then its body, then its shortcut."""
    for layer in layers:
        yield layer
        for inner in walk(layer.get("body", ())):
            yield inner
        for inner in walk(layer.get("shortcut", ())):
            yield inner


def parameters_of(layers):
    """Every parameter's description in network order."""
    return [parameter for layer in walk(layers) for parameter in layer["parameters"]]


def draw(layers, seed):
    """Name to float32 array in canonical layout; constants (low == high) take nothing from the stream."""
    stream = np.random.RandomState(seed)
    return dict((p["name"], draw_one(p, stream)) for p in parameters_of(layers))


def draw_one(parameter, stream):
    shape, low, high = tuple(parameter["shape"]), parameter["low"], parameter["high"]
    if low == high:
        return np.full(shape, low, dtype=np.float32)
    drawn = np.empty(shape, np.float32)
    flat = drawn.reshape(-1)
    for start in range(0, flat.size, CHUNK):
        flat[start:start + CHUNK] = stream.uniform(low, high, size=min(CHUNK, flat.size - start))
    return drawn


def without_dropout(layers):
    """The same layers less every dropout, as the witness is taken."""
    kept = [dict(layer) for layer in layers if layer["kind"] != "dropout"]
    for layer in kept:
        for branch in ("body", "shortcut"):
            if branch in layer:
                layer[branch] = without_dropout(layer[branch])
    return kept
