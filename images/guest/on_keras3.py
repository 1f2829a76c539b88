"""Keras 3 on TensorFlow, JAX or PyTorch, as KERAS_BACKEND says: a functional model and train_on_batch."""
from __future__ import absolute_import, division, print_function

import os

import keras
import numpy as np
from keras import layers as kl

from adapter import Adapter, Unsupported
from same_padding import is_same
from weights import walk

# Keras makes of "auto", as `Trainer._resolve_auto_jit_compile` of 3.15 says: on JAX true; on TensorFlow true where it
# sees a GPU, false on a machine with CPUs alone; on PyTorch false. A model with cuDNN's GRU is not compiled on TensorFlow.
JIT = {"auto": "auto", "xla": True, "off": False}
UNSET = "zeros"  # what Keras draws is overwritten, and drawing costs JAX a compilation for each shape


class OnKeras3(Adapter):
    """Kernels are (height, width, in, out) on every backend and in both layouts; a GRU's gates stand z, r, n."""

    axes = {"oihw": (2, 3, 1, 0)}

    def __init__(self, request):
        super(OnKeras3, self).__init__(request)
        self.backend = BACKENDS[keras.backend.backend()](self.device, self.threads)
        asked = {"on": "nhwc", "off": "nchw"}.get(self.options.get("channels_last"), self.backend.layout)
        self.channels_last = self.options.get("layout", asked) == "nhwc"
        self.jit = JIT[self.options.get("jit", "auto")]
        self.model = None
        keras.config.set_image_data_format("channels_last" if self.channels_last else "channels_first")
        self.tokens = request["workload"]["data"]["kind"] == "tokens"

    def facts(self):
        versions = dict(self.backend.versions(), keras=keras.__version__)
        found = {"versions": versions, "device": self.backend.device_name, "threads": self.backend.threads(),
                 "backend": keras.backend.backend()}
        return dict(found, jit_compile=self.model.jit_compile) if self.model else found

    # The model --------------------------------------------------------------------------------------

    def build(self, layers, weights):
        keras.utils.clear_session()
        self.layers = layers
        self.made = {}
        self.weighty = [layer for layer in walk(layers) if layer["parameters"]]
        self.model = self.connected(dropping=True)
        for layer in self.weighty:
            arrays = [self.native(p, weights[p["name"]]) for p in layer["parameters"]]
            self.made[layer["name"]].set_weights(to_gru(arrays) if layer["kind"] == "gru" else arrays)
        self.without_dropout = None
        self.compile()

    def connected(self, dropping):
        """A model of the layers, which all models share."""
        self.dropping = dropping
        shape = self.layers[0]["in_shape"]
        if len(shape) == 3 and self.channels_last:
            shape = shape[1:] + shape[:1]
        inputs = keras.Input(shape, dtype="int32" if self.tokens else "float32")
        return keras.Model(inputs, self.chain(self.layers, inputs))

    def compile(self):
        """With a penalty on the weights the loss that Keras reports contains it: then a metric tells the loss alone."""
        if self.mode == "inference":
            return self.model.compile(jit_compile=self.jit)
        metrics = [keras.metrics.SparseCategoricalCrossentropy(from_logits=True)] if self.l2 else None
        return self.model.compile(
            self.make_optimizer(), keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=metrics,
            jit_compile=self.jit)

    def make_optimizer(self):
        constants, kind = self.optimizer, self.optimizer["kind"]
        rate = constants["learning_rate"]
        if kind == "sgd":
            return keras.optimizers.SGD(rate)
        if kind == "momentum":
            return keras.optimizers.SGD(rate, momentum=constants["momentum"])
        if kind == "adam":  # its epsilon is added to the root before the bias correction ("epsilon hat")
            return keras.optimizers.Adam(rate, constants["beta1"], constants["beta2"], constants["epsilon"])
        if kind == "adadelta":
            return keras.optimizers.Adadelta(rate, constants["rho"], constants["epsilon"])
        raise Unsupported("the keras3 adapter has no optimizer %s" % kind)

    def parameters(self):
        found = {}
        for layer in self.weighty:
            arrays = self.made[layer["name"]].get_weights()
            arrays = from_gru(arrays) if layer["kind"] == "gru" else arrays
            found.update((p["name"], self.canonical(p, array)) for p, array in zip(layer["parameters"], arrays))
        return found

    # The verbs --------------------------------------------------------------------------------------

    def place(self, inputs, labels):
        return self.backend.placed(self.native_images(inputs)), self.backend.placed(labels)

    def step(self, batch):
        if self.mode == "inference":
            return self.model.predict_on_batch(batch[0])
        return self.model.train_on_batch(*batch)

    def loss(self, handle):
        return float(np.ravel(handle)[-1])

    def logits(self, batch):
        """A call in training, without dropout; the averages that it moves are put back."""
        if self.without_dropout is None:
            self.without_dropout = self.connected(dropping=False)
        model = self.without_dropout
        kept = [variable.numpy() for variable in model.non_trainable_variables]
        try:
            outputs = keras.ops.convert_to_numpy(model(batch[0], training=True))
        except self.backend.refusals as error:
            if self.channels_last:
                raise
            raise Unsupported("no kernel for NCHW on this device: " + type(error).__name__)
        for variable, array in zip(model.non_trainable_variables, kept):
            variable.assign(array)
        return outputs

    def predict(self, batch):
        return self.model.predict_on_batch(batch[0])

    # Layers -----------------------------------------------------------------------------------------

    def made_of(self, layer, keras_layer, x):
        """x through this layer or, in a second model, through the one made for the first."""
        return self.made.setdefault(layer["name"], keras_layer)(x)

    def axis(self, layer, of_sample):
        """Where an axis of a canonical sample stands in a batch."""
        if len(layer["in_shape"]) == 3 and self.channels_last:
            return (3, 1, 2)[of_sample]
        return of_sample + 1

    def padded(self, x, layer, value):
        """x and the padding left to the layer: "same" where it is the same, else padded by hand."""
        if not layer["padding"]:
            return x, "valid"
        if is_same(layer):
            return x, "same"
        sides = [[0, 0], [layer["padding"]] * 2, [layer["padding"]] * 2]
        sides.insert(self.axis(layer, 0), [0, 0])
        return keras.ops.pad(x, sides, constant_values=value), "valid"

    def conv2d(self, x, layer):
        x, padding = self.padded(x, layer, 0.0)
        penalty = keras.regularizers.L2(self.l2) if self.l2 else None
        return self.made_of(layer, kl.Conv2D(
            layer["filters"], layer["kernel"], layer["stride"], padding, use_bias=layer["bias"],
            kernel_initializer=UNSET, kernel_regularizer=penalty), x)

    def dense(self, x, layer):
        return self.made_of(layer, kl.Dense(layer["units"], use_bias=layer["bias"], kernel_initializer=UNSET), x)

    def batch_norm(self, x, layer):
        return self.made_of(layer, kl.BatchNormalization(
            self.axis(layer, layer["axis"]), layer["momentum"], layer["epsilon"]), x)

    def relu(self, x, layer):
        return kl.ReLU()(x)

    def leaky_relu(self, x, layer):
        return kl.LeakyReLU(layer["slope"])(x)

    def tanh(self, x, layer):
        return kl.Activation("tanh")(x)

    def max_pool(self, x, layer):
        x, padding = self.padded(x, layer, -np.inf)
        return kl.MaxPooling2D(layer["kernel"], layer["stride"], padding)(x)

    def avg_pool(self, x, layer):
        return kl.AveragePooling2D(layer["kernel"], layer["stride"])(x)

    def global_avg_pool(self, x, layer):
        return kl.GlobalAveragePooling2D()(x)

    def flatten(self, x, layer):
        return kl.Reshape(layer["out_shape"])(x)  # Flatten would turn channels-first images around

    def dropout(self, x, layer):
        return kl.Dropout(layer["rate"])(x) if self.dropping else x

    def embedding(self, x, layer):
        return self.made_of(layer, kl.Embedding(layer["vocabulary"], layer["dimension"], UNSET), x)

    def gru(self, x, layer):
        return self.made_of(layer, kl.GRU(
            layer["units"], reset_after=layer["reset_after"], kernel_initializer=UNSET, recurrent_initializer=UNSET), x)

    def residual(self, x, layer):
        return kl.Add()([self.chain(layer["body"], x), self.chain(layer["shortcut"], x)])


