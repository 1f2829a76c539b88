"""TensorFlow 2.4 to 2.21: variables and a gradient tape, as a tf.function, compiled by XLA, or eager."""
from __future__ import absolute_import, division, print_function

import numpy as np
import tensorflow as tf

from adapter import Unsupported
from tensorflow_layers import TensorflowLayers
from weights import parameters_of


class OnTensorflow2(TensorflowLayers):
    """`execution` is "function" unless asked for "eager" or "xla"; what is timed is one call of `self.run_step`."""

    def __init__(self, request):
        super(OnTensorflow2, self).__init__(request)
        self.execution = self.options.get("execution", "function")
        tf.config.threading.set_intra_op_parallelism_threads(self.threads)
        tf.config.threading.set_inter_op_parallelism_threads(self.threads)
        self.device_name = name_of_gpu() if self.device == "gpu" else "cpu"
        if self.device == "cpu":
            tf.config.set_visible_devices([], "GPU")
        self.handle = None

    def facts(self):
        threads = tf.config.threading.get_intra_op_parallelism_threads()
        return {"versions": {"tensorflow": tf.__version__}, "device": self.device_name, "threads": threads}

    def build(self, layers, weights):
        self.layers = layers
        self.described = parameters_of(layers)
        self.values = dict(
            (p["name"], tf.Variable(self.native(p, weights[p["name"]]), trainable=p["trainable"]))
            for p in self.described)
        self.learned = [self.values[p["name"]] for p in self.described if p["trainable"]]
        self.optimizer_ = self.make_optimizer()
        self.run_logits = self.prepared(lambda inputs: self.forward(inputs, training=True))
        self.run_predict = self.prepared(lambda inputs: self.forward(inputs, training=False))
        self.run_step = self.prepared(self.train)

    def prepared(self, work):
        """This function in the execution asked for."""
        if self.execution == "eager":
            return work
        if self.execution == "function":
            return tf.function(work)
        try:
            return tf.function(work, jit_compile=True)
        except TypeError:  # its name until 2.4
            return tf.function(work, experimental_compile=True)

    def make_optimizer(self):
        """The optimizers of TensorFlow itself: one fused kernel a variable in every release.

        Those of Keras lost these kernels in 2.11; what is measured here is TensorFlow, not the Keras of its day.
        """
        constants, kind = self.optimizer, self.optimizer["kind"]
        rate = constants["learning_rate"]
        if kind == "sgd":
            return tf.compat.v1.train.GradientDescentOptimizer(rate)
        if kind == "momentum":
            return tf.compat.v1.train.MomentumOptimizer(rate, constants["momentum"])
        if kind == "adam":  # its epsilon is added to the root before the bias correction ("epsilon hat")
            return tf.compat.v1.train.AdamOptimizer(
                rate, constants["beta1"], constants["beta2"], constants["epsilon"])
        if kind == "adadelta":
            return tf.compat.v1.train.AdadeltaOptimizer(rate, constants["rho"], constants["epsilon"])
        raise Unsupported("the tensorflow2 adapter has no optimizer %s" % kind)

    def place(self, inputs, labels):
        inputs = inputs.T.astype(np.int64) if inputs.dtype.kind == "i" else self.native_images(inputs)
        return tf.constant(inputs), tf.constant(labels.astype(np.int64))

    def forward(self, inputs, training, dropping=False):
        self.training, self.dropping, self.moving = training, dropping, []
        return self.chain(self.layers, inputs)

    def train(self, inputs, labels):
        with tf.GradientTape() as tape:
            outputs = self.forward(inputs, training=True, dropping=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=outputs))
            minimised = loss
            if self.l2:
                squares = [tf.nn.l2_loss(self.values[p["name"]]) for p in self.described if p["layout"] == "oihw"]
                minimised = loss + 2 * self.l2 * tf.add_n(squares)
        # The slices of an embedding are made dense: see make_step in on_tensorflow1.py.
        gradients = [tf.convert_to_tensor(g) for g in tape.gradient(minimised, self.learned)]
        self.optimizer_.apply_gradients(zip(gradients, self.learned))
        for moving, change in self.moving:
            moving.assign_sub(change)
        return loss

    def logits(self, batch):
        return self.attempt(self.run_logits, batch[0]).numpy()

    def predict(self, batch):
        return self.attempt(self.run_predict, batch[0]).numpy()

    def step(self, batch):
        if self.mode == "inference":
            self.handle = self.attempt(self.run_predict, batch[0])
        else:
            self.handle = self.attempt(self.run_step, *batch)
        return self.handle

    def attempt(self, run, *arguments):
        """What this function returns, or Unsupported where the CPU has no kernel for the layout.

        oneDNN brings some, and is on by itself only on some processors; eager NCHW lacks MaxPoolGrad even then.
        """
        try:
            return run(*arguments)
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
            if self.device == "cpu" and not self.channels_last:
                raise Unsupported("no NCHW on the CPU: " + error.message.splitlines()[0])
            raise

    def outputs(self, handle):
        return handle.numpy()

    def synchronize(self):
        """Read the last handle: the copy waits for all that was put on the device before it."""
        if self.handle is not None:
            self.handle.numpy()

    def parameters(self):
        return dict((p["name"], self.canonical(p, self.values[p["name"]].numpy())) for p in self.described)

    # Layers in which TensorFlow 2 differs from 1 ------------------------------------------------------

    def batch_norm(self, x, layer):
        self.fused_batch_norm = layer["axis"] == 0  # it normalises each channel and no other axis
        return super(OnTensorflow2, self).batch_norm(x, layer)

    def fused_kernel(self, *arguments, **named):
        return tf.compat.v1.nn.fused_batch_norm(*arguments, **named)

    def dropout(self, x, layer):
        return tf.nn.dropout(x, layer["rate"]) if self.dropping else x

    def gru(self, x, layer):
        if self.execution == "xla":  # which has no kernel for CudnnRNN
            return self.gru_unrolled(x, layer)
        return super(OnTensorflow2, self).gru(x, layer)

    def gru_of_cudnn(self, x, layer):
        state = tf.zeros([1, self.batch_size, layer["units"]])
        return tf.raw_ops.CudnnRNN(
            input=x, input_h=state, input_c=0.0, params=self.cudnn_buffer(layer), rnn_mode="gru",
            is_training=self.training).output_h[0]


def name_of_gpu():
    """What TensorFlow itself calls its first GPU."""
    for device in tf.config.list_physical_devices("GPU"):
        return tf.config.experimental.get_device_details(device).get("device_name", device.name)
    raise Unsupported("TensorFlow sees no GPU")


ADAPTER = OnTensorflow2
