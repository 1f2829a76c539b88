"""MXNet 1.x through its symbols: one executor for the training step, and the optimizers' own fused updates."""
from __future__ import absolute_import, division, print_function

import math

import mxnet as mx
import numpy as np

from adapter import Adapter, Unsupported
from weights import parameters_of, without_dropout

VERSION = tuple(int(part) for part in mx.__version__.split(".")[:2])


class CorrectedAdam(mx.optimizer.Adam):
    """Adds epsilon to the bias-corrected root, as published; MXNet adds it to the root before its correction."""

    def __init__(self, **constants):
        super(CorrectedAdam, self).__init__(**constants)
        self.published_epsilon = self.epsilon

    def update(self, index, weight, grad, state):
        step = self._index_update_count.get(index, self.begin_num_update) + 1
        self.epsilon = self.published_epsilon * math.sqrt(1 - self.beta2 ** step)
        super(CorrectedAdam, self).update(index, weight, grad, state)


class ScaledAdaDelta(mx.optimizer.AdaDelta):
    """Adds the decay to the gradient and scales the change; MXNet subtracts the decay apart and knows no rate."""

    def update(self, index, weight, grad, state):
        self._update_count(index)
        squares, changes = state
        grad *= self.rescale_grad
        if self._get_wd(index):
            grad += self._get_wd(index) * weight
        squares *= self.rho
        squares += (1 - self.rho) * mx.nd.square(grad)
        change = mx.nd.sqrt((changes + self.epsilon) / (squares + self.epsilon)) * grad
        changes *= self.rho
        changes += (1 - self.rho) * mx.nd.square(change)
        weight -= self._get_lr(index) * change


def context_of(device):
    """MXNet's context of this device, once an array was made there."""
    context = mx.gpu() if device == "gpu" else mx.cpu()
    try:
        mx.nd.ones((1,), ctx=context).wait_to_read()
    except mx.base.MXNetError as error:
        raise Unsupported("MXNet sees no GPU: " + str(error).splitlines()[0])
    return context


def facts_of(context):
    """MXNet never says a GPU's name; its threads are limited by OMP_NUM_THREADS alone, read as it is imported."""
    found = {"versions": {"mxnet": mx.__version__}, "device": context.device_type}
    if VERSION >= (1, 5):
        from mxnet.runtime import Features
        found["features"] = sorted(name for name, one in Features().items() if one.enabled)
    return found


def optimizer_of(given, l2, **more):
    """MXNet's optimizer; its decay w adds w times the parameter to the gradient of each with a `wd_mult` of one."""
    kind, common = given["kind"], dict(more, learning_rate=given["learning_rate"], wd=2 * l2)
    if kind == "sgd":
        return mx.optimizer.SGD(**common)
    if kind == "momentum":
        return mx.optimizer.SGD(momentum=given["momentum"], **common)
    if kind == "adam":
        return CorrectedAdam(beta1=given["beta1"], beta2=given["beta2"], epsilon=given["epsilon"], **common)
    if kind == "adadelta":
        return ScaledAdaDelta(rho=given["rho"], epsilon=given["epsilon"], **common)
    raise Unsupported("MXNet's adapters have no optimizer %s" % kind)