class TensorflowBackend(object):
    """Its CPU kernels take channels last alone, but for those that oneDNN brings."""

    layout = "nhwc"

    def __init__(self, device, threads):
        import tensorflow
        self.tf = tensorflow
        self.refusals = tensorflow.errors.InvalidArgumentError, tensorflow.errors.UnimplementedError
        self.tf.config.threading.set_intra_op_parallelism_threads(threads)
        self.tf.config.threading.set_inter_op_parallelism_threads(threads)
        self.device_name = self.name_of_gpu() if device == "gpu" else "cpu"
        if device == "cpu":
            self.tf.config.set_visible_devices([], "GPU")

    def name_of_gpu(self):
        for device in self.tf.config.list_physical_devices("GPU"):
            return self.tf.config.experimental.get_device_details(device).get("device_name", device.name)
        raise Unsupported("TensorFlow sees no GPU")

    def versions(self):
        return {"tensorflow": self.tf.__version__}

    def threads(self):
        return self.tf.config.threading.get_intra_op_parallelism_threads()

    def placed(self, array):
        return self.tf.constant(array)


class JaxBackend(object):
    """XLA on the CPU starts as many threads as it may use processors, when the first array is made."""

    layout = "nhwc"
    refusals = ()

    def __init__(self, device, threads):
        import jax
        self.jax = jax
        if device == "cpu":
            # getattr, for Python 2, in whose dialect every file here is written, has no such names.
            getattr(os, "sched_setaffinity")(0, sorted(getattr(os, "sched_getaffinity")(0))[:threads])
            jax.config.update("jax_platforms", "cpu")
        first = jax.devices()[0]
        if device == "gpu" and first.platform != "gpu":
            raise Unsupported("JAX sees no GPU")
        self.device_name = first.device_kind

    def versions(self):
        import jaxlib
        return {"jax": self.jax.__version__, "jaxlib": jaxlib.__version__}

    def threads(self):
        return len(getattr(os, "sched_getaffinity")(0))

    def placed(self, array):
        return self.jax.device_put(array)


