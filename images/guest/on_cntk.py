"""CNTK 2: one function with a trainer, its batches kept on the device."""
from __future__ import absolute_import, division, print_function

import math

import cntk as C
import numpy as np

from adapter import Adapter, Unsupported
from weights import parameters_of, walk


class OnCntk(Adapter):
    """Layer methods take and return functions of `self.inputs`; images are NCHW, its only layout."""

    def __init__(self, request):
        super(OnCntk, self).__init__(request)
        if self.options.get("layout", "nchw") != "nchw":
            raise Unsupported("CNTK convolves NCHW images alone")
        self.where = self.found_device()
        C.device.try_set_default_device(self.where)
        C.cntk_py.set_max_num_cputhreads(self.threads)

    def found_device(self):
        if self.device == "cpu":
            return C.device.cpu()
        if not any(device.type() == C.device.DeviceKind.GPU for device in C.device.all_devices()):
            raise Unsupported("CNTK sees no GPU")
        return C.device.gpu(0)

    def facts(self):
        name = "cpu" if self.device == "cpu" else C.device.get_gpu_properties(self.where).name
        versions = {"cntk": C.__version__, "numpy": np.__version__}
        return {"versions": versions, "device": name, "threads": C.cntk_py.get_max_num_cputhreads()}

    # The verbs of the core ------------------------------------------------------------------------

    def build(self, layers, weights):
        self.described = parameters_of(layers)
        self.fused = [x for x in walk(layers) if x["kind"] == "gru" and x["reset_after"] and self.device == "gpu"]
        self.stacks = dict((layer["name"], C.parameter(init=stack(layer, weights))) for layer in self.fused)
        stacked = set(p["name"] for p in parameters_of(self.fused))
        self.own = [p for p in self.described if p["name"] not in stacked]
        self.values = dict((p["name"], self.made(p, weights[p["name"]])) for p in self.own)
        self.tokens = layers[0]["kind"] == "embedding"
        self.inputs = C.sequence.input_variable(()) if self.tokens else C.input_variable(tuple(layers[0]["in_shape"]))
        self.labels = C.input_variable(self.classes)
        self.network = self.chain(layers, self.inputs)
        if self.mode == "training":
            loss = C.cross_entropy_with_softmax(self.network, self.labels)
            self.trainer = C.Trainer(self.network, (loss, None), self.learners())

    def made(self, parameter, array):
        """A parameter that is learned, or the constant in which batch normalisation keeps an average."""
        array = self.native(parameter, array)
        return C.parameter(array.shape, init=array) if parameter["trainable"] else C.constant(array)

    def learners(self):
        """One, or two where a penalty is on some parameters alone."""
        learned = [p for p in self.own if p["trainable"]]
        decayed = [self.values[p["name"]] for p in learned if self.l2 and p["layout"] == "oihw"]
        plain = [self.values[p["name"]] for p in learned if not (self.l2 and p["layout"] == "oihw")]
        plain += self.stacks.values()
        found = [self.learner(plain, 0.0)] if plain else []
        return found + ([self.learner(decayed, 2 * self.l2)] if decayed else [])

    def learner(self, parameters, decay):
        """Told to ignore the size of the batch: then it uses the mean gradient and takes the rate as it stands."""
        given, kind = self.optimizer, self.optimizer["kind"]
        rate = C.learning_parameter_schedule(given["learning_rate"])
        common = {"l2_regularization_weight": decay, "minibatch_size": C.learners.IGNORE}
        if kind == "sgd":
            return C.sgd(parameters, rate, **common)
        if kind == "momentum":
            return C.momentum_sgd(parameters, rate, C.momentum_schedule(given["momentum"]), unit_gain=False, **common)
        if kind == "adam":
            beta1, beta2 = C.momentum_schedule(given["beta1"]), C.momentum_schedule(given["beta2"])
            return C.adam(parameters, rate, beta1, variance_momentum=beta2, epsilon=given["epsilon"], **common)
        if kind == "adadelta":
            return C.adadelta(parameters, rate, rho=given["rho"], epsilon=given["epsilon"], **common)
        raise Unsupported("the CNTK adapter has no optimizer %s" % kind)

    def place(self, inputs, labels):
        shares = np.eye(self.classes, dtype=np.float32)[labels]
        return self.value_of(inputs.astype(np.float32)), self.value_of(shares)

    def value_of(self, array):
        return C.Value(np.ascontiguousarray(array), device=self.where)

    def logits(self, batch):
        """A forward pass that could be followed by a backward one: that is what makes batch norm use the batch."""
        moving = [self.values[p["name"]] for p in self.described if not p["trainable"]]
        kept = [constant.value for constant in moving]
        output = self.network.output
        _, found = self.network.forward({self.inputs: batch[0]}, [output], keep_for_backward=set([output]))
        for constant, array in zip(moving, kept):
            constant.value = array
        return np.asarray(found[output]).reshape(self.batch_size, -1)

    def predict(self, batch):
        return self.outputs(self.network.eval({self.inputs: batch[0]}, as_numpy=False))

    def step(self, batch):
        if self.mode == "inference":
            self.last = self.network.eval({self.inputs: batch[0]}, as_numpy=False)
            return self.last
        self.trainer.train_minibatch({self.inputs: batch[0], self.labels: batch[1]}, device=self.where)
        return self.trainer

    def loss(self, handle):
        return handle.previous_minibatch_loss_average

    def outputs(self, handle):
        return np.asarray(handle.asarray()).reshape(self.batch_size, -1)

    def synchronize(self):
        """Reading the last loss, or the last outputs, waits for the device."""
        if self.mode == "inference":
            self.outputs(self.last)
        elif self.trainer.total_number_of_samples_seen:
            self.trainer.previous_minibatch_loss_average

    def parameters(self):
        found = dict((p["name"], self.canonical(p, self.values[p["name"]].value)) for p in self.own)
        for layer in self.fused:
            found.update(unstacked(layer, self.stacks[layer["name"]].value))
        return found

    # Layers -----------------------------------------------------------------------------------------

    def value(self, layer, part):
        return self.values[layer["name"] + "." + part]

    def conv2d(self, x, layer):
        x, padded = self.padded(x, layer)
        stride = (layer["stride"],) * 2
        x = C.convolution(self.value(layer, "weight"), x, strides=stride, auto_padding=[False, padded, padded])
        return x + C.reshape(self.value(layer, "bias"), (-1, 1, 1)) if layer["bias"] else x

    def padded(self, x, layer, value=0.0):
        """x and whether CNTK is to pad it: its own padding puts the middle of an odd window on the first pixel."""
        fits = min(layer["in_shape"][1:]) >= layer["kernel"]  # CNTK takes no window larger than an image
        if fits and 2 * layer["padding"] == layer["kernel"] - 1:
            return x, layer["padding"] > 0
        if layer["padding"] == 0:
            return x, False
        return C.pad(x, [(0, 0)] + [(layer["padding"],) * 2] * 2, constant_value=value), False

    def dense(self, x, layer):
        x = C.times(x, self.value(layer, "weight"))
        return x + self.value(layer, "bias") if layer["bias"] else x

    def batch_norm(self, x, layer):
        if layer["axis"] != 0:
            x = C.swapaxes(x, 0, layer["axis"])
        parts = [self.value(layer, part) for part in ("gamma", "beta", "moving_mean", "moving_variance")]
        # The averages keep exp(-samples / constant) of themselves at each step, but nothing at a first one that finds the
        # count at 0. The variance joins as the unbiased one, n / (n - 1) times the batch's.
        constant = -self.batch_size / math.log(layer["momentum"])
        x = C.batch_normalization(
            x, parts[0], parts[1], parts[2], parts[3], spatial=True, normalization_time_constant=constant,
            epsilon=layer["epsilon"], use_cudnn_engine=self.device == "gpu", disable_regularization=True,
            running_count=C.constant(float(self.batch_size), shape=()))
        return x if layer["axis"] == 0 else C.swapaxes(x, 0, layer["axis"])

    def relu(self, x, layer):
        return C.relu(x)

    def leaky_relu(self, x, layer):
        return C.leaky_relu(x, layer["slope"])

    def tanh(self, x, layer):
        return C.tanh(x)

    def max_pool(self, x, layer):
        x, padded = self.padded(x, layer, float(np.finfo(np.float32).min))
        return self.pooled(x, layer, C.MAX_POOLING, padded)

    def avg_pool(self, x, layer):
        return self.pooled(x, layer, C.AVG_POOLING, False)

    def pooled(self, x, layer, kind, padded):
        return C.pooling(x, kind, (layer["kernel"],) * 2, (layer["stride"],) * 2, auto_padding=[False, padded, padded])

    def global_avg_pool(self, x, layer):
        return C.reshape(C.reduce_mean(x, axis=(1, 2)), (layer["in_shape"][0],))

    def flatten(self, x, layer):
        return C.reshape(x, (-1,))

    def dropout(self, x, layer):
        return C.dropout(x, layer["rate"])

    def embedding(self, x, layer):
        """By gather, whose gradient is dense: a product with sparse one-hots has the optimizers skip untouched rows."""
        return C.gather(self.value(layer, "weight"), x)

    def gru(self, x, layer):
        """cuDNN's, where there is a GPU and it has the form; else one product for all times' inputs, then a recurrence."""
        if layer["name"] in self.stacks:
            stack_ = self.stacks[layer["name"]]
            return C.sequence.last(C.optimized_rnnstack(x, stack_, layer["units"], num_layers=1, recurrent_op="gru"))
        given = C.times(x, self.value(layer, "weight")) + self.value(layer, "bias")
        cell = self.reset_after if layer["reset_after"] else self.reset_before
        return C.sequence.last(C.layers.Recurrence(cell(layer))(given))

    def reset_after(self, layer):
        units, weight, bias = layer["units"], self.value(layer, "recurrent_weight"), self.value(layer, "recurrent_bias")

        @C.Function
        def following(state, given):
            told = C.times(state, weight) + bias
            r, z = [C.sigmoid(gate(given, units, k) + gate(told, units, k)) for k in (0, 1)]
            n = C.tanh(gate(given, units, 2) + r * gate(told, units, 2))
            return n + z * (state - n)
        return following

    def reset_before(self, layer):
        units, weight = layer["units"], self.value(layer, "recurrent_weight")
        first, last = weight[:, :2 * units], weight[:, 2 * units:]

        @C.Function
        def following(state, given):
            told = C.times(state, first)
            r, z = [C.sigmoid(gate(given, units, k) + gate(told, units, k)) for k in (0, 1)]
            n = C.tanh(gate(given, units, 2) + C.times(r * state, last))
            return n + z * (state - n)
        return following

    def residual(self, x, layer):
        return self.chain(layer["body"], x) + self.chain(layer["shortcut"], x)


def gate(gates, units, number):
    """One of the gates that stand side by side."""
    return C.slice(gates, -1, number * units, (number + 1) * units)


def stack(layer, weights):
    """A GRU's arrays behind one another as cuDNN keeps them: weights a row an output, then biases, gates r, z, n."""
    arrays = [weights[p["name"]].T.ravel() for p in layer["parameters"]]
    return np.concatenate(arrays).reshape(-1, layer["units"])


def unstacked(layer, array):
    """Name to array: what `stack` undoes."""
    found, array = {}, array.ravel()
    for parameter in layer["parameters"]:
        size = int(np.prod(parameter["shape"]))
        found[parameter["name"]] = np.ascontiguousarray(array[:size].reshape(parameter["shape"][::-1]).T)
        array = array[size:]
    return found


ADAPTER = OnCntk
