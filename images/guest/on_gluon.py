"""Gluon, the imperative face of MXNet: blocks, a hybridized network, autograd and the Trainer."""
from __future__ import absolute_import, division, print_function

import mxnet as mx
from mxnet import autograd, gluon
from mxnet.gluon import nn

from adapter import Adapter, Unsupported
from on_mxnet import VERSION, context_of, facts_of, optimizer_of
from weights import parameters_of

GRU_PARTS = (("weight", "l0_i2h_weight"), ("recurrent_weight", "l0_h2h_weight"),
             ("bias", "l0_i2h_bias"), ("recurrent_bias", "l0_h2h_bias"))


class Sum(gluon.HybridBlock):
    """What a residual adds up."""

    def __init__(self, body, shortcut):
        super(Sum, self).__init__()
        self.body, self.shortcut = body, shortcut

    def hybrid_forward(self, F, x):
        return self.body(x) + self.shortcut(x)


class TimeFirst(gluon.HybridBlock):
    """(batch, time, features) to (time, batch, features), which is how the RNN operator wants it."""

    def hybrid_forward(self, F, x):
        return F.swapaxes(x, dim1=0, dim2=1)


class LastTime(gluon.HybridBlock):
    """(time, batch, features) to the (batch, features) of the last time.

    Not by F.SequenceLast: without lengths its gradient writes where it should not, under autograd
    (segmentation faults or gradients of zero, seen in 1.3, 1.5 and 1.9 on a CPU).
    """

    def hybrid_forward(self, F, x):
        return F.reshape(F.slice_axis(x, axis=0, begin=-1, end=None), shape=(-3, 0))


