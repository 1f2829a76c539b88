"""JAX: pure functions of one state, the whole step compiled by XLA and the state donated to it."""
from __future__ import absolute_import, division, print_function

import os

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from adapter import Adapter, Unsupported
from weights import parameters_of, without_dropout

PLACES = {"nhwc": {0: 3, 1: 1, 2: 2}, "nchw": {0: 1, 1: 2, 2: 3}}  # where an axis of a sample lies among four


class OnJax(Adapter):
    """The state is a dictionary: values, moving (averages), slots (of the optimizer), step and key (for dropout)."""

    def __init__(self, request):
        super(OnJax, self).__init__(request)
        self.layout = self.options.get("layout", "nhwc")
        self.channels_last = self.layout == "nhwc"
        self.axes = {"oihw": (2, 3, 1, 0)} if self.channels_last else {}
        self.eager = self.options.get("execution", "jit") == "eager"
        self.where = self.found_device()

    def found_device(self):
        """XLA's CPU threads are counted once, as the first device is asked for."""
        os.environ["NPROC"] = str(self.threads)
        if self.device == "cpu":
            jax.config.update("jax_platforms", "cpu")
            return jax.devices("cpu")[0]
        try:
            return jax.devices("gpu")[0]
        except RuntimeError as error:
            raise Unsupported("JAX sees no GPU: " + str(error).splitlines()[0])

    def facts(self):
        name = self.where.device_kind if self.device == "gpu" else "cpu"
        versions = {"jax": jax.__version__, "jaxlib": jax.lib.__version__}
        return {"versions": versions, "device": name, "threads": self.threads}

    # The verbs of the core ------------------------------------------------------------------------

    def build(self, layers, weights):
        self.layers, self.last = layers, None
        self.described = parameters_of(layers)
        values, moving = [self.arrays(weights, trainable) for trainable in (True, False)]
        slots = dict((name, self.first_slots(value)) for name, value in values.items())
        self.state = {"values": values, "moving": moving, "slots": slots if self.mode == "training" else {},
                      "step": self.here(np.float32(0)), "key": self.here(jax.random.key(0))}
        self.advance = self.compiled(lambda *batch: self.advanced(*batch), donate_argnums=0)
        plain = without_dropout(layers)
        self.run_logits = self.compiled(lambda state, inputs: self.forward(state, inputs, plain, True)[0])
        self.run_predict = self.compiled(lambda state, inputs: self.forward(state, inputs, plain, False)[0])

    def arrays(self, weights, trainable):
        return dict((p["name"], self.here(self.native(p, weights[p["name"]])))
                    for p in self.described if p["trainable"] == trainable)

    def here(self, array):
        return jax.device_put(array, self.where)

    def compiled(self, function, **more):
        """XLA's program of a function made for this network; JAX looks them up by it, and a method stays the same."""
        return function if self.eager else jax.jit(function, **more)

    def place(self, inputs, labels):
        return self.here(self.native_images(inputs)), self.here(labels)

    def logits(self, batch):
        return np.asarray(self.run_logits(self.state, batch[0]))

    def predict(self, batch):
        return np.asarray(self.run_predict(self.state, batch[0]))

    def step(self, batch):
        if self.mode == "inference":
            self.last = self.run_predict(self.state, batch[0])
        else:
            self.state, self.last = self.advance(self.state, batch[0], batch[1])
        return self.last

    def synchronize(self):
        jax.block_until_ready((self.state, self.last))

    def parameters(self):
        held = dict(self.state["values"], **self.state["moving"])
        return dict((p["name"], self.canonical(p, np.asarray(held[p["name"]]))) for p in self.described)

    # Pure functions of the state ------------------------------------------------------------------------

    def forward(self, state, inputs, layers, training):
        """The outputs and the new moving averages; the layer methods read the values that are given here."""
        self.held, self.moved = dict(state["values"], **state["moving"]), dict(state["moving"])
        self.training, self.key = training, state["key"]
        return self.chain(layers, inputs), self.moved

    def objective(self, values, state, inputs, labels):
        """What is minimised, and beside it the cross-entropy alone and the new moving averages."""
        outputs, moved = self.forward(dict(state, values=values), inputs, self.layers, True)
        shares = jnp.take_along_axis(jax.nn.log_softmax(outputs), labels[:, None], axis=1)
        loss = -shares.mean()
        decay = 0.0
        if self.l2:
            decay = self.l2 * sum(jnp.sum(values[p["name"]] ** 2) for p in self.described if p["layout"] == "oihw")
        return loss + decay, (loss, moved)

    def advanced(self, state, inputs, labels):
        """The state after one training step, and the loss."""
        key, following = jax.random.split(state["key"])
        gradients, (loss, moved) = jax.grad(self.objective, has_aux=True)(
            state["values"], dict(state, key=key), inputs, labels)
        step = state["step"] + 1
        values, slots = {}, {}
        rule = getattr(self, self.optimizer["kind"])
        for name, value in state["values"].items():
            change, slots[name] = rule(gradients[name], state["slots"][name], step)
            values[name] = value - self.optimizer["learning_rate"] * change
        return {"values": values, "moving": moved, "slots": slots, "step": step, "key": following}, loss

    # Optimizers: each returns the change of a parameter, before the learning rate, and its slots ------------

    def first_slots(self, value):
        count = {"sgd": 0, "momentum": 1, "adam": 2, "adadelta": 2}
        return tuple(jnp.zeros_like(value) for _ in range(count[self.optimizer["kind"]]))

    def sgd(self, gradient, slots, step):
        return gradient, slots

    def momentum(self, gradient, slots, step):
        velocity = self.optimizer["momentum"] * slots[0] + gradient
        return velocity, (velocity,)

    def adam(self, gradient, slots, step):
        beta1, beta2 = self.optimizer["beta1"], self.optimizer["beta2"]
        mean = beta1 * slots[0] + (1 - beta1) * gradient
        square = beta2 * slots[1] + (1 - beta2) * gradient ** 2
        root = jnp.sqrt(square / (1 - beta2 ** step)) + self.optimizer["epsilon"]
        return mean / (1 - beta1 ** step) / root, (mean, square)

    def adadelta(self, gradient, slots, step):
        rho, epsilon = self.optimizer["rho"], self.optimizer["epsilon"]
        square = rho * slots[0] + (1 - rho) * gradient ** 2
        change = gradient * jnp.sqrt(slots[1] + epsilon) / jnp.sqrt(square + epsilon)
        return change, (square, rho * slots[1] + (1 - rho) * change ** 2)

    # Layers -----------------------------------------------------------------------------------------

    def value(self, layer, part):
        return self.held[layer["name"] + "." + part]

    def with_bias(self, x, layer):
        """x with this layer's bias, if it has one, on its last axis, or on the channels of an image."""
        if not layer["bias"]:
            return x
        bias = self.value(layer, "bias")
        return x + (bias[:, None, None] if x.ndim == 4 and not self.channels_last else bias)

    def conv2d(self, x, layer):
        numbers = ("NHWC", "HWIO", "NHWC") if self.channels_last else ("NCHW", "OIHW", "NCHW")
        padding = (layer["padding"], layer["padding"])
        x = lax.conv_general_dilated(x, self.value(layer, "weight"), (layer["stride"], layer["stride"]),
                                     (padding, padding), dimension_numbers=numbers)
        return self.with_bias(x, layer)

    def dense(self, x, layer):
        return self.with_bias(jnp.matmul(x, self.value(layer, "weight")), layer)

    def batch_norm(self, x, layer):
        """The variance is the mean of squares less the square of the mean, as Flax has it: one pass over x."""
        axis = PLACES[self.layout][layer["axis"]] if x.ndim == 4 else layer["axis"] + 1
        shape = tuple(-1 if a == axis else 1 for a in range(x.ndim))
        mean, variance = self.statistics(x, tuple(a for a in range(x.ndim) if a != axis), layer)
        scale = lax.rsqrt(variance + layer["epsilon"]) * self.value(layer, "gamma")
        return (x - mean.reshape(shape)) * scale.reshape(shape) + self.value(layer, "beta").reshape(shape)

    def statistics(self, x, others, layer):
        if not self.training:
            return self.value(layer, "moving_mean"), self.value(layer, "moving_variance")
        mean = x.mean(axis=others)
        variance = jnp.maximum((x * x).mean(axis=others) - mean * mean, 0)
        for part, found in (("moving_mean", mean), ("moving_variance", variance)):
            name, keep = layer["name"] + "." + part, layer["momentum"]
            self.moved[name] = keep * self.held[name] + (1 - keep) * lax.stop_gradient(found)
        return mean, variance

    def relu(self, x, layer):
        return jax.nn.relu(x)

    def leaky_relu(self, x, layer):
        return jax.nn.leaky_relu(x, layer["slope"])

    def tanh(self, x, layer):
        return jnp.tanh(x)

    def windows(self, x, layer, start, operation, padding=0):
        """Each window of the images reduced by this operation."""
        kernel, stride = self.spatial((layer["kernel"],) * 2, 1), self.spatial((layer["stride"],) * 2, 1)
        around = self.spatial(((padding, padding),) * 2, (0, 0))
        return lax.reduce_window(x, start, operation, kernel, stride, around)

    def spatial(self, pair, other):
        """(height, width) among the four axes of an image, the same other one for the batch and the channels."""
        return (other,) + pair + (other,) if self.channels_last else (other, other) + pair

    def max_pool(self, x, layer):
        return self.windows(x, layer, -jnp.inf, lax.max, layer["padding"])

    def avg_pool(self, x, layer):
        return self.windows(x, layer, 0.0, lax.add) / layer["kernel"] ** 2

    def global_avg_pool(self, x, layer):
        return x.mean(axis=(1, 2) if self.channels_last else (2, 3))

    def flatten(self, x, layer):
        return x.reshape(len(x), -1)

    def dropout(self, x, layer):
        if not self.training:
            return x
        self.key, own = jax.random.split(self.key)
        keep = jax.random.bernoulli(own, 1 - layer["rate"], x.shape)
        return jnp.where(keep, x / (1 - layer["rate"]), 0)

    def embedding(self, x, layer):
        return jnp.take(self.value(layer, "weight"), x, axis=0)

    def gru(self, x, layer):
        """One product for the inputs of all times, then a scan over them; eager, one would be compiled at each step."""
        given = jnp.matmul(x.swapaxes(0, 1), self.value(layer, "weight")) + self.value(layer, "bias")
        following = (self.reset_after if layer["reset_after"] else self.reset_before)(layer)
        state = jnp.zeros((x.shape[0], layer["units"]), x.dtype)
        if not self.eager:
            return lax.scan(following, state, given)[0]
        for now in given:
            state, _ = following(state, now)
        return state

    def reset_after(self, layer):
        weight, bias = self.value(layer, "recurrent_weight"), self.value(layer, "recurrent_bias")

        def following(state, given):
            given_r, given_z, given_n = jnp.split(given, 3, axis=1)
            told_r, told_z, told_n = jnp.split(jnp.matmul(state, weight) + bias, 3, axis=1)
            r, z = jax.nn.sigmoid(given_r + told_r), jax.nn.sigmoid(given_z + told_z)
            n = jnp.tanh(given_n + r * told_n)
            return (1 - z) * n + z * state, None
        return following

    def reset_before(self, layer):
        weight, units = self.value(layer, "recurrent_weight"), layer["units"]

        def following(state, given):
            gates = jax.nn.sigmoid(given[:, :2 * units] + jnp.matmul(state, weight[:, :2 * units]))
            r, z = jnp.split(gates, 2, axis=1)
            n = jnp.tanh(given[:, 2 * units:] + jnp.matmul(r * state, weight[:, 2 * units:]))
            return (1 - z) * n + z * state, None
        return following

    def residual(self, x, layer):
        return self.chain(layer["body"], x) + self.chain(layer["shortcut"], x)


ADAPTER = OnJax
