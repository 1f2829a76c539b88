"""The reference: every layer forward and backward in float64 numpy, written for reading, not for speed."""
from __future__ import absolute_import, division, print_function

import numpy as np

from adapter import Adapter
from weights import parameters_of


class OnNumpy(Adapter):
    """Each layer method returns its output and leaves on `self.tape` the function that takes the gradient back."""

    def build(self, layers, weights):
        self.layers = layers
        self.statistics = {}
        self.described = parameters_of(layers)
        self.values = dict((name, array.astype(np.float64)) for name, array in weights.items())
        self.slots = {}
        self.steps = 0
        self.training = True
        self.first_layer = layers[0]["name"] if layers else None

    def place(self, inputs, labels):
        return (inputs if inputs.dtype == np.int32 else inputs.astype(np.float64)), labels

    def facts(self):
        return {"versions": {"numpy": np.__version__}, "device": "cpu"}

    def parameters(self):
        return dict((name, array.astype(np.float32)) for name, array in self.values.items())

    def logits(self, batch):
        kept = dict(self.values)
        outputs = self.forward(batch[0], training=True)
        self.values = kept
        return outputs

    def predict(self, batch):
        return self.forward(batch[0], training=False)

    def step(self, batch):
        if self.mode == "inference":
            return self.predict(batch)
        loss, gradients = self.loss_and_gradients(batch)
        self.update(gradients)
        return loss

    def forward(self, inputs, training):
        self.training, self.tape = training, []
        return self.chain(self.layers, inputs)

    def loss_and_gradients(self, batch):
        """The mean cross-entropy and the gradient of it plus l2 * sum(w^2), by parameter name."""
        inputs, labels = batch
        self.gradients = {}
        loss, gradient = softmax_cross_entropy(self.forward(inputs, training=True), labels)
        for back in reversed(self.tape):
            gradient = back(gradient)
        for parameter in self.described:
            if self.l2 and parameter["layout"] == "oihw":
                self.gradients[parameter["name"]] += 2 * self.l2 * self.values[parameter["name"]]
        return loss, self.gradients

    def update(self, gradients):
        """One step of the optimizer of the workload."""
        self.steps += 1
        rule = getattr(self, self.optimizer["kind"])
        for name, gradient in gradients.items():
            self.values[name] = self.values[name] - rule(name, gradient)

    # Forms of moving averages -------------------------------------------------------------------------

    def averages_in_forms(self, given, batch):
        """What frameworks have after the first step, whose statistics of the batch are at hand here."""
        if self.options.get("averages") != "in forms":
            return {}
        first = dict(self.statistics)
        self.logits(batch)
        second = self.statistics
        return {
            "": self.averages_of(first, given, lambda layer, variance, m: variance),
            "unbiased variance": self.averages_of(first, given, lambda layer, variance, m: variance * unbiased(m)),
            # Keras on Theano keeps the variance that it divides by, Keras 2.2 unbiased.
            "epsilon in the variance": self.averages_of(
                first, given, lambda layer, variance, m: variance + layer["epsilon"]),
            "epsilon in the variance, unbiased variance": self.averages_of(
                first, given, lambda layer, variance, m: (variance + layer["epsilon"]) * unbiased(m)),
            # Keras 2.2 on TensorFlow: averages that start from nothing, over the weight of what they have taken in. After the
            # first step they are the batch's own. Where the kernel is fused, the variance comes unbiased and is made so again.
            "debiased averages, unbiased variance": self.averages_of(
                first, None, lambda layer, variance, m: variance * unbiased(m)),
            "debiased averages, twice unbiased variance": self.averages_of(
                first, None, lambda layer, variance, m: variance * unbiased(m) ** 2),
            # Keras on CNTK: a forward pass of their own, behind the update.
            "averages of a second pass": self.averages_of(second, given, lambda layer, variance, m: variance),
        }

    def averages_of(self, statistics, start, kept):
        """The averages after one step from `start`, or from nothing and debiased; `kept` is the variance that joins."""
        found = {}
        for name, (layer, mean, variance, count) in statistics.items():
            keep = layer["momentum"]
            for part, joining in (("moving_mean", mean), ("moving_variance", kept(layer, variance, count))):
                whole = name + "." + part
                found[whole] = joining
                if start is not None:
                    found[whole] = keep * start[whole].astype(np.float64) + (1 - keep) * joining
        return found

    # Optimizers: each returns what is taken from the parameter ----------------------------------------

    def slot(self, name, kind):
        return self.slots.setdefault((name, kind), np.zeros_like(self.values[name]))

    def sgd(self, name, gradient):
        return self.optimizer["learning_rate"] * gradient

    def momentum(self, name, gradient):
        """Without unit gain and without Nesterov: v = m v + g."""
        self.slots[name, "v"] = self.optimizer["momentum"] * self.slot(name, "v") + gradient
        return self.optimizer["learning_rate"] * self.slots[name, "v"]

    def adam(self, name, gradient):
        """Kingma and Ba, arXiv 1412.6980, algorithm 1; or, "epsilon hat", the variant below it that most frameworks have."""
        constants = self.optimizer
        beta1, beta2 = constants["beta1"], constants["beta2"]
        self.slots[name, "m"] = beta1 * self.slot(name, "m") + (1 - beta1) * gradient
        self.slots[name, "s"] = beta2 * self.slot(name, "s") + (1 - beta2) * gradient ** 2
        mean = self.slots[name, "m"] / (1 - beta1 ** self.steps)
        square = self.slots[name, "s"] / (1 - beta2 ** self.steps)
        epsilon = constants["epsilon"]
        if constants.get("epsilon_hat"):
            epsilon /= np.sqrt(1 - beta2 ** self.steps)
        return constants["learning_rate"] * mean / (np.sqrt(square) + epsilon)

    def adadelta(self, name, gradient):
        """Zeiler, arXiv 1212.5701, times a learning rate; epsilon inside both roots."""
        rho, epsilon = self.optimizer["rho"], self.optimizer["epsilon"]
        self.slots[name, "g"] = rho * self.slot(name, "g") + (1 - rho) * gradient ** 2
        change = gradient * np.sqrt(self.slot(name, "d") + epsilon) / np.sqrt(self.slots[name, "g"] + epsilon)
        self.slots[name, "d"] = rho * self.slots[name, "d"] + (1 - rho) * change ** 2
        return self.optimizer["learning_rate"] * change

    # Layers -----------------------------------------------------------------------------------------

    def value(self, layer, part):
        return self.values[layer["name"] + "." + part]

    def gradient_of(self, layer, part, gradient):
        self.gradients[layer["name"] + "." + part] = gradient

    def conv2d(self, x, layer):
        weight = self.value(layer, "weight")
        kernel, stride, padding = layer["kernel"], layer["stride"], layer["padding"]
        matrix = weight.reshape(len(weight), -1)
        padded = pad(x, padding, 0.0)
        out = np.stack([matrix.dot(columns(image, kernel, stride)) for image in padded])
        out = out.reshape((len(x),) + tuple(layer["out_shape"]))
        if layer["bias"]:
            out += self.value(layer, "bias")[:, None, None]

        def back(gradient):
            flat = gradient.reshape(len(x), len(weight), -1)
            self.gradient_of(layer, "weight", sum(
                g.dot(columns(image, kernel, stride).T) for g, image in zip(flat, padded)).reshape(weight.shape))
            if layer["bias"]:
                self.gradient_of(layer, "bias", gradient.sum(axis=(0, 2, 3)))
            if layer["name"] == self.first_layer:
                return None
            behind = np.zeros_like(padded)
            for g, target in zip(flat, behind):
                add_columns(target, matrix.T.dot(g), kernel, stride, layer["out_shape"][1:])
            return unpad(behind, padding)

        self.tape.append(back)
        return out

    def dense(self, x, layer):
        weight = self.value(layer, "weight")

        def back(gradient):
            self.gradient_of(layer, "weight", x.T.dot(gradient))
            if layer["bias"]:
                self.gradient_of(layer, "bias", gradient.sum(axis=0))
            return gradient.dot(weight.T)

        self.tape.append(back)
        return x.dot(weight) + (self.value(layer, "bias") if layer["bias"] else 0.0)

    def batch_norm(self, x, layer):
        axis = layer["axis"] + 1
        others = tuple(a for a in range(x.ndim) if a != axis)
        shape = tuple(-1 if a == axis else 1 for a in range(x.ndim))
        gamma = self.value(layer, "gamma").reshape(shape)
        mean, variance = self.batch_statistics(x, others, shape, layer)
        deviation = np.sqrt(variance + layer["epsilon"])
        normal = (x - mean) / deviation

        def back(gradient):
            self.gradient_of(layer, "gamma", (gradient * normal).sum(axis=others))
            self.gradient_of(layer, "beta", gradient.sum(axis=others))
            inner = gradient * gamma
            return (inner - inner.mean(axis=others, keepdims=True)
                    - normal * (inner * normal).mean(axis=others, keepdims=True)) / deviation

        self.tape.append(back)
        return gamma * normal + self.value(layer, "beta").reshape(shape)

    def batch_statistics(self, x, others, shape, layer):
        if not self.training:
            return self.value(layer, "moving_mean").reshape(shape), self.value(layer, "moving_variance").reshape(shape)
        mean, variance = x.mean(axis=others), x.var(axis=others)
        self.statistics[layer["name"]] = layer, mean, variance, x.size / mean.size
        self.keep_average(layer, "moving_mean", mean)
        self.keep_average(layer, "moving_variance", variance)
        return mean.reshape(shape), variance.reshape(shape)

    def keep_average(self, layer, part, found):
        name, keep = layer["name"] + "." + part, layer["momentum"]
        self.values[name] = keep * self.values[name] + (1 - keep) * found

    def relu(self, x, layer):
        self.tape.append(lambda gradient: gradient * (x > 0))
        return np.maximum(x, 0)

    def leaky_relu(self, x, layer):
        scale = np.where(x > 0, 1.0, layer["slope"])
        self.tape.append(lambda gradient: gradient * scale)
        return x * scale

    def tanh(self, x, layer):
        out = np.tanh(x)
        self.tape.append(lambda gradient: gradient * (1 - out ** 2))
        return out

    def max_pool(self, x, layer):
        kernel, stride, padding = layer["kernel"], layer["stride"], layer["padding"]
        shape = x.shape
        maps = pad(x, padding, -np.inf).reshape((-1, 1) + padded_size(shape, padding))
        windows = np.stack([columns(one, kernel, stride) for one in maps])  # (maps, kernel^2, places)
        winner = windows.argmax(axis=1)

        def back(gradient):
            spread = np.zeros_like(windows)
            np.put_along_axis(spread, winner[:, None], gradient.reshape(len(maps), 1, -1), axis=1)
            behind = np.zeros_like(maps)
            for target, one in zip(behind, spread):
                add_columns(target, one, kernel, stride, layer["out_shape"][1:])
            return unpad(behind.reshape(shape[:2] + padded_size(shape, padding)), padding)

        self.tape.append(back)
        return windows.max(axis=1).reshape((len(x),) + tuple(layer["out_shape"]))

    def avg_pool(self, x, layer):
        kernel, stride = layer["kernel"], layer["stride"]
        maps = x.reshape((-1, 1) + x.shape[2:])
        out = np.stack([columns(one, kernel, stride).mean(axis=0) for one in maps])

        def back(gradient):
            behind = np.zeros_like(maps)
            share = gradient.reshape(len(maps), 1, -1) / kernel ** 2
            for target, one in zip(behind, share):
                add_columns(target, np.repeat(one, kernel ** 2, axis=0), kernel, stride, layer["out_shape"][1:])
            return behind.reshape(x.shape)

        self.tape.append(back)
        return out.reshape((len(x),) + tuple(layer["out_shape"]))

    def global_avg_pool(self, x, layer):
        places = x.shape[2] * x.shape[3]
        self.tape.append(lambda gradient: np.broadcast_to(gradient[:, :, None, None] / places, x.shape))
        return x.mean(axis=(2, 3))

    def flatten(self, x, layer):
        self.tape.append(lambda gradient: gradient.reshape(x.shape))
        return x.reshape(len(x), -1)

    def dropout(self, x, layer):
        if not self.training:
            return x
        keep = np.random.uniform(size=x.shape) >= layer["rate"]
        self.tape.append(lambda gradient: gradient * keep / (1 - layer["rate"]))
        return x * keep / (1 - layer["rate"])

    def embedding(self, x, layer):
        weight = self.value(layer, "weight")

        def back(gradient):
            change = np.zeros_like(weight)
            np.add.at(change, x, gradient)
            self.gradient_of(layer, "weight", change)

        self.tape.append(back)
        return weight[x]

    def gru(self, x, layer):
        units, after = layer["units"], layer["reset_after"]
        weight, inner, bias = (self.value(layer, part) for part in ("weight", "recurrent_weight", "bias"))
        inner_bias = self.value(layer, "recurrent_bias") if after else np.zeros(3 * units)
        state, past = np.zeros((len(x), units)), []
        for now in np.moveaxis(x, 1, 0):
            given = now.dot(weight) + bias
            told = state.dot(inner[:, :2 * units]) + inner_bias[:2 * units]
            r, z = np.split(sigmoid(given[:, :2 * units] + told), 2, axis=1)
            if after:
                held = state.dot(inner[:, 2 * units:]) + inner_bias[2 * units:]
                n = np.tanh(given[:, 2 * units:] + r * held)
            else:
                held = r * state
                n = np.tanh(given[:, 2 * units:] + held.dot(inner[:, 2 * units:]))
            past.append((now, state, r, z, n, held))
            state = (1 - z) * n + z * state

        def back(gradient):
            d_weight, d_inner = np.zeros_like(weight), np.zeros_like(inner)
            d_bias, d_inner_bias = np.zeros_like(bias), np.zeros_like(inner_bias)
            behind = np.zeros_like(x, dtype=np.float64)
            for time in reversed(range(len(past))):
                now, before, r, z, n, held = past[time]
                d_n = gradient * (1 - z) * (1 - n ** 2)
                d_z = gradient * (before - n) * z * (1 - z)
                d_before = gradient * z
                if after:
                    d_r = d_n * held * r * (1 - r)
                    d_told = np.concatenate([d_r, d_z, d_n * r], axis=1)
                    d_inner += before.T.dot(d_told)
                    d_before = d_before + d_told.dot(inner.T)
                else:
                    d_held = d_n.dot(inner[:, 2 * units:].T)
                    d_r = d_held * before * r * (1 - r)
                    d_told = np.concatenate([d_r, d_z, d_n], axis=1)
                    d_inner[:, :2 * units] += before.T.dot(d_told[:, :2 * units])
                    d_inner[:, 2 * units:] += held.T.dot(d_n)
                    d_before = d_before + d_held * r + d_told[:, :2 * units].dot(inner[:, :2 * units].T)
                d_given = np.concatenate([d_r, d_z, d_n], axis=1)
                d_weight += now.T.dot(d_given)
                d_bias += d_given.sum(axis=0)
                d_inner_bias += d_told.sum(axis=0)
                behind[:, time] = d_given.dot(weight.T)
                gradient = d_before
            self.gradient_of(layer, "weight", d_weight)
            self.gradient_of(layer, "recurrent_weight", d_inner)
            self.gradient_of(layer, "bias", d_bias)
            if after:
                self.gradient_of(layer, "recurrent_bias", d_inner_bias)
            return behind

        self.tape.append(back)
        return state

    def residual(self, x, layer):
        outer = self.tape
        (body, body_tape), (side, side_tape) = (self.branch(layer[b], x) for b in ("body", "shortcut"))
        self.tape = outer

        def back(gradient):
            through, around = gradient, gradient
            for step in reversed(body_tape):
                through = step(through)
            for step in reversed(side_tape):
                around = step(around)
            return through + around

        self.tape.append(back)
        return body + side

    def branch(self, layers, x):
        self.tape = []
        out = self.chain(layers, x)
        return out, self.tape


