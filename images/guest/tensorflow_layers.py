"""The layers as every TensorFlow from 1.0 to 2.21 knows them, for the adapters of both generations."""
from __future__ import absolute_import, division, print_function

import numpy as np
import tensorflow as tf

from adapter import Adapter, Unsupported
from same_padding import is_same


class TensorflowLayers(Adapter):
    """Layer methods over `self.values`, the variables by name, in the form `self.training` and `self.dropping` say.

    What a step must take from the moving averages is left in `self.moving`: pairs of a variable and a tensor.
    """

    axes = {"oihw": (2, 3, 1, 0)}

    def __init__(self, request):
        super(TensorflowLayers, self).__init__(request)
        self.data_format = self.options.get("layout", "nhwc").upper()
        self.channels_last = self.data_format == "NHWC"

    def value(self, layer, part):
        return self.values[layer["name"] + "." + part]

    def window(self, size):
        return [1, size, size, 1] if self.channels_last else [1, 1, size, size]

    def axis(self, of_sample):
        """Where this axis of a sample (channels, height, width) stands in a tensor of images."""
        return (3, 1, 2)[of_sample] if self.channels_last else of_sample + 1

    def sides(self, layer):
        """The padding of each axis of a tensor of images, in front and behind."""
        sides = [[0, 0], [layer["padding"]] * 2, [layer["padding"]] * 2]
        sides.insert(self.axis(0), [0, 0])
        return sides

    def padded(self, x, layer, pad):
        """x and the padding that is left to the operation: SAME where it is the same, else padded by hand."""
        if not layer["padding"]:
            return x, "VALID"
        return (x, "SAME") if is_same(layer) else (pad(x, self.sides(layer)), "VALID")

    def conv2d(self, x, layer):
        x, padding = self.padded(x, layer, tf.pad)
        x = tf.nn.conv2d(x, self.value(layer, "weight"), self.window(layer["stride"]), padding,
                         data_format=self.data_format)
        return tf.nn.bias_add(x, self.value(layer, "bias"), self.data_format) if layer["bias"] else x

    def batch_norm(self, x, layer):
        of_images = len(layer["in_shape"]) == 3
        if of_images and self.fused_batch_norm:
            return self.batch_norm_fused(x, layer)
        axes = range(len(layer["in_shape"]) + 1)
        axis = self.axis(layer["axis"]) if of_images else layer["axis"] + 1
        if self.training:
            mean, variance = tf.nn.moments(x, [a for a in axes if a != axis])
            self.keep_moving(layer, mean, variance)
        else:
            mean, variance = self.value(layer, "moving_mean"), self.value(layer, "moving_variance")
        mean, variance, beta, gamma = [
            part if axis == axes[-1] else tf.reshape(part, [-1 if a == axis else 1 for a in axes])
            for part in (mean, variance, self.value(layer, "beta"), self.value(layer, "gamma"))]
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, layer["epsilon"])

    def batch_norm_fused(self, x, layer):
        if layer["axis"]:
            raise Unsupported("TensorFlow's fused batch norm normalises each channel, no other axis")
        given = {} if self.training else {
            "mean": self.value(layer, "moving_mean"), "variance": self.value(layer, "moving_variance")}
        x, mean, variance = self.fused_kernel(
            x, self.value(layer, "gamma"), self.value(layer, "beta"), epsilon=layer["epsilon"],
            data_format=self.data_format, is_training=self.training, **given)
        if self.training:  # this variance comes times n / (n - 1), as the framework keeps it
            self.keep_moving(layer, mean, variance)
        return x

    def keep_moving(self, layer, mean, variance):
        for part, found in (("moving_mean", mean), ("moving_variance", variance)):
            moving = self.value(layer, part)
            self.moving.append((moving, (moving - found) * (1 - layer["momentum"])))

    def relu(self, x, layer):
        return tf.nn.relu(x)

    def leaky_relu(self, x, layer):
        if hasattr(tf.nn, "leaky_relu"):  # since 1.4
            return tf.nn.leaky_relu(x, layer["slope"])
        return tf.maximum(x, layer["slope"] * x)

    def tanh(self, x, layer):
        return tf.tanh(x)

    def max_pool(self, x, layer):
        x, padding = self.padded(x, layer, padded_for_maximum)
        return tf.nn.max_pool(x, self.window(layer["kernel"]), self.window(layer["stride"]), padding,
                              data_format=self.data_format)

    def avg_pool(self, x, layer):
        return tf.nn.avg_pool(x, self.window(layer["kernel"]), self.window(layer["stride"]), "VALID",
                              data_format=self.data_format)

    def global_avg_pool(self, x, layer):
        return tf.reduce_mean(x, [self.axis(1), self.axis(2)])

    def flatten(self, x, layer):
        return tf.reshape(x, [self.batch_size] + layer["out_shape"])

    def dense(self, x, layer):
        x = tf.matmul(x, self.value(layer, "weight"))
        return tf.nn.bias_add(x, self.value(layer, "bias")) if layer["bias"] else x

    def residual(self, x, layer):
        return self.chain(layer["body"], x) + self.chain(layer["shortcut"], x)

    # Sequences, which are kept (time, batch, features) ------------------------------------------------

    def embedding(self, x, layer):
        return tf.gather(self.value(layer, "weight"), x)

    def gru(self, x, layer):
        if layer["reset_after"] and self.device == "gpu":
            return self.gru_of_cudnn(x, layer)
        return self.gru_unrolled(x, layer)

    def cudnn_buffer(self, layer):
        """cuDNN's six matrices (out, in) and then its six biases, in our order of the gates, as one vector."""
        matrices = [tf.transpose(self.value(layer, part)) for part in ("weight", "recurrent_weight")]
        biases = [self.value(layer, part) for part in ("bias", "recurrent_bias")]
        return tf.concat([tf.reshape(part, [-1]) for part in matrices + biases], 0)

    def gru_unrolled(self, x, layer):
        """Every step written out, and the products with the inputs taken for all of them at once.

        On CPU this takes 0.20 s of work where tf.nn.dynamic_rnn takes 0.28, and, resetting before, 0.17 s where
        GRUBlockCell takes 0.26 (1.8, 150 steps of 100 units, batch 64).
        """
        units, (time, features) = layer["units"], layer["in_shape"]
        bias = self.value(layer, "bias")
        if layer["reset_after"]:
            inner_bias = tf.split(self.value(layer, "recurrent_bias"), [2 * units, units], 0)
            bias = bias + tf.concat([inner_bias[0], tf.zeros([units])], 0)
        given = tf.nn.bias_add(tf.matmul(tf.reshape(x, [-1, features]), self.value(layer, "weight")), bias)
        given = [tf.unstack(tf.reshape(part, [time, self.batch_size, -1]))
                 for part in tf.split(given, [2 * units, units], 1)]
        inner = tf.split(self.value(layer, "recurrent_weight"), [2 * units, units], 1)
        state = tf.zeros([self.batch_size, units])
        for given_gates, given_new in zip(*given):
            r, z = tf.split(tf.sigmoid(given_gates + tf.matmul(state, inner[0])), 2, 1)
            if layer["reset_after"]:
                n = tf.tanh(given_new + r * tf.nn.bias_add(tf.matmul(state, inner[1]), inner_bias[1]))
            else:
                n = tf.tanh(given_new + tf.matmul(r * state, inner[1]))
            state = n + z * (state - n)
        return state


def padded_for_maximum(x, sides):
    """x with minus infinity on its sides, or, where tf.pad knows zero alone, with mirror images.

    They repeat, where the sides are at most half as wide as the window, elements of the same window.
    """
    try:
        return tf.pad(x, sides, constant_values=-np.inf)
    except TypeError:  # 1.0
        return tf.pad(x, sides, "SYMMETRIC")
