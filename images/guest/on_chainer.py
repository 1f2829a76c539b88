"""Chainer 4 and 7: functions over parameters of one link, define-by-run, cuDNN through CuPy."""
from __future__ import absolute_import, division, print_function

import math

import chainer
import chainer.functions as F
import numpy as np
from chainer.backends import cuda

from adapter import Adapter, Unsupported
from weights import parameters_of


class OnChainer(Adapter):
    """Images stay (batch, channels, height, width), the only layout that Chainer has for them on a CPU."""

    axes = {"io": (1, 0), "gru": (1, 0)}  # the gates of Chainer's GRU too stand in the order r, z, n

    def __init__(self, request):
        super(OnChainer, self).__init__(request)
        if self.options.get("layout", "nchw") != "nchw":
            raise Unsupported("Chainer keeps images in NCHW")
        if self.device == "gpu":
            self.require_gpu()
        self.xp = cuda.cupy if self.device == "gpu" else np
        chainer.global_config.type_check = False  # as the fast examples run it; it looks at shapes and changes none
        chainer.global_config.autotune = self.options.get("autotune", "on") == "on"
        chainer.global_config.train = self.mode == "training"
        chainer.global_config.enable_backprop = self.mode == "training"

    def require_gpu(self):
        if not cuda.available or not cuda.cudnn_enabled:
            raise Unsupported("Chainer sees no CuPy with CUDA and cuDNN")
        cuda.get_device_from_id(0).use()
        cuda.set_max_workspace_size(512 * 1024 ** 2)  # the default of 8 MiB keeps cuDNN from its fast convolutions

    def facts(self):
        versions = {"chainer": chainer.__version__, "numpy": np.__version__}
        if self.device == "cpu":
            return {"versions": versions, "device": "cpu"}
        versions.update(cupy=cuda.cupy.__version__, cudnn=cuda.cudnn.cudnn.getVersion())
        return {"versions": versions, "device": "gpu of compute capability " + cuda.Device(0).compute_capability}

    # The verbs of the core ------------------------------------------------------------------------

    def build(self, layers, weights):
        self.layers = layers
        self.described = parameters_of(layers)
        self.link, self.values = chainer.Link(), {}
        for parameter in self.described:
            array = self.here(self.native(parameter, weights[parameter["name"]]))
            self.values[parameter["name"]] = self.learned(parameter, array) if parameter["trainable"] else array
        self.optimizer_ = self.make_optimizer()

    def here(self, array):
        return self.xp.array(array)

    def learned(self, parameter, array):
        """A parameter of the link, under a name that Python allows."""
        value = chainer.Parameter(array)
        with self.link.init_scope():
            setattr(self.link, parameter["name"].replace(".", "_"), value)
        return value

    def make_optimizer(self):
        optimizer = self.rule().setup(self.link)
        decay = chainer.optimizer_hooks.WeightDecay(2 * self.l2)
        for parameter in self.described:
            if self.l2 and parameter["layout"] == "oihw":
                self.values[parameter["name"]].update_rule.add_hook(decay)
        return optimizer

    def rule(self):
        given, kind = self.optimizer, self.optimizer["kind"]
        rate = given["learning_rate"]
        if kind == "sgd":
            return chainer.optimizers.SGD(lr=rate)
        if kind == "momentum":
            return chainer.optimizers.MomentumSGD(lr=rate, momentum=given["momentum"])
        if kind == "adam":
            return chainer.optimizers.Adam(alpha=rate, beta1=given["beta1"], beta2=given["beta2"], eps=given["epsilon"])
        if kind == "adadelta" and rate == 1:
            return chainer.optimizers.AdaDelta(rho=given["rho"], eps=given["epsilon"])
        raise Unsupported("Chainer has no optimizer %s with a learning rate of %s" % (kind, rate))

    def place(self, inputs, labels):
        return self.here(inputs), self.here(labels)

    def logits(self, batch):
        kept = dict((p["name"], self.values[p["name"]].copy()) for p in self.described if not p["trainable"])
        with chainer.no_backprop_mode():
            outputs = self.chain(self.layers, batch[0])
        for name, array in kept.items():
            self.values[name][...] = array
        return cuda.to_cpu(outputs.array)

    def predict(self, batch):
        with chainer.using_config("train", False), chainer.no_backprop_mode():
            return cuda.to_cpu(self.chain(self.layers, batch[0]).array)

    def step(self, batch):
        outputs = self.chain(self.layers, batch[0])
        if self.mode == "inference":
            return outputs
        loss = F.softmax_cross_entropy(outputs, batch[1])
        self.link.cleargrads()
        loss.backward()
        self.correct_epsilon()
        self.optimizer_.update()
        return loss

    def correct_epsilon(self):
        """As published, epsilon is added to the corrected root; Chainer adds it to the root before its correction.

        With an epsilon of 1e-8 a GRU's first update still shows that by 1 %, where its gradients are small.
        """
        if self.optimizer["kind"] == "adam":
            step = self.optimizer_.t + 1
            self.optimizer_.eps = self.optimizer["epsilon"] * math.sqrt(1 - self.optimizer["beta2"] ** step)

    def loss(self, handle):
        return float(cuda.to_cpu(handle.array))

    def outputs(self, handle):
        return cuda.to_cpu(handle.array)

    def synchronize(self):
        if self.device == "gpu":
            cuda.Stream.null.synchronize()

    def parameters(self):
        return dict((p["name"], self.canonical(p, self.numpy_of(self.values[p["name"]]))) for p in self.described)

    def numpy_of(self, value):
        return np.array(cuda.to_cpu(value.array if isinstance(value, chainer.Parameter) else value))

    # Layers -----------------------------------------------------------------------------------------

    def value(self, layer, part):
        return self.values.get(layer["name"] + "." + part)

    def conv2d(self, x, layer):
        weight, bias = self.value(layer, "weight"), self.value(layer, "bias")
        return F.convolution_2d(x, weight, bias, layer["stride"], layer["padding"])

    def dense(self, x, layer):
        return F.linear(x, self.value(layer, "weight"), self.value(layer, "bias"))

    def batch_norm(self, x, layer):
        """The moving variance takes the unbiased variance of the batch."""
        if layer["axis"] != 0:
            x = F.swapaxes(x, 1, layer["axis"] + 1)
        gamma, beta, mean, variance = [
            self.value(layer, part) for part in ("gamma", "beta", "moving_mean", "moving_variance")]
        if chainer.config.train:
            x = F.batch_normalization(x, gamma, beta, eps=layer["epsilon"], running_mean=mean, running_var=variance,
                                      decay=layer["momentum"])
        else:
            x = F.fixed_batch_normalization(x, gamma, beta, mean, variance, eps=layer["epsilon"])
        return x if layer["axis"] == 0 else F.swapaxes(x, 1, layer["axis"] + 1)

    def relu(self, x, layer):
        return F.relu(x)

    def leaky_relu(self, x, layer):
        return F.leaky_relu(x, layer["slope"])

    def tanh(self, x, layer):
        return F.tanh(x)

    def max_pool(self, x, layer):
        return F.max_pooling_2d(x, layer["kernel"], layer["stride"], layer["padding"], cover_all=False)

    def avg_pool(self, x, layer):
        return F.average_pooling_2d(x, layer["kernel"], layer["stride"])

    def global_avg_pool(self, x, layer):
        return F.mean(x, axis=(2, 3))

    def flatten(self, x, layer):
        return F.reshape(x, (x.shape[0], -1))

    def dropout(self, x, layer):
        return F.dropout(x, layer["rate"])

    def embedding(self, x, layer):
        return F.embed_id(x, self.value(layer, "weight"))

    def gru(self, x, layer):
        if not layer["reset_after"]:
            raise Unsupported("Chainer's GRU applies the reset gate after the recurrent product, never before it")
        weights, biases = [
            [gate for part in parts for gate in F.split_axis(self.value(layer, part), 3, axis=0)]
            for parts in (("weight", "recurrent_weight"), ("bias", "recurrent_bias"))]
        state = self.xp.zeros((1, x.shape[0], layer["units"]), dtype=np.float32)
        return F.n_step_gru(1, 0.0, chainer.Variable(state), [weights], [biases], F.separate(x, axis=1))[0][0]

    def residual(self, x, layer):
        return self.chain(layer["body"], x) + self.chain(layer["shortcut"], x)


ADAPTER = OnChainer
