"""What a framework must offer to be measured: one method for each layer of the vocabulary, and seven verbs.

Runs on Python 2.7 and 3.5 to 3.14 with numpy. Arrays cross this border in canonical layouts, float32:
images (batch, channels, height, width); convolutions (out, in, height, width); dense (in, out);
GRU gates side by side in the order r, z, n; labels are int32 class ids of shape (batch,).
"""
from __future__ import absolute_import, division, print_function

import numpy as np


class Unsupported(Exception):
    """The framework, this release of it or this device cannot do what was asked; the text says why."""


def unsupported(kind):
    def layer_method(self, x, layer):
        raise Unsupported("the adapter %s has no %s" % (type(self).__name__, kind))
    return layer_method


class Adapter(object):
    """One framework. Subclasses live in on_<framework>.py and end with `ADAPTER = TheClass`.

    Attributes set from the request: `options` (name to value), `device` ("cpu" or "gpu"), `threads`,
    `mode` ("training" or "inference"), `batch_size`, `optimizer` (its kind and constants), `classes`.
    """

    channels_last = False  # how this cell keeps its images; decides the order of rows behind a flatten
    axes = {}  # layout to the permutation that turns a canonical array of it into the framework's own

    def __init__(self, request):
        self.options = request["options"]
        self.device = request["device"]
        self.threads = request["threads"]
        workload = request["workload"]
        self.mode = workload["mode"]
        self.batch_size = workload["batch"]
        self.optimizer = workload["optimizer"]
        self.l2 = workload["l2"]
        self.classes = workload["classes"]

    # The verbs of the core ------------------------------------------------------------------------

    def build(self, layers, weights):
        """Make the model of these lowered layers with these weights (name to canonical array), ready to step."""
        raise NotImplementedError

    def place(self, inputs, labels):
        """A batch as `step` wants it, already on the device where the framework can keep it there."""
        return inputs, labels

    def logits(self, batch):
        """The outputs (batch, classes) as an array, computed as in training: batch norm uses the batch."""
        raise NotImplementedError

    def step(self, batch):
        """Start one training step (or one forward pass in inference) and return what `loss` or `outputs` reads."""
        raise NotImplementedError

    def loss(self, handle):
        """The mean cross-entropy, without the L2 term, of the step that returned this handle, as a float."""
        return float(handle)

    def outputs(self, handle):
        """Inference: the outputs of the step that returned this handle, as an array (batch, ...)."""
        return np.asarray(handle)

    def predict(self, batch):
        """The outputs (batch, classes) as an array, computed as at test: moving averages, no dropout."""
        raise NotImplementedError

    def synchronize(self):
        """Return once everything started on the device has ended."""

    def parameters(self):
        """Every parameter the model now holds, by name, in canonical layout."""
        raise NotImplementedError

    def averages_in_forms(self, given, batch):
        """For the reference, right after the first step: by form, the moving averages as frameworks keep them."""
        return {}

    def facts(self):
        """The framework's own word: {"versions": {...}, "device": "cpu" or the GPU's name, ...}."""
        raise NotImplementedError

    # Layouts --------------------------------------------------------------------------------------

    def native(self, parameter, array):
        """A canonical array in this framework's layout."""
        if parameter.get("rows") and self.channels_last:
            channels, height, width = parameter["rows"]
            array = array.reshape(channels, height, width, -1).transpose(1, 2, 0, 3).reshape(array.shape)
        axes = self.axes.get(parameter["layout"])
        return np.ascontiguousarray(array.transpose(axes) if axes else array)

    def canonical(self, parameter, array):
        """What `native` undoes."""
        axes = self.axes.get(parameter["layout"])
        array = np.asarray(array)
        if axes:
            array = array.transpose(np.argsort(axes))
        if parameter.get("rows") and self.channels_last:
            channels, height, width = parameter["rows"]
            array = array.reshape(height, width, channels, -1).transpose(2, 0, 1, 3).reshape(array.shape)
        return np.ascontiguousarray(array)

    def native_images(self, inputs):
        """A batch of images in this cell's layout; anything else as it is."""
        if inputs.ndim == 4 and self.channels_last:
            return np.ascontiguousarray(inputs.transpose(0, 2, 3, 1))
        return inputs

    # The layer vocabulary: each takes and returns the framework's own tensor ------------------------

    def chain(self, layers, x):
        """x through these layers, one after the other."""
        for layer in layers:
            x = getattr(self, layer["kind"])(x, layer)
        return x

    conv2d = unsupported("conv2d")
    batch_norm = unsupported("batch_norm")
    relu = unsupported("relu")
    leaky_relu = unsupported("leaky_relu")
    tanh = unsupported("tanh")
    max_pool = unsupported("max_pool")
    avg_pool = unsupported("avg_pool")
    global_avg_pool = unsupported("global_avg_pool")
    flatten = unsupported("flatten")
    dense = unsupported("dense")
    dropout = unsupported("dropout")
    embedding = unsupported("embedding")
    gru = unsupported("gru")
    residual = unsupported("residual")
