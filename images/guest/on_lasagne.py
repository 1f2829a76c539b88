"""Lasagne 0.1 on Theano 0.8: its layers, objectives and updates in the compiled step of on_theano."""
from __future__ import absolute_import, division, print_function

import functools

import on_theano  # before Lasagne: it sets THEANO_FLAGS
import lasagne
import numpy as np
import theano
import theano.tensor as T
from lasagne import layers as L
from lasagne import nonlinearities, objectives, regularization, updates
from lasagne.random import set_rng

try:
    from lasagne.layers import dnn as cudnn
except ImportError:  # as it says itself where Theano has no GPU or no cuDNN
    cudnn = None

from adapter import Unsupported


class OnLasagne(on_theano.OnTheano):
    """Layer methods take and return Lasagne's layers, which hold the shared variables that on_theano makes."""

    def facts(self):
        facts = super(OnLasagne, self).facts()
        facts["versions"]["lasagne"] = lasagne.__version__
        return dict(facts, convolution="cudnn" if cudnn else "theano")

    def build(self, layers, weights):
        set_rng(np.random.RandomState(1))  # dropout layers draw their seeds from it
        self.top = None
        super(OnLasagne, self).build(layers, weights)

    def forward(self, training, dropping):
        """The outputs; `moving` then holds what becomes of the moving averages if they are to be updated."""
        self.training, self.moving = training, []
        if self.top is None:
            shape = (self.batch_size,) + tuple(self.layers[0]["in_shape"])
            self.top = self.chain(self.layers, L.InputLayer(shape, input_var=self.inputs))
        return L.get_output(self.top, deterministic=not dropping)

    def training_step(self):
        shares = nonlinearities.softmax(self.forward(True, True))
        loss = objectives.categorical_crossentropy(shares, self.labels).mean()
        decayed = [self.values[p["name"]] for p in self.described if p["layout"] == "oihw"]
        minimised = loss + self.l2 * regularization.apply_penalty(decayed, regularization.l2) if self.l2 else loss
        learning = self.learning(minimised, L.get_all_params(self.top, trainable=True))
        return theano.function([], updates=self.moving + list(learning.items()) + [(self.result, loss)])

    # Optimizers -------------------------------------------------------------------------------------

    def sgd(self, loss, weights):
        return updates.sgd(loss, weights, self.optimizer["learning_rate"])

    def momentum(self, loss, weights):
        return updates.momentum(loss, weights, self.optimizer["learning_rate"], self.optimizer["momentum"])

    def adam(self, loss, weights):
        """Its epsilon is added to the root before the bias correction ("epsilon hat")."""
        rate, beta1, beta2, epsilon = (self.optimizer[k] for k in ("learning_rate", "beta1", "beta2", "epsilon"))
        return updates.adam(loss, weights, rate, beta1, beta2, epsilon)

    def adadelta(self, loss, weights):
        rate, rho, epsilon = (self.optimizer[k] for k in ("learning_rate", "rho", "epsilon"))
        return updates.adadelta(loss, weights, rate, rho, epsilon)

    # Layers -----------------------------------------------------------------------------------------

    def conv2d(self, x, layer):
        """Off cuDNN the layer flips kernels unless told how to convolve, and puts zeros around its input itself."""
        window = (layer["filters"], layer["kernel"], layer["stride"], layer["padding"])
        parts = {"W": self.value(layer, "weight"), "b": self.value(layer, "bias"), "nonlinearity": None}
        if cudnn:
            return cudnn.Conv2DDNNLayer(x, *window, flip_filters=False, **parts)
        return L.Conv2DLayer(x, *window, convolution=functools.partial(T.nnet.conv2d, filter_flip=False), **parts)

    def dense(self, x, layer):
        weight, bias = self.value(layer, "weight"), self.value(layer, "bias")
        return L.DenseLayer(x, layer["units"], W=weight, b=bias, nonlinearity=None)

    def batch_norm(self, x, layer):
        return BatchNormLayer(x, self, layer)

    def normal(self, x, layer):
        """What Theano's adapter computes."""
        return super(OnLasagne, self).batch_norm(x, layer)

    def relu(self, x, layer):
        return L.NonlinearityLayer(x, nonlinearities.rectify)

    def leaky_relu(self, x, layer):
        return L.NonlinearityLayer(x, nonlinearities.LeakyRectify(layer["slope"]))

    def tanh(self, x, layer):
        return L.NonlinearityLayer(x, nonlinearities.tanh)

    def max_pool(self, x, layer):
        return L.MaxPool2DLayer(x, layer["kernel"], layer["stride"], layer["padding"])

    def avg_pool(self, x, layer):
        return L.Pool2DLayer(x, layer["kernel"], layer["stride"], mode="average_exc_pad")

    def global_avg_pool(self, x, layer):
        return L.GlobalPoolLayer(x)

    def flatten(self, x, layer):
        return L.FlattenLayer(x)

    def dropout(self, x, layer):
        return L.DropoutLayer(x, layer["rate"])

    def embedding(self, x, layer):
        return L.EmbeddingLayer(x, layer["vocabulary"], layer["dimension"], W=self.value(layer, "weight"))

    def gru(self, x, layer):
        if layer["reset_after"]:
            raise Unsupported("Lasagne's GRU has one bias, before its reset gate, and none behind it")
        raise Unsupported("Lasagne's GRU applies the reset gate after the recurrent product, never before it")

    def residual(self, x, layer):
        return L.ElemwiseSumLayer([self.chain(layer["body"], x), self.chain(layer["shortcut"], x)])


class BatchNormLayer(L.Layer):
    """Lasagne has one from 0.2 on; before, its users wrote a layer of their own around Theano's expression."""

    def __init__(self, incoming, adapter, layer):
        super(BatchNormLayer, self).__init__(incoming)
        self.adapter, self.layer = adapter, layer
        for parameter in layer["parameters"]:
            self.add_param(adapter.values[parameter["name"]], parameter["shape"], trainable=parameter["trainable"])

    def get_output_for(self, x, **kwargs):
        return self.adapter.normal(x, self.layer)


ADAPTER = OnLasagne