class OnMxnet(Adapter):
    """Layers return symbols; the executors share our arrays."""

    axes = {"io": (1, 0), "gru": (1, 0)}  # the gates of MXNet's GRU too stand in the order r, z, n

    def __init__(self, request):
        super(OnMxnet, self).__init__(request)
        if self.options.get("layout", "nchw") != "nchw":
            raise Unsupported("MXNet has convolutions of NCHW images alone on a CPU")
        self.context = context_of(self.device)
        self.tuning = "fastest" if self.options.get("autotune", "on") == "on" else "off"

    def facts(self):
        return facts_of(self.context)

    # The verbs of the core ------------------------------------------------------------------------

    def build(self, layers, weights):
        self.described = parameters_of(layers)
        self.layers = layers
        self.values = self.arrays(weights, trainable=True)
        self.moving = self.arrays(weights, trainable=False)
        self.placed = None
        self.inputs = mx.nd.zeros((self.batch_size,) + tuple(layers[0]["in_shape"]), ctx=self.context)
        self.labels = mx.nd.zeros((self.batch_size,), ctx=self.context)
        self.gradients = {}
        inference = self.mode == "inference"  # without gradients MXNet 1.9 folds batch norm into the convolutions
        self.executor = self.bound(self.network(layers), {}) if inference else self.training(layers)

    def arrays(self, weights, trainable):
        return dict((p["name"], mx.nd.array(self.native(p, weights[p["name"]]), ctx=self.context))
                    for p in self.described if p["trainable"] == trainable)

    def training(self, layers):
        """The executor of the step: SoftmaxOutput gives the shares and, backward, their distance from the labels."""
        self.gradients = dict((name, mx.nd.zeros(array.shape, ctx=self.context)) for name, array in self.values.items())
        self.updater = mx.optimizer.get_updater(self.make_optimizer())
        names = self.trainable()
        self.updated = (list(range(len(names))), [self.gradients[name] for name in names],
                        [self.values[name] for name in names])
        return self.bound(mx.sym.SoftmaxOutput(self.network(layers), mx.sym.Variable("labels")), self.gradients)

    def trainable(self):
        return [p["name"] for p in self.described if p["trainable"]]

    def network(self, layers):
        return self.chain(layers, mx.sym.Variable("inputs"))

    def bound(self, symbol, gradients):
        """An executor around our own arrays."""
        arrays = dict(self.values, inputs=self.inputs, labels=self.labels)
        arguments = dict((name, arrays[name]) for name in symbol.list_arguments())
        wanted = dict((name, "write" if name in gradients else "null") for name in arguments)
        return symbol.bind(self.context, arguments, args_grad=gradients, grad_req=wanted, aux_states=self.moving)

    def make_optimizer(self):
        """SoftmaxOutput's gradients are sums over the batch, and the optimizer scales them on their way."""
        optimizer = optimizer_of(self.optimizer, self.l2, rescale_grad=1.0 / self.batch_size,
                                 param_idx2name=dict(enumerate(self.trainable())))
        optimizer.set_wd_mult(dict((p["name"], float(p["layout"] == "oihw")) for p in self.described))
        return optimizer

    def place(self, inputs, labels):
        return mx.nd.array(inputs, ctx=self.context), mx.nd.array(labels, ctx=self.context)

    def load(self, batch):
        """Copy a batch into the arrays that the executors are bound to, as Module does, unless it lies there."""
        if batch is not self.placed:
            batch[0].copyto(self.inputs)
            batch[1].copyto(self.labels)
            self.placed = batch

    def logits(self, batch):
        kept = dict((name, array.copy()) for name, array in self.moving.items())
        outputs = self.tested(batch, is_train=True)
        for name, array in kept.items():
            array.copyto(self.moving[name])
        return outputs

    def predict(self, batch):
        return self.tested(batch, is_train=False)

    def tested(self, batch, is_train):
        """Bound with gradients, though none is asked: else MXNet 1.9 folds batch norm, whatever is_train says."""
        self.load(batch)
        executor = self.bound(self.network(without_dropout(self.layers)), self.gradients)
        return executor.forward(is_train=is_train)[0].asnumpy()

    def step(self, batch):
        self.load(batch)
        if self.mode == "inference":
            return self.executor.forward(is_train=False)[0]
        shares = self.executor.forward(is_train=True)[0]
        self.executor.backward()
        self.update()
        return shares

    def update(self):
        """From 1.5 on the updater takes lists, and SGD four parameters in one kernel."""
        if VERSION >= (1, 5):
            self.updater(*self.updated)
        else:
            for index, gradient, value in zip(*self.updated):
                self.updater(index, gradient, value)

    def loss(self, handle):
        shares, labels = handle.asnumpy().astype(np.float64), self.labels.asnumpy().astype(np.int32)
        return float(-np.log(shares[np.arange(len(labels)), labels]).mean())

    def outputs(self, handle):
        return handle.asnumpy()

    def synchronize(self):
        mx.nd.waitall()

    def parameters(self):
        held = dict(self.values, **self.moving)
        return dict((p["name"], self.canonical(p, held[p["name"]].asnumpy())) for p in self.described)

    # Layers -----------------------------------------------------------------------------------------

    def variable(self, layer, part):
        return mx.sym.Variable(layer["name"] + "." + part)

    def with_bias(self, layer):
        """The arguments that Convolution and FullyConnected take for a bias, or for none."""
        return {"bias": self.variable(layer, "bias")} if layer["bias"] else {"no_bias": True}

    def conv2d(self, x, layer):
        return mx.sym.Convolution(
            x, self.variable(layer, "weight"), num_filter=layer["filters"], kernel=(layer["kernel"],) * 2,
            stride=(layer["stride"],) * 2, pad=(layer["padding"],) * 2, cudnn_tune=self.tuning,
            name=layer["name"], **self.with_bias(layer))

    def dense(self, x, layer):
        return mx.sym.FullyConnected(x, self.variable(layer, "weight"), num_hidden=layer["units"], name=layer["name"],
                                     **self.with_bias(layer))

    def batch_norm(self, x, layer):
        """On a CPU the moving variance takes the biased variance of the batch."""
        return mx.sym.BatchNorm(
            x, *[self.variable(layer, part) for part in ("gamma", "beta", "moving_mean", "moving_variance")],
            eps=layer["epsilon"], momentum=layer["momentum"], fix_gamma=False, axis=layer["axis"] + 1,
            name=layer["name"])

    def relu(self, x, layer):
        return mx.sym.Activation(x, act_type="relu", name=layer["name"])

    def leaky_relu(self, x, layer):
        return mx.sym.LeakyReLU(x, act_type="leaky", slope=layer["slope"], name=layer["name"])

    def tanh(self, x, layer):
        return mx.sym.Activation(x, act_type="tanh", name=layer["name"])

    def max_pool(self, x, layer):
        return self.pooled(x, layer, pool_type="max", pad=(layer["padding"],) * 2)

    def avg_pool(self, x, layer):
        return self.pooled(x, layer, pool_type="avg")

    def pooled(self, x, layer, **how):
        kernel, stride = (layer["kernel"],) * 2, (layer["stride"],) * 2
        return mx.sym.Pooling(x, kernel=kernel, stride=stride, name=layer["name"], **how)

    def global_avg_pool(self, x, layer):
        return mx.sym.Flatten(mx.sym.Pooling(x, kernel=(1, 1), global_pool=True, pool_type="avg"), name=layer["name"])

    def flatten(self, x, layer):
        return mx.sym.Flatten(x, name=layer["name"])

    def dropout(self, x, layer):
        return mx.sym.Dropout(x, p=layer["rate"], name=layer["name"])

    def embedding(self, x, layer):
        return mx.sym.Embedding(x, self.variable(layer, "weight"), input_dim=layer["vocabulary"],
                                output_dim=layer["dimension"], name=layer["name"])

    def gru(self, x, layer):
        if not layer["reset_after"]:
            raise Unsupported("MXNet's GRU applies the reset gate after the recurrent product, never before it")
        parts = [self.variable(layer, part) for part in ("weight", "recurrent_weight", "bias", "recurrent_bias")]
        x = mx.sym.swapaxes(x, dim1=0, dim2=1)
        if self.device == "gpu" or VERSION >= (1, 3):
            return self.fused_gru(x, layer, parts)
        return self.unrolled_gru(x, layer, parts)

    def fused_gru(self, x, layer, parts):
        """The RNN operator, whose four arrays are joined in each step, as Gluon's recurrent layers do."""
        joined = mx.sym.concat(*[mx.sym.reshape(part, shape=(-1,)) for part in parts], dim=0)
        first = self.first_state(layer, (1,))
        states = mx.sym.RNN(x, joined, first, state_size=layer["units"], num_layers=1, mode="gru")
        return mx.sym.reshape(mx.sym.slice_axis(states, axis=0, begin=-1, end=None), shape=(-3, 0), name=layer["name"])

    def unrolled_gru(self, x, layer, parts):
        """Before 1.3 the RNN operator knows GPUs alone: one product for all inputs, then a small one for each time."""
        weight, inner, bias, inner_bias = parts
        time, features = layer["in_shape"]
        x = mx.sym.reshape(x, shape=(-1, features))
        given = mx.sym.FullyConnected(x, weight, bias, num_hidden=3 * layer["units"])
        state = self.first_state(layer, ())
        for now in mx.sym.SliceChannel(given, num_outputs=time, axis=0):
            told = mx.sym.FullyConnected(state, inner, inner_bias, num_hidden=3 * layer["units"])
            given_r, given_z, given_n = mx.sym.SliceChannel(now, num_outputs=3)
            told_r, told_z, told_n = mx.sym.SliceChannel(told, num_outputs=3)
            r = mx.sym.Activation(given_r + told_r, act_type="sigmoid")
            z = mx.sym.Activation(given_z + told_z, act_type="sigmoid")
            n = mx.sym.Activation(given_n + r * told_n, act_type="tanh")
            state = n + z * (state - n)
        return state

    def first_state(self, layer, leading):
        return mx.sym.zeros(shape=leading + (self.batch_size, layer["units"]))

    def residual(self, x, layer):
        return self.chain(layer["body"], x) + self.chain(layer["shortcut"], x)


ADAPTER = OnMxnet
