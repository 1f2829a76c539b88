"""TensorFlow 1.0 to 1.15: one graph, one session, the batch kept in variables so that no step copies it."""
from __future__ import absolute_import, division, print_function

import numpy as np
import tensorflow as tf
from tensorflow.python.client import device_lib

from adapter import Adapter, Unsupported
from weights import parameters_of, walk


class OnTensorflow1(Adapter):
    """Layer methods add to the graph; `self.training` and `self.dropping` say which of its forms they add."""

    axes = {"oihw": (2, 3, 1, 0)}

    def __init__(self, request):
        super(OnTensorflow1, self).__init__(request)
        self.data_format = self.options.get("layout", "nhwc").upper()
        self.channels_last = self.data_format == "NHWC"
        self.xla = self.options.get("xla") == "on"
        self.fused_batch_norm = self.options.get("bn") == "fused"
        self.device_name = name_of_gpu() if self.device == "gpu" else "cpu"
        self.session = None
        self.clusters = 0  # what XLA compiled, as far as it was counted

    def facts(self):
        facts = {"versions": {"tensorflow": tf.__version__}, "device": self.device_name, "threads": self.threads}
        return dict(facts, xla_clusters=self.clusters) if self.xla else facts

    # The graph --------------------------------------------------------------------------------------

    def build(self, layers, weights):
        if self.session is not None:
            self.session.close()
        self.layers = layers
        self.described = parameters_of(layers)
        self.drops = any(layer["kind"] == "dropout" for layer in walk(layers))
        self.made = {}
        self.held = None
        self.graph = tf.Graph()
        with self.graph.as_default():
            starts = self.make_variables()
            self.make_batch()
            self.wanted = self.forward(training=False) if self.mode == "inference" else self.make_step()
            initializer = tf.global_variables_initializer()
        self.session = tf.Session(graph=self.graph, config=self.configuration())
        self.session.run(initializer, dict(
            (starts[p["name"]], self.native(p, weights[p["name"]])) for p in self.described))
        self.run = self.callable(self.wanted)

    def make_variables(self):
        """The parameters; placeholders for their starting values, which would burst a GraphDef as constants."""
        starts = {}
        self.values = {}
        for parameter in self.described:
            name = parameter["name"]
            shape = self.native(parameter, np.empty(parameter["shape"], np.float32)).shape
            starts[name] = tf.placeholder(tf.float32, shape)
            self.values[name] = tf.Variable(starts[name], trainable=parameter["trainable"], name=name)
        return starts

    def make_batch(self):
        """The batch as variables, as preloaded data is kept; int64, of which a GPU can hold variables."""
        shape = self.layers[0]["in_shape"]
        if len(shape) == 3:
            shape = shape[1:] + shape[:1] if self.channels_last else shape
            self.inputs = resident(tf.float32, [self.batch_size] + shape)
        else:
            self.inputs = resident(tf.int64, shape + [self.batch_size])  # sequences are kept time first
        self.labels = resident(tf.int64, [self.batch_size])

    def make_step(self):
        """The loss and the operation that updates everything the step updates."""
        self.moving = []
        outputs = self.forward(training=True, dropping=self.drops)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=self.labels, logits=outputs))
        minimised = loss
        if self.l2:
            squares = [tf.nn.l2_loss(self.values[p["name"]]) for p in self.described if p["layout"] == "oihw"]
            minimised = loss + 2 * self.l2 * tf.add_n(squares)
        optimizer = self.make_optimizer()
        # The gradient of an embedding comes as slices. Made dense, one fused kernel updates the table: the sparse
        # forms cost a third more time in Adam (1.8, CPU), and those of momentum and Adadelta are other optimizers.
        gradients = [(tf.convert_to_tensor(g), v) for g, v in optimizer.compute_gradients(minimised)]
        return [loss, tf.group(optimizer.apply_gradients(gradients), *self.moving)]

    def make_optimizer(self):
        constants, kind = self.optimizer, self.optimizer["kind"]
        rate = constants["learning_rate"]
        if kind == "sgd":
            return tf.train.GradientDescentOptimizer(rate)
        if kind == "momentum":
            return tf.train.MomentumOptimizer(rate, constants["momentum"])
        if kind == "adam":  # its epsilon is added to the root before the bias correction ("epsilon hat")
            return tf.train.AdamOptimizer(rate, constants["beta1"], constants["beta2"], constants["epsilon"])
        if kind == "adadelta":
            return tf.train.AdadeltaOptimizer(rate, constants["rho"], constants["epsilon"])
        raise Unsupported("the tensorflow1 adapter has no optimizer %s" % kind)

    def forward(self, training, dropping=False):
        """The outputs in this form of the network, added to the graph when first asked for."""
        form = training, dropping
        if form not in self.made:
            self.training, self.dropping = form
            with self.graph.as_default():
                self.made[form] = self.chain(self.layers, self.inputs)
        return self.made[form]

    def configuration(self):
        configuration = tf.ConfigProto(
            intra_op_parallelism_threads=self.threads, inter_op_parallelism_threads=self.threads,
            allow_soft_placement=True)
        if self.device == "cpu":
            configuration.device_count["GPU"] = 0
        if self.xla:
            configuration.graph_options.optimizer_options.global_jit_level = tf.OptimizerOptions.ON_1
        return configuration

    def callable(self, fetches):
        """A function that runs these fetches; TensorFlow 1.0 and 1.1 prepare them again at every run."""
        if hasattr(self.session, "make_callable"):
            return self.session.make_callable(fetches)
        return lambda: self.session.run(fetches)

    # The verbs --------------------------------------------------------------------------------------

    def place(self, inputs, labels):
        inputs = inputs.T if inputs.dtype.kind == "i" else self.native_images(inputs)
        batch = inputs, labels
        self.hold(batch)
        return batch

    def hold(self, batch):
        """Have this batch in the variables of the graph, which a rebuild leaves empty."""
        if batch is not self.held:
            for variable, array in zip((self.inputs, self.labels), batch):
                self.session.run(variable.initializer, {variable.initializer.inputs[1]: array})
            self.held = batch

    def logits(self, batch):
        self.hold(batch)
        return self.fetch(self.forward(training=True))

    def predict(self, batch):
        self.hold(batch)
        return self.fetch(self.forward(training=False))

    def step(self, batch):
        self.hold(batch)
        found = self.run_counting_clusters() if self.xla and not self.clusters else self.run()
        return found if self.mode == "inference" else found[0]

    def run_counting_clusters(self):
        """The first run under XLA, with the word of TensorFlow on what it compiled: nothing means no XLA."""
        told = tf.RunMetadata()
        found = self.session.run(
            self.wanted, options=tf.RunOptions(output_partition_graphs=True), run_metadata=told)
        self.clusters = sum(node.op in ("XlaLaunch", "_XlaRun") for graph in told.partition_graphs for node in graph.node)
        if not self.clusters:
            raise Unsupported("XLA compiled nothing: this build is without it, or, on a CPU, "
                              "TF_XLA_FLAGS lacks --tf_xla_cpu_global_jit")
        return found

    def parameters(self):
        arrays = self.session.run([self.values[p["name"]] for p in self.described])
        return dict((p["name"], self.canonical(p, array)) for p, array in zip(self.described, arrays))

    def fetch(self, tensor):
        """The value of this tensor, or Unsupported where the CPU has no kernel for the layout."""
        try:
            return self.session.run(tensor)
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
            if self.device == "cpu" and not self.channels_last:
                raise Unsupported("no NCHW on the CPU: " + error.message.splitlines()[0])
            raise

    # Layers -----------------------------------------------------------------------------------------

    def value(self, layer, part):
        return self.values[layer["name"] + "." + part]

    def window(self, size):
        return [1, size, size, 1] if self.channels_last else [1, 1, size, size]

    def axis(self, of_sample):
        """Where this axis of a sample (channels, height, width) stands in a tensor of images."""
        return (3, 1, 2)[of_sample] if self.channels_last else of_sample + 1

    def padded(self, x, layer, mode):
        """x and the padding that is left to the operation: SAME where it is the same, else padded by hand."""
        padding = layer["padding"]
        if not padding:
            return x, "VALID"
        if is_same(layer):
            return x, "SAME"
        sides = [[0, 0], [padding] * 2, [padding] * 2]
        sides.insert(self.axis(0), [0, 0])
        return tf.pad(x, sides, mode), "VALID"

    def conv2d(self, x, layer):
        x, padding = self.padded(x, layer, "CONSTANT")
        x = tf.nn.conv2d(x, self.value(layer, "weight"), self.window(layer["stride"]), padding,
                         data_format=self.data_format)
        return tf.nn.bias_add(x, self.value(layer, "bias"), self.data_format) if layer["bias"] else x

    def batch_norm(self, x, layer):
        axis = self.axis(layer["axis"]) if len(layer["in_shape"]) == 3 else layer["axis"] + 1
        if self.fused_batch_norm and len(layer["in_shape"]) == 3:
            return self.batch_norm_fused(x, layer)
        others = [a for a in range(len(layer["in_shape"]) + 1) if a != axis]
        if self.training:
            mean, variance = tf.nn.moments(x, others)
            self.keep_moving(layer, mean, variance)
        else:
            mean, variance = self.value(layer, "moving_mean"), self.value(layer, "moving_variance")
        shape = [-1 if a == axis else 1 for a in range(len(layer["in_shape"]) + 1)]
        mean, variance, beta, gamma = [
            v if axis == len(shape) - 1 else tf.reshape(v, shape)
            for v in (mean, variance, self.value(layer, "beta"), self.value(layer, "gamma"))]
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, layer["epsilon"])

    def batch_norm_fused(self, x, layer):
        if layer["axis"]:
            raise Unsupported("tf.nn.fused_batch_norm normalises each channel, no other axis")
        form = dict(is_training=True) if self.training else dict(
            is_training=False, mean=self.value(layer, "moving_mean"), variance=self.value(layer, "moving_variance"))
        x, mean, variance = tf.nn.fused_batch_norm(
            x, self.value(layer, "gamma"), self.value(layer, "beta"), epsilon=layer["epsilon"],
            data_format=self.data_format, **form)
        if self.training:  # here the variance comes with n / (n - 1), as the framework keeps it
            self.keep_moving(layer, mean, variance)
        return x

    def keep_moving(self, layer, mean, variance):
        for part, found in (("moving_mean", mean), ("moving_variance", variance)):
            moving = self.value(layer, part)
            self.moving.append(tf.assign_sub(moving, (moving - found) * (1 - layer["momentum"])))

    def relu(self, x, layer):
        return tf.nn.relu(x)

    def leaky_relu(self, x, layer):
        if hasattr(tf.nn, "leaky_relu"):  # since 1.4
            return tf.nn.leaky_relu(x, layer["slope"])
        return tf.maximum(x, layer["slope"] * x)

    def tanh(self, x, layer):
        return tf.tanh(x)

    def max_pool(self, x, layer):
        if 2 * layer["padding"] > layer["kernel"]:
            raise Unsupported("a padding of more than half the window")
        # Padding by mirror images repeats, up to half a window, elements of the same window: the maximum stays.
        # tf.pad knows no other value than zero before 1.1.
        x, padding = self.padded(x, layer, "SYMMETRIC")
        return tf.nn.max_pool(x, self.window(layer["kernel"]), self.window(layer["stride"]), padding,
                              data_format=self.data_format)

    def avg_pool(self, x, layer):
        return tf.nn.avg_pool(x, self.window(layer["kernel"]), self.window(layer["stride"]), "VALID",
                              data_format=self.data_format)

    def global_avg_pool(self, x, layer):
        return tf.reduce_mean(x, [self.axis(1), self.axis(2)])

    def flatten(self, x, layer):
        return tf.reshape(x, [self.batch_size] + layer["out_shape"])

    def dense(self, x, layer):
        x = tf.matmul(x, self.value(layer, "weight"))
        return tf.nn.bias_add(x, self.value(layer, "bias")) if layer["bias"] else x

    def dropout(self, x, layer):
        return tf.nn.dropout(x, 1 - layer["rate"]) if self.dropping else x

    def residual(self, x, layer):
        return self.chain(layer["body"], x) + self.chain(layer["shortcut"], x)

    # Sequences, which are kept (time, batch, features) ------------------------------------------------

    def embedding(self, x, layer):
        return tf.gather(self.value(layer, "weight"), x)

    def gru(self, x, layer):
        if layer["reset_after"] and self.device == "gpu":
            return self.gru_of_cudnn(x, layer)
        return self.gru_unrolled(x, layer)

    def gru_of_cudnn(self, x, layer):
        """cuDNN's buffer is its six matrices (out, in) and then its six biases, in our order of the gates."""
        from tensorflow.contrib.cudnn_rnn.python.ops import cudnn_rnn_ops  # all of contrib comes in: seconds
        units = layer["units"]
        cell = cudnn_rnn_ops.CudnnGRU(1, units, layer["in_shape"][1], input_mode="linear_input")
        matrices = [tf.transpose(self.value(layer, part)) for part in ("weight", "recurrent_weight")]
        biases = [self.value(layer, part) for part in ("bias", "recurrent_bias")]
        buffer_ = tf.concat([tf.reshape(part, [-1]) for part in matrices + biases], 0)
        state = tf.zeros([1, self.batch_size, units])
        return cell(x, state, buffer_, is_training=self.training)[1][0]

    def gru_unrolled(self, x, layer):
        """Every step written out, and the products with the inputs taken for all of them at once.

        On CPU this takes 0.20 s of work where tf.nn.dynamic_rnn takes 0.28, and, resetting before, 0.17 s where
        GRUBlockCell takes 0.26 (1.8, 150 steps of 100 units, batch 64).
        """
        units, (time, features) = layer["units"], layer["in_shape"]
        bias = self.value(layer, "bias")
        if layer["reset_after"]:
            inner_bias = tf.split(self.value(layer, "recurrent_bias"), [2 * units, units], 0)
            bias = bias + tf.concat([inner_bias[0], tf.zeros([units])], 0)
        given = tf.nn.bias_add(tf.matmul(tf.reshape(x, [-1, features]), self.value(layer, "weight")), bias)
        given = [tf.unstack(tf.reshape(part, [time, self.batch_size, -1]))
                 for part in tf.split(given, [2 * units, units], 1)]
        inner = tf.split(self.value(layer, "recurrent_weight"), [2 * units, units], 1)
        state = tf.zeros([self.batch_size, units])
        for given_gates, given_new in zip(*given):
            r, z = tf.split(tf.sigmoid(given_gates + tf.matmul(state, inner[0])), 2, 1)
            if layer["reset_after"]:
                n = tf.tanh(given_new + r * tf.nn.bias_add(tf.matmul(state, inner[1]), inner_bias[1]))
            else:
                n = tf.tanh(given_new + tf.matmul(r * state, inner[1]))
            state = n + z * (state - n)
        return state


def is_same(layer):
    """Does TensorFlow's SAME put these zeros in front and reach this size? What follows them is then enough."""
    for size, out in zip(layer["in_shape"][1:], layer["out_shape"][1:]):
        total = max((out - 1) * layer["stride"] + layer["kernel"] - size, 0)
        if out != -(-size // layer["stride"]) or total // 2 != layer["padding"]:
            return False
    return True


def name_of_gpu():
    """What TensorFlow itself calls its first GPU."""
    for device in device_lib.list_local_devices():
        if device.device_type == "GPU":
            words = dict(word.strip().split(": ", 1) for word in device.physical_device_desc.split(",") if ": " in word)
            return words.get("name", device.physical_device_desc)
    raise Unsupported("TensorFlow sees no GPU")


def resident(dtype, shape):
    """A variable that holds a part of the batch: neither trained nor started with the others."""
    return tf.Variable(tf.placeholder(dtype, shape), trainable=False, collections=[])


ADAPTER = OnTensorflow1
