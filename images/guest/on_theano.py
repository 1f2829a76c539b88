"""Theano 0.8 to 1.0: one compiled function a step, over shared variables that hold the batch, the weights and the loss."""
from __future__ import absolute_import, division, print_function

import numpy as np

import theano_setup
import theano
import theano.tensor as T
from theano.sandbox.rng_mrg import MRG_RandomStreams
from theano.tensor.signal.pool import pool_2d

from adapter import Adapter, Unsupported
from weights import parameters_of


class OnTheano(Adapter):
    """The canonical layouts are Theano's own, since its convolution is asked not to flip the kernel."""

    def __init__(self, request):
        super(OnTheano, self).__init__(request)
        if self.options.get("layout", "nchw") != "nchw":
            raise Unsupported("Theano convolves images in NCHW alone")
        theano_setup.prepare(self)
        shape = [self.batch_size] + list(request["network"][0]["in_shape"])
        tokens = request["workload"]["data"]["kind"] == "tokens"
        self.inputs = theano.shared(np.zeros(shape, "int32" if tokens else "float32"))
        self.labels = theano.shared(np.zeros(self.batch_size, "int32"))

    def facts(self):
        return theano_setup.facts(self)

    def build(self, layers, weights):
        self.layers = layers
        self.described = parameters_of(layers)
        self.values = dict((p["name"], theano.shared(weights[p["name"]])) for p in self.described)
        self.random = MRG_RandomStreams(seed=1)
        self.compiled = {}
        self.result = theano.shared(np.float32(0) if self.mode == "training" else np.zeros((0, 0), "float32"))
        self.run = self.training_step() if self.mode == "training" else self.inference_step()

    def place(self, inputs, labels):
        self.inputs.set_value(inputs)
        self.labels.set_value(labels)
        return self.inputs, self.labels

    def training_step(self):
        loss = T.nnet.categorical_crossentropy(T.nnet.softmax(self.forward(True, True)), self.labels).mean()
        learned = [self.values[p["name"]] for p in self.described if p["trainable"]]
        decayed = [self.values[p["name"]] for p in self.described if p["layout"] == "oihw"]
        minimised = loss + self.l2 * sum(T.sqr(weight).sum() for weight in decayed) if self.l2 else loss
        updates = self.moving + self.learning(learned, T.grad(minimised, learned))
        return theano.function([], updates=updates + [(self.result, loss)])

    def inference_step(self):
        return theano.function([], updates=[(self.result, self.forward(False, False))])

    def forward(self, training, dropping):
        """The outputs; `moving` then holds what becomes of the moving averages if they are to be updated."""
        self.training, self.dropping, self.moving = training, dropping, []
        return self.chain(self.layers, self.inputs)

    def logits(self, batch):
        return self.function("logits", training=True)()

    def predict(self, batch):
        return self.function("predict", training=False)()

    def function(self, name, training):
        if name not in self.compiled:
            self.compiled[name] = theano.function([], self.forward(training, False))
        return self.compiled[name]

    def step(self, batch):
        """The result stays in a shared variable, so that no GPU waits to hand it over."""
        self.run()
        return self.result

    def loss(self, handle):
        return float(handle.get_value())

    def outputs(self, handle):
        return handle.get_value()

    def synchronize(self):
        theano_setup.wait_for([self.result] + list(self.values.values()))

    def parameters(self):
        return dict((p["name"], self.canonical(p, self.values[p["name"]].get_value())) for p in self.described)

    # Optimizers -------------------------------------------------------------------------------------

    def learning(self, weights, gradients):
        """Theano has no optimizers: as its users do, each is the list of what every shared variable becomes."""
        rule = getattr(self, self.optimizer["kind"], None)
        if rule is None:
            raise Unsupported("the theano adapter has no optimizer %s" % self.optimizer["kind"])
        return rule(weights, gradients)

    def sgd(self, weights, gradients):
        return [(w, w - self.optimizer["learning_rate"] * g) for w, g in zip(weights, gradients)]

    def momentum(self, weights, gradients):
        updates = []
        for w, g in zip(weights, gradients):
            old = like(w)
            new = self.optimizer["momentum"] * old + g
            updates += [(old, new), (w, w - self.optimizer["learning_rate"] * new)]
        return updates

    def adam(self, weights, gradients):
        """Both corrections are taken out of the tensors' way: m / c1 / (sqrt(s / c2) + e) = sqrt(c2) / c1 m / (sqrt(s) + e sqrt(c2))."""
        rate, beta1, beta2, epsilon = (self.optimizer[k] for k in ("learning_rate", "beta1", "beta2", "epsilon"))
        old_time = theano.shared(np.float32(0))
        time = old_time + 1
        root = T.sqrt(1 - beta2 ** time)
        corrected_rate, corrected_epsilon = rate * root / (1 - beta1 ** time), epsilon * root
        updates = [(old_time, time)]
        for w, g in zip(weights, gradients):
            old_mean, old_square = like(w), like(w)
            mean = beta1 * old_mean + (1 - beta1) * g
            square = beta2 * old_square + (1 - beta2) * T.sqr(g)
            updates += [(old_mean, mean), (old_square, square),
                        (w, w - corrected_rate * mean / (T.sqrt(square) + corrected_epsilon))]
        return updates

    def adadelta(self, weights, gradients):
        rate, rho, epsilon = (self.optimizer[k] for k in ("learning_rate", "rho", "epsilon"))
        updates = []
        for w, g in zip(weights, gradients):
            old_square, old_change = like(w), like(w)
            square = rho * old_square + (1 - rho) * T.sqr(g)
            change = g * T.sqrt(old_change + epsilon) / T.sqrt(square + epsilon)
            updates += [(old_square, square), (old_change, rho * old_change + (1 - rho) * T.sqr(change)),
                        (w, w - rate * change)]
        return updates

    # Layers -----------------------------------------------------------------------------------------

    def value(self, layer, part):
        return self.values.get(layer["name"] + "." + part)

    def conv2d(self, x, layer):
        weight, bias = self.value(layer, "weight"), self.value(layer, "bias")
        x = T.nnet.conv2d(
            x, weight, input_shape=[self.batch_size] + layer["in_shape"], filter_shape=weight.get_value(borrow=True).shape,
            border_mode=(layer["padding"],) * 2, subsample=(layer["stride"],) * 2, filter_flip=False)
        return x if bias is None else x + bias.dimshuffle("x", 0, "x", "x")

    def dense(self, x, layer):
        x = T.dot(x, self.value(layer, "weight"))
        return x + self.value(layer, "bias") if layer["bias"] else x

    def batch_norm(self, x, layer):
        """0.9 has an operation for it (cuDNN's, if over the channels); before, users wrote it out."""
        axes = tuple(a for a in range(x.ndim) if a != layer["axis"] + 1)
        gamma, beta, mean, variance = (
            self.value(layer, part) for part in ("gamma", "beta", "moving_mean", "moving_variance"))
        if not hasattr(T.nnet.bn, "batch_normalization_train"):
            return self.batch_norm_by_hand(x, layer, axes, gamma, beta, mean, variance)
        if not self.training:
            return T.nnet.bn.batch_normalization_test(x, gamma, beta, mean, variance, axes, layer["epsilon"])
        # The moving variance becomes the unbiased one, m / (m - 1) times the batch's.
        out, _, _, new_mean, new_variance = T.nnet.bn.batch_normalization_train(
            x, gamma, beta, axes, layer["epsilon"], 1 - layer["momentum"], mean, variance)
        self.moving += [(mean, new_mean), (variance, new_variance)]
        return out

    def batch_norm_by_hand(self, x, layer, axes, gamma, beta, mean, variance):
        if self.training:
            keep, old = layer["momentum"], (mean, variance)
            mean, variance = x.mean(axes), x.var(axes)
            self.moving += [(o, keep * o + (1 - keep) * n) for o, n in zip(old, (mean, variance))]
        pattern = ["x" if a in axes else 0 for a in range(x.ndim)]
        gamma, beta, mean, deviation = (
            v.dimshuffle(*pattern) for v in (gamma, beta, mean, T.sqrt(variance + layer["epsilon"])))
        return T.nnet.bn.batch_normalization(x, gamma, beta, mean, deviation, mode="high_mem")

    def relu(self, x, layer):
        return T.nnet.relu(x)

    def leaky_relu(self, x, layer):
        return T.nnet.relu(x, layer["slope"])

    def tanh(self, x, layer):
        return T.tanh(x)

    def max_pool(self, x, layer):
        kernel, stride, padding = (layer[k] for k in ("kernel", "stride", "padding"))
        return pool_2d(x, (kernel, kernel), True, (stride, stride), (padding, padding), "max")

    def avg_pool(self, x, layer):
        kernel, stride = layer["kernel"], layer["stride"]
        return pool_2d(x, (kernel, kernel), True, (stride, stride), (0, 0), "average_exc_pad")

    def global_avg_pool(self, x, layer):
        return x.mean(axis=(2, 3))

    def flatten(self, x, layer):
        return x.flatten(2)

    def dropout(self, x, layer):
        if not self.dropping:
            return x
        keep = 1 - layer["rate"]
        return x * self.random.binomial(x.shape, p=keep, dtype="float32") / keep

    def embedding(self, x, layer):
        return self.value(layer, "weight")[x]

    def gru(self, x, layer):
        """The inputs of all times in one product ahead of the scan, as Lasagne and Keras do."""
        given = T.dot(x.dimshuffle(1, 0, 2), self.value(layer, "weight")) + self.value(layer, "bias")
        parts = ("recurrent_weight", "recurrent_bias") if layer["reset_after"] else ("recurrent_weight",)
        now = self.gru_reset_after if layer["reset_after"] else self.gru_reset_before
        units = layer["units"]
        states, _ = theano.scan(
            lambda given_, state, *inner: now(units, given_, state, *inner), sequences=given, strict=True,
            outputs_info=T.zeros_like(given[0, :, :units]), non_sequences=[self.value(layer, part) for part in parts])
        return states[-1]

    def gru_reset_after(self, units, given, state, weight, bias):
        told = T.dot(state, weight) + bias
        gates = T.nnet.sigmoid(given[:, :2 * units] + told[:, :2 * units])
        r, z = gates[:, :units], gates[:, units:]
        return (1 - z) * T.tanh(given[:, 2 * units:] + r * told[:, 2 * units:]) + z * state

    def gru_reset_before(self, units, given, state, weight):
        gates = T.nnet.sigmoid(given[:, :2 * units] + T.dot(state, weight[:, :2 * units]))
        r, z = gates[:, :units], gates[:, units:]
        return (1 - z) * T.tanh(given[:, 2 * units:] + T.dot(r * state, weight[:, 2 * units:])) + z * state

    def residual(self, x, layer):
        return self.chain(layer["body"], x) + self.chain(layer["shortcut"], x)


def like(weight):
    """A shared variable of zeros for what an optimizer remembers of this weight."""
    return theano.shared(np.zeros_like(weight.get_value(borrow=True)))


ADAPTER = OnTheano
