"""Caffe2 as PyTorch 1.0 carries it: one net for the step, with gradients and updates as operators of it."""
from __future__ import absolute_import, division, print_function

import numpy as np
from caffe2.proto import caffe2_pb2
from caffe2.python import core, gru_cell, model_helper, workspace

from adapter import Adapter, Unsupported
from weights import parameters_of, walk, without_dropout

CPU = core.DeviceOption(caffe2_pb2.CPU)
GATES = ("reset_gate_t", "update_gate_t", "output_gate_t")  # r, z, n in the words of gru_cell


class OnCaffe2(Adapter):
    """Layer methods add operators to `self.model` and hand on the name of a blob; sequences go time first."""

    def __init__(self, request):
        super(OnCaffe2, self).__init__(request)
        self.channels_last = self.options.get("layout", "nchw") == "nhwc"
        self.axes = {"io": (1, 0), "gru": (1, 0)}
        if self.channels_last:
            self.axes["oihw"] = (0, 2, 3, 1)
        self.order = "NHWC" if self.channels_last else "NCHW"
        workspace.GlobalInit(["caffe2", "--caffe2_log_level=2", "--caffe2_omp_num_threads=%d" % self.threads,
                              "--caffe2_mkl_num_threads=%d" % self.threads])
        self.tokens = request["network"][0]["kind"] == "embedding"
        self.where = self.fastest_on_cpu() if self.device == "cpu" else self.gpu()
        self.ideep = self.where.device_type == caffe2_pb2.IDEEP

    def fastest_on_cpu(self):
        """IDEEP (oneDNN) trains a VGG in a third of the time, but has neither NHWC nor integers nor AdaDelta."""
        wanted = self.options.get("ideep", "on") == "on"
        able = not self.channels_last and not self.tokens and self.optimizer["kind"] != "adadelta"
        return core.DeviceOption(caffe2_pb2.IDEEP) if wanted and able else CPU

    def gpu(self):
        if not workspace.has_gpu_support or not workspace.NumCudaDevices():
            raise Unsupported("Caffe2 sees no CUDA device")
        return core.DeviceOption(caffe2_pb2.CUDA, 0)

    def facts(self):
        name = workspace.GetDeviceProperties(0)["name"] if self.device == "gpu" else "cpu"
        operators = {caffe2_pb2.CPU: "CPU", caffe2_pb2.CUDA: "CUDA", caffe2_pb2.IDEEP: "IDEEP"}[self.where.device_type]
        return {"versions": {"caffe2": self.torch_version()}, "device": name, "operators": operators,
                "threads": self.threads}

    def torch_version(self):
        """Caffe2 has no version of its own: it is named after the wheel that carries it."""
        from torch.version import __version__
        return __version__

    # The verbs of the core ------------------------------------------------------------------------

    def build(self, layers, weights):
        workspace.ResetWorkspace()
        self.layers, self.placed, self.tests = layers, None, {}
        self.described = parameters_of(layers)
        self.gated = set(p["name"] for layer in walk(layers) if layer["kind"] == "gru" for p in layer["parameters"])
        for parameter in self.described:
            array = self.native(parameter, weights[parameter["name"]])
            for blob, part in zip(self.blobs_of(parameter), self.parts_of(parameter, array)):
                self.feed(blob, part)
        self.load((self.first_inputs(), np.zeros(self.batch_size, dtype=np.int32)))
        if self.mode == "training":
            self.net = self.training_net()
        else:
            self.net, self.output = self.testing_net("infer", layers, training=False)

    def first_inputs(self):
        """Zeros where a batch will lie: a net is made for blobs that are there."""
        kind = np.int32 if self.tokens else np.float32
        return self.native_images(np.zeros([self.batch_size] + self.layers[0]["in_shape"], dtype=kind))

    def feed(self, blob, array):
        """Where the nets run; but the count of steps stays with the CPU, and so do labels and scalars beside IDEEP."""
        here = array.dtype == np.int64 or self.ideep and (array.dtype.kind == "i" or array.size == 1)
        workspace.FeedBlob(blob, np.ascontiguousarray(array), CPU if here else self.where)

    def blobs_of(self, parameter):
        """The blobs that hold a parameter: one, but three for what the gates of a GRU keep apart."""
        name = parameter["name"]
        if name not in self.gated:
            return [name]
        layer, part = name.split(".")
        if not part.startswith("recurrent"):
            return ["%s/i2h_%s" % (layer, part[0])]
        return ["%s/%s_%s" % (layer, gate, part[len("recurrent_")]) for gate in GATES]

    def parts_of(self, parameter, array):
        return np.split(array, len(self.blobs_of(parameter)))

    def testing_net(self, name, layers, training):
        """A net without gradients, and the blob of its outputs."""
        net, outputs = self.forward(name, layers, training)
        workspace.CreateNet(net)
        return net, outputs

    def forward(self, name, layers, training):
        self.model = model_helper.ModelHelper(name, init_params=False)
        self.training = training
        with core.DeviceScope(self.where):
            return self.model.net, self.chain(layers, "inputs")

    def training_net(self):
        net, outputs = self.forward("train", self.layers, training=True)
        with core.DeviceScope(self.where):
            self.add_loss(net, outputs)
            gradients = self.model.AddGradientOperators(["loss"])
            self.add_updates(net, gradients)
        workspace.CreateNet(net)
        return net

    def add_loss(self, net, outputs):
        """In one operator, or in the three of them that IDEEP has."""
        if not self.ideep:
            net.SoftmaxWithLoss([outputs, "labels"], ["shares", "loss"])
        else:
            shares = net.Softmax(outputs, "shares")
            net.AveragedLoss(net.LabelCrossEntropy([shares, "labels"], "losses"), "loss")

    def place(self, inputs, labels):
        return self.native_images(inputs), labels

    def load(self, batch):
        """Feed a batch into the blobs that the nets read, unless it lies there already."""
        if batch is not self.placed:
            self.feed("inputs", batch[0])
            self.feed("labels", batch[1])
            self.placed = batch

    def logits(self, batch):
        moving = [p["name"] for p in self.described if not p["trainable"]]
        kept = [workspace.FetchBlob(name) for name in moving]
        outputs = self.tested("logits", batch, training=True)
        for name, array in zip(moving, kept):
            self.feed(name, array)
        return outputs

    def predict(self, batch):
        return self.tested("predict", batch, training=False)

    def tested(self, name, batch, training):
        self.load(batch)
        if name not in self.tests:
            self.tests[name] = self.testing_net(name, without_dropout(self.layers), training)
        net, outputs = self.tests[name]
        workspace.RunNet(net)
        return workspace.FetchBlob(outputs)

    def step(self, batch):
        self.load(batch)
        workspace.RunNet(self.net)
        return "loss" if self.mode == "training" else self.output

    def loss(self, handle):
        return float(workspace.FetchBlob(handle))

    def outputs(self, handle):
        return workspace.FetchBlob(handle)

    def parameters(self):
        held = dict((p["name"], np.concatenate([workspace.FetchBlob(blob) for blob in self.blobs_of(p)]))
                    for p in self.described)
        return dict((p["name"], self.canonical(p, held[p["name"]])) for p in self.described)

    # Updates ----------------------------------------------------------------------------------------

    def add_updates(self, net, gradients):
        """One update operator for each blob that is learned."""
        if not hasattr(self, self.optimizer["kind"]):
            raise Unsupported("the Caffe2 adapter has no optimizer %s" % self.optimizer["kind"])
        rate = self.optimizer["learning_rate"]
        for name, value in (("one", 1.0), ("rate", rate), ("minus_rate", -rate), ("decay", 2 * self.l2)):
            self.feed(name, np.array([value], dtype=np.float32))
        self.feed("steps", np.array([0]))
        for parameter in self.described:
            if parameter["trainable"]:
                for blob in self.blobs_of(parameter):
                    self.add_update(net, parameter, blob, self.dense_gradient(net, blob, gradients[blob]))
        with core.DeviceScope(CPU):
            net.Iter("steps", "steps")  # behind the updates, since Adam adds one to what it reads

    def add_update(self, net, parameter, blob, gradient):
        if self.l2 and parameter["layout"] == "oihw":
            net.WeightedSum([gradient, "one", blob, "decay"], gradient)
        getattr(self, self.optimizer["kind"])(net, blob, gradient)

    def dense_gradient(self, net, blob, gradient):
        """An embedding's gradient for the whole table: sparse updates leave rows alone that the dense rules move."""
        if not isinstance(gradient, core.GradientSlice):
            return gradient
        return net.SparseToDense([gradient.indices, gradient.values, blob], blob + "_gradient")

    def slot(self, blob, kind):
        name = "%s_%s" % (blob, kind)
        self.feed(name, np.zeros_like(workspace.FetchBlob(blob)))
        return name

    def sgd(self, net, blob, gradient):
        net.WeightedSum([blob, "one", gradient, "minus_rate"], blob)

    def momentum(self, net, blob, gradient):
        velocity = self.slot(blob, "velocity")
        net.MomentumSGDUpdate([gradient, velocity, "rate", blob], [gradient, velocity, blob],
                              momentum=self.optimizer["momentum"], nesterov=0)

    def adam(self, net, blob, gradient):
        """Epsilon is added to the root before the bias correction ("epsilon hat"); the operator has no other way."""
        mean, square = self.slot(blob, "mean"), self.slot(blob, "square")
        net.Adam([blob, mean, square, gradient, "minus_rate", "steps"], [blob, mean, square],
                 beta1=self.optimizer["beta1"], beta2=self.optimizer["beta2"], epsilon=self.optimizer["epsilon"])

    def adadelta(self, net, blob, gradient):
        square, change = self.slot(blob, "square"), self.slot(blob, "change")
        net.Adadelta([blob, square, change, gradient, "minus_rate"], [blob, square, change],
                     decay=self.optimizer["rho"], epsilon=self.optimizer["epsilon"])

    # Layers -----------------------------------------------------------------------------------------

    def blobs(self, layer, *parts):
        return [layer["name"] + "." + part for part in parts]

    def made(self, layer, end=""):
        """The name of what a layer makes in this net."""
        return "%s/%s%s" % (self.model.net.Name(), layer["name"], end)

    def conv2d(self, x, layer):
        how = {"engine": "CUDNN", "ws_nbytes_limit": 512 * 1024 ** 2} if self.device == "gpu" else {}
        if self.device == "gpu" and self.options.get("autotune", "on") == "on":
            how["cudnn_exhaustive_search"] = 1
        return self.model.net.Conv(
            [x] + self.blobs(layer, "weight", "bias")[:1 + layer["bias"]], self.made(layer), kernel=layer["kernel"],
            stride=layer["stride"], pad=layer["padding"], order=self.order, no_gradient_to_input=int(x == "inputs"),
            training_mode=int(self.training), **how)

    def dense(self, x, layer):
        """FC always adds a bias, and IDEEP has no MatMul: a layer without one adds zeros that no update touches."""
        bias = layer["name"] + (".bias" if layer["bias"] else "/no_bias")
        if not layer["bias"]:
            self.feed(bias, np.zeros(layer["units"], dtype=np.float32))
        return self.model.net.FC([x] + self.blobs(layer, "weight") + [bias], self.made(layer))

    def batch_norm(self, x, layer):
        if layer["axis"] != 0:
            raise Unsupported("Caffe2's SpatialBN normalises over the channel alone")
        if len(layer["in_shape"]) > 1 or self.ideep:
            return self.normalised(x, layer, self.made(layer))
        place = [1 if self.channels_last else 2]  # other than IDEEP, the CPU wants images
        image = self.model.net.ExpandDims(x, self.made(layer, "_image"), dims=place)
        image = self.normalised(image, layer, self.made(layer, "_normal_image"))
        return self.model.net.Squeeze(image, self.made(layer), dims=place)

    def normalised(self, x, layer, out):
        moving = self.blobs(layer, "moving_mean", "moving_variance")
        into = [out]
        if self.training:
            into += moving + [self.made(layer, end) for end in ("_mean", "_deviation")]
        out = self.model.net.SpatialBN(
            [x] + self.blobs(layer, "gamma", "beta") + moving, into, is_test=int(not self.training), order=self.order,
            epsilon=layer["epsilon"], momentum=layer["momentum"])
        return out[0] if self.training else out

    def relu(self, x, layer):
        return self.model.net.Relu(x, self.made(layer))

    def leaky_relu(self, x, layer):
        return self.model.net.LeakyRelu(x, self.made(layer), alpha=layer["slope"])

    def tanh(self, x, layer):
        return self.model.net.Tanh(x, self.made(layer))

    def max_pool(self, x, layer):
        return self.model.net.MaxPool(x, self.made(layer), kernel=layer["kernel"], stride=layer["stride"],
                                      pad=layer["padding"], order=self.order)

    def avg_pool(self, x, layer):
        return self.model.net.AveragePool(x, self.made(layer), kernel=layer["kernel"], stride=layer["stride"],
                                          order=self.order)

    def global_avg_pool(self, x, layer):
        """By the size of the images, since IDEEP takes no `global_pooling`."""
        _, height, width = layer["in_shape"]
        pooled = self.model.net.AveragePool(
            x, self.made(layer, "_image"), kernel_h=height, kernel_w=width, order=self.order)
        return self.model.net.Flatten(pooled, self.made(layer))

    def flatten(self, x, layer):
        if len(layer["in_shape"]) == 2:
            x = self.model.net.Transpose(x, self.made(layer, "_times"), axes=[1, 0, 2])
        return self.model.net.Flatten(x, self.made(layer))

    def dropout(self, x, layer):
        if not self.training:
            return x
        into = [self.made(layer), self.made(layer, "_mask")]
        return self.model.net.Dropout(x, into, ratio=layer["rate"], is_test=0)[0]

    def embedding(self, x, layer):
        """Ids in one row, time first: so the gradient's indices fit SparseToDense, and the GRU needs no transpose."""
        net = self.model.net
        ids = net.FlattenToVec(net.Transpose(x, self.made(layer, "_times")), self.made(layer, "_ids"))
        rows = net.Gather(self.blobs(layer, "weight") + [ids], self.made(layer, "_rows"))
        shape = [layer["in_shape"][0], self.batch_size, layer["dimension"]]
        return net.Reshape(rows, [self.made(layer), self.made(layer, "_shape")], shape=shape)[0]

    def gru(self, x, layer):
        """The recurrent biases of a cell that has but one bias stay zero, since no update operator is made for them."""
        units, name = layer["units"], layer["name"]
        self.feed(name + "/first_state", np.zeros((1, self.batch_size, units), dtype=np.float32))
        if not layer["reset_after"]:
            for gate in GATES:
                self.feed("%s/%s_b" % (name, gate), np.zeros(units, dtype=np.float32))
        _, last = gru_cell.GRU(
            self.model, x, None, [name + "/first_state"], layer["in_shape"][1], units, scope=name,
            outputs_with_grads=(1,), linear_before_reset=layer["reset_after"], forward_only=not self.training)
        return self.model.net.Reshape(last, [self.made(layer), self.made(layer, "_shape")], shape=[-1, units])[0]

    def residual(self, x, layer):
        return self.model.net.Sum([self.chain(layer["body"], x), self.chain(layer["shortcut"], x)], self.made(layer))


ADAPTER = OnCaffe2