def softmax_cross_entropy(logits, labels):
    """The mean over the batch and its gradient with respect to the logits (batch, classes)."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_shares = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    places = np.arange(len(labels)), labels
    gradient = np.exp(log_shares)
    gradient[places] -= 1
    return -log_shares[places].mean(), gradient / len(labels)


def unbiased(count):
    """Bessel's correction of the variance of so many numbers."""
    return count / max(count - 1.0, 1.0)


def sigmoid(x):
    return 0.5 * (np.tanh(0.5 * x) + 1)


def pad(x, padding, value):
    if not padding:
        return x
    return np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)), "constant", constant_values=value)


def unpad(x, padding):
    return x[:, :, padding:-padding, padding:-padding] if padding else x


def padded_size(shape, padding):
    return shape[2] + 2 * padding, shape[3] + 2 * padding


def columns(image, kernel, stride):
    """(channels, height, width) to (channels kernel^2, places): each column is one window."""
    channels, height, width = image.shape
    rows, cols = (height - kernel) // stride + 1, (width - kernel) // stride + 1
    s = image.strides
    windows = np.lib.stride_tricks.as_strided(
        image, (channels, kernel, kernel, rows, cols), (s[0], s[1], s[2], s[1] * stride, s[2] * stride))
    return windows.reshape(channels * kernel * kernel, rows * cols)


def add_columns(target, columns_, kernel, stride, size):
    """What `columns` undoes, adding where windows overlap."""
    rows, cols = size
    parts = columns_.reshape(target.shape[0], kernel, kernel, rows, cols)
    for i in range(kernel):
        for j in range(kernel):
            target[:, i:i + stride * rows:stride, j:j + stride * cols:stride] += parts[:, i, j]


ADAPTER = OnNumpy
