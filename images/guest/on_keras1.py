"""Keras 1.0.5 to 1.2.2 on Theano or TensorFlow."""
from __future__ import absolute_import, division, print_function

import keras_models  # before Keras
import numpy as np
from keras import backend as K
from keras.layers import (
    GRU, AveragePooling2D, BatchNormalization, Convolution2D, Dense, Flatten, MaxPooling2D, ZeroPadding2D, merge)
from keras.regularizers import l2

from adapter import Unsupported


class OnKeras1(keras_models.OnKeras):
    """Kernels lie as the images do: out, in, height, width or height, width, in, out."""

    def __init__(self, request):
        super(OnKeras1, self).__init__(request)
        self.order = {"dim_ordering": "tf" if self.channels_last else "th"}
        self.axes = {"oihw": (2, 3, 1, 0)} if self.channels_last else {}
        self.consume_less = "gpu" if self.device == "gpu" else "cpu"

    def conv2d(self, x, layer):
        x, border_mode = self.padded(x, layer, ZeroPadding2D)
        convolution = Convolution2D(
            layer["filters"], layer["kernel"], layer["kernel"], subsample=(layer["stride"],) * 2, border_mode=border_mode,
            bias=layer["bias"], W_regularizer=l2(self.l2) if self.l2 else None, name=layer["name"], **self.order)
        return self.made_of(layer, convolution, x)

    def dense(self, x, layer):
        return self.made_of(layer, Dense(layer["units"], bias=layer["bias"], name=layer["name"]), x)

    def batch_norm(self, x, layer):
        """Mode 0 keeps moving averages: of the batch's own variance, to which its Theano form has added epsilon.

        Mode 2 keeps none.
        """
        if not hasattr(K, "normalize_batch_in_training"):
            raise Unsupported("this Keras adds epsilon to the deviation too, after it has added it to the variance")
        mode = int(self.options.get("bn_mode", "0"))
        if mode == 2 and self.mode == "inference":
            raise Unsupported("batch norm's mode 2 normalises by the batch at test too, where the network has moving averages")
        norm = BatchNormalization(epsilon=layer["epsilon"], mode=mode,
                                  axis=self.keras_axis(layer), momentum=layer["momentum"], name=layer["name"])
        return self.made_of(layer, norm, x)

    def max_pool(self, x, layer):
        x, border_mode = self.padded(x, layer, ZeroPadding2D)
        sizes = (layer["kernel"],) * 2, (layer["stride"],) * 2
        return MaxPooling2D(*sizes, border_mode=border_mode, **self.order)(x)

    def avg_pool(self, x, layer):
        return AveragePooling2D((layer["kernel"],) * 2, (layer["stride"],) * 2, **self.order)(x)

    def global_avg_pool(self, x, layer):
        """One window over all, flattened, as Keras 1's own ResNet-50 does it."""
        return Flatten()(AveragePooling2D(tuple(layer["in_shape"][1:]), **self.order)(x))

    def gru(self, x, layer):
        if layer["reset_after"]:
            raise Unsupported("Keras 1's GRU applies the reset gate before the recurrent product, never after it")
        gru = GRU(layer["units"], inner_activation="sigmoid", consume_less=self.consume_less, name=layer["name"])
        return self.made_of(layer, gru, x)

    def gru_weights(self, layer, arrays):
        """Three arrays in the form for the GPU; in that for the CPU each gate has its own three."""
        if self.consume_less == "gpu":
            return arrays
        return [part for gate in zip(*(np.split(array, 3, axis=-1) for array in arrays)) for part in gate]

    def gru_arrays(self, layer, weights):
        if self.consume_less == "gpu":
            return weights
        return [np.concatenate(weights[part::3], axis=-1) for part in range(3)]

    def residual(self, x, layer):
        return merge([self.chain(layer["body"], x), self.chain(layer["shortcut"], x)], mode="sum")


ADAPTER = OnKeras1
