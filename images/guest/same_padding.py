"""Where the padding "same", as TensorFlow and Keras mean it, is the padding that a layer asks for."""
from __future__ import absolute_import, division, print_function


def is_same(layer):
    """Does "same" put these zeros in front and reach this size? What it puts behind is then enough."""
    for size, out in zip(layer["in_shape"][1:], layer["out_shape"][1:]):
        total = max((out - 1) * layer["stride"] + layer["kernel"] - size, 0)
        if out != -(-size // layer["stride"]) or total // 2 != layer["padding"]:
            return False
    return True
