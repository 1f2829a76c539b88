"""TensorFlow 1.0 to 1.15: one graph, one session, the batch kept in variables so that no step copies it."""
from __future__ import absolute_import, division, print_function

import numpy as np
import tensorflow as tf
from tensorflow.python.client import device_lib

from adapter import Unsupported
from tensorflow_layers import TensorflowLayers
from weights import parameters_of, walk


class OnTensorflow1(TensorflowLayers):
    """Layer methods add to the graph, once for each form of the network that is asked for."""

    def __init__(self, request):
        super(OnTensorflow1, self).__init__(request)
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
        self.run = self.prepared(self.wanted)

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
        updates = [tf.assign_sub(moving, change) for moving, change in self.moving]
        return [loss, tf.group(optimizer.apply_gradients(gradients), *updates)]

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

    def prepared(self, fetches):
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
        operations = [node.op for graph in told.partition_graphs for node in graph.node]
        self.clusters = operations.count("XlaLaunch") + operations.count("_XlaRun")
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

    # Layers in which TensorFlow 1 differs from 2 ------------------------------------------------------

    def fused_kernel(self, *arguments, **named):
        return tf.nn.fused_batch_norm(*arguments, **named)

    def dropout(self, x, layer):
        return tf.nn.dropout(x, 1 - layer["rate"]) if self.dropping else x

    def gru_of_cudnn(self, x, layer):
        from tensorflow.contrib.cudnn_rnn.python.ops import cudnn_rnn_ops  # all of contrib comes in: seconds
        cell = cudnn_rnn_ops.CudnnGRU(1, layer["units"], layer["in_shape"][1], input_mode="linear_input")
        state = tf.zeros([1, self.batch_size, layer["units"]])
        return cell(x, state, self.cudnn_buffer(layer), is_training=self.training)[1][0]


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