class OnGluon(Adapter):
    """Layers are added to the container that the layer methods hand on, and their parameters kept by name."""

    axes = {"io": (1, 0), "gru": (1, 0)}  # the gates of MXNet's GRU too stand in the order r, z, n

    def __init__(self, request):
        super(OnGluon, self).__init__(request)
        if self.options.get("layout", "nchw") != "nchw":
            raise Unsupported("MXNet has convolutions of NCHW images alone on a CPU")
        self.context = context_of(self.device)

    def facts(self):
        return facts_of(self.context)

    # The verbs of the core ------------------------------------------------------------------------

    def build(self, layers, weights):
        self.held = {}
        self.described = parameters_of(layers)
        self.network = self.chain(layers, self.container(layers))
        self.network.initialize(mx.init.Zero(), ctx=self.context)
        for parameter in self.described:
            self.held[parameter["name"]].set_data(mx.nd.array(self.native(parameter, weights[parameter["name"]])))
        self.cross_entropy = gluon.loss.SoftmaxCrossEntropyLoss()
        if self.options.get("execution", "graph") != "eager":
            self.hybridize()
        if self.mode == "training":
            self.trainer = self.make_trainer()

    def container(self, layers):
        """Before 1.3 the recurrent layers cannot be hybridized: then the container stays imperative around the rest."""
        whole = VERSION >= (1, 3) or all(layer["kind"] != "gru" for layer in layers)
        return nn.HybridSequential() if whole else nn.Sequential()

    def hybridize(self):
        """From 1.3 on with memory that is planned once and kept."""
        static = {"static_alloc": True, "static_shape": True} if VERSION >= (1, 3) else {}
        self.network.hybridize(**static)
        self.cross_entropy.hybridize(**static)

    def make_trainer(self):
        for parameter in self.described:
            self.held[parameter["name"]].wd_mult = float(parameter["layout"] == "oihw")
        learned = [self.held[p["name"]] for p in self.described if p["trainable"]]
        return gluon.Trainer(learned, optimizer_of(self.optimizer, self.l2), kvstore=None)

    def place(self, inputs, labels):
        return mx.nd.array(inputs, ctx=self.context), mx.nd.array(labels, ctx=self.context)

    def logits(self, batch):
        moving = [self.held[p["name"]].data() for p in self.described if not p["trainable"]]
        kept = [array.copy() for array in moving]
        with autograd.record(train_mode=True):
            outputs = self.network(batch[0]).asnumpy()
        for array, before in zip(moving, kept):
            before.copyto(array)
        return outputs

    def predict(self, batch):
        return self.network(batch[0]).asnumpy()

    def step(self, batch):
        if self.mode == "inference":
            return self.network(batch[0])
        with autograd.record():
            loss = self.cross_entropy(self.network(batch[0]), batch[1])
        loss.backward()
        self.trainer.step(self.batch_size)
        return loss

    def loss(self, handle):
        return float(handle.asnumpy().mean())

    def outputs(self, handle):
        return handle.asnumpy()

    def synchronize(self):
        mx.nd.waitall()

    def parameters(self):
        return dict((p["name"], self.canonical(p, self.held[p["name"]].data().asnumpy())) for p in self.described)

    # Layers -----------------------------------------------------------------------------------------

    def added(self, container, block, layer=None, parts=()):
        """The container with one block more, whose parameters (canonical part, own name) are kept."""
        container.add(block)
        for part, own in parts:
            self.held[layer["name"] + "." + part] = block.params.get(own)
        return container

    def conv2d(self, x, layer):
        block = nn.Conv2D(layer["filters"], layer["kernel"], layer["stride"], layer["padding"],
                          use_bias=layer["bias"], in_channels=layer["in_shape"][0])
        return self.added(x, block, layer, (("weight", "weight"), ("bias", "bias"))[:1 + layer["bias"]])

    def dense(self, x, layer):
        block = nn.Dense(layer["units"], use_bias=layer["bias"], in_units=layer["in_shape"][0])
        return self.added(x, block, layer, (("weight", "weight"), ("bias", "bias"))[:1 + layer["bias"]])

    def batch_norm(self, x, layer):
        """On a CPU the moving variance takes the biased variance of the batch."""
        block = nn.BatchNorm(axis=layer["axis"] + 1, momentum=layer["momentum"], epsilon=layer["epsilon"],
                             in_channels=layer["in_shape"][layer["axis"]])
        return self.added(x, block, layer, (("gamma", "gamma"), ("beta", "beta"), ("moving_mean", "running_mean"),
                                            ("moving_variance", "running_var")))

    def relu(self, x, layer):
        return self.added(x, nn.Activation("relu"))

    def leaky_relu(self, x, layer):
        return self.added(x, nn.LeakyReLU(layer["slope"]))

    def tanh(self, x, layer):
        return self.added(x, nn.Activation("tanh"))

    def max_pool(self, x, layer):
        return self.added(x, nn.MaxPool2D(layer["kernel"], layer["stride"], layer["padding"]))

    def avg_pool(self, x, layer):
        return self.added(x, nn.AvgPool2D(layer["kernel"], layer["stride"]))

    def global_avg_pool(self, x, layer):
        return self.added(self.added(x, nn.GlobalAvgPool2D()), nn.Flatten())

    def flatten(self, x, layer):
        return self.added(x, nn.Flatten())

    def dropout(self, x, layer):
        return self.added(x, nn.Dropout(layer["rate"]))

    def embedding(self, x, layer):
        return self.added(x, nn.Embedding(layer["vocabulary"], layer["dimension"]), layer, (("weight", "weight"),))

    def gru(self, x, layer):
        if not layer["reset_after"]:
            raise Unsupported("Gluon's GRU applies the reset gate after the recurrent product, never before it")
        block = gluon.rnn.GRU(layer["units"], input_size=layer["in_shape"][1])
        return self.added(self.added(self.added(x, TimeFirst()), block, layer, GRU_PARTS), LastTime())

    def residual(self, x, layer):
        body, shortcut = [self.chain(layer[branch], nn.HybridSequential()) for branch in ("body", "shortcut")]
        return self.added(x, Sum(body, shortcut))


ADAPTER = OnGluon
