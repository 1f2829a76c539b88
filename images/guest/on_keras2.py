"""Keras 2.0 to 2.2 on TensorFlow, Theano or CNTK."""
from __future__ import absolute_import, division, print_function

import keras_models  # before Keras
import keras.layers
import numpy as np
from keras.layers import (
    GRU, AveragePooling2D, BatchNormalization, Conv2D, Dense, GlobalAveragePooling2D, MaxPooling2D, ZeroPadding2D)
from keras.regularizers import l2

import keras_backends
from adapter import Unsupported


class OnKeras2(keras_models.OnKeras):
    """Kernels are height, width, in, out whatever the images' layout."""

    axes = {"oihw": (2, 3, 1, 0)}

    def __init__(self, request):
        super(OnKeras2, self).__init__(request)
        self.order = {"data_format": "channels_last" if self.channels_last else "channels_first"}

    def conv2d(self, x, layer):
        x, padding = self.padded(x, layer, ZeroPadding2D)
        convolution = Conv2D(
            layer["filters"], layer["kernel"], strides=layer["stride"], padding=padding, use_bias=layer["bias"],
            kernel_regularizer=l2(self.l2) if self.l2 else None, name=layer["name"], **self.order)
        return self.made_of(layer, convolution, x)

    def dense(self, x, layer):
        return self.made_of(layer, Dense(layer["units"], use_bias=layer["bias"], name=layer["name"]), x)

    def batch_norm(self, x, layer):
        """The moving variance becomes the unbiased one, n / (n - 1 - epsilon) times the batch's, from 2.1.3 on.

        On Theano epsilon has been added to it. On TensorFlow Keras 2.2 debiases both averages, and so forgets at the first batch
        where they started; the variance it makes unbiased twice where the fused kernel, for NHWC, has done so before.
        On CNTK it stays the biased one, and both averages come of a second forward pass behind the update.
        """
        norm = BatchNormalization(axis=self.keras_axis(layer), momentum=layer["momentum"], epsilon=layer["epsilon"],
                                  name=layer["name"])
        return self.made_of(layer, norm, x)

    def max_pool(self, x, layer):
        x, padding = self.padded(x, layer, ZeroPadding2D)
        return MaxPooling2D(layer["kernel"], layer["stride"], padding=padding, **self.order)(x)

    def avg_pool(self, x, layer):
        return AveragePooling2D(layer["kernel"], layer["stride"], **self.order)(x)

    def global_avg_pool(self, x, layer):
        return GlobalAveragePooling2D(**self.order)(x)

    def gru(self, x, layer):
        return self.made_of(layer, self.make_gru(layer), x)

    def make_gru(self, layer):
        """cuDNN's where it can be had; else the portable one, on a GPU in its form of fewer, larger products."""
        arguments = {"implementation": 2} if self.device == "gpu" else {}
        if not layer["reset_after"]:
            return GRU(layer["units"], recurrent_activation="sigmoid", name=layer["name"], **arguments)
        if self.device == "gpu" and keras_backends.NAME == "tensorflow" and hasattr(keras.layers, "CuDNNGRU"):
            return keras.layers.CuDNNGRU(layer["units"], name=layer["name"])
        try:
            return GRU(layer["units"], recurrent_activation="sigmoid", reset_after=True, name=layer["name"], **arguments)
        except TypeError:  # an argument that it does not know, before 2.1.6
            raise Unsupported("the GRU of Keras %s applies the reset gate before the recurrent product, never after it"
                              % keras.__version__)

    def gru_weights(self, layer, arrays):
        """Both biases are in one array, as two rows or, for cuDNN, one behind the other."""
        if not layer["reset_after"]:
            return arrays
        shape = self.made[layer["name"]].get_weights()[2].shape
        return arrays[:2] + [np.stack(arrays[2:]).reshape(shape)]

    def gru_arrays(self, layer, weights):
        if not layer["reset_after"]:
            return weights
        return weights[:2] + list(weights[2].reshape(2, -1))

    def residual(self, x, layer):
        return keras.layers.add([self.chain(layer["body"], x), self.chain(layer["shortcut"], x)])


ADAPTER = OnKeras2