class TorchBackend(object):
    """Channels first by default: behind a channels-last layer Keras permutes around each of PyTorch's operations."""

    layout = "nchw"
    refusals = ()

    def __init__(self, device, threads):
        import torch
        self.torch = torch
        if device == "gpu" and not torch.cuda.is_available():
            raise Unsupported("torch sees no CUDA device")
        torch.set_num_threads(threads)
        torch.backends.cudnn.benchmark = True
        self.where = torch.device("cuda:0" if device == "gpu" else "cpu")
        self.device_name = torch.cuda.get_device_name(0) if device == "gpu" else "cpu"

    def versions(self):
        return {"torch": self.torch.__version__}

    def threads(self):
        return self.torch.get_num_threads()

    def placed(self, array):
        return self.torch.from_numpy(array).to(self.where)


BACKENDS = {"tensorflow": TensorflowBackend, "jax": JaxBackend, "torch": TorchBackend}


def to_gru(arrays):
    """Canonical arrays of a GRU (gates r, z, n) as Keras lists them: z, r, n, both biases as rows of one array."""
    arrays = [z_before_r(array) for array in arrays]
    return arrays if len(arrays) == 3 else arrays[:2] + [np.stack(arrays[2:])]


def from_gru(arrays):
    """What `to_gru` undoes."""
    arrays = arrays[:2] + list(np.reshape(arrays[2], (-1, arrays[2].shape[-1])))
    return [z_before_r(array) for array in arrays]


def z_before_r(array):
    """The first two of three gates in the other order."""
    first, second, third = np.split(array, 3, axis=-1)
    return np.concatenate([second, first, third], axis=-1)


ADAPTER = OnKeras3
