"""ONNX: the network as one and the same model, run forward by ONNX Runtime, by Caffe2 or by MXNet."""
from __future__ import absolute_import, division, print_function

import os
import shutil
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from adapter import Adapter, Unsupported
from weights import parameters_of, walk, without_dropout

# The newest that Caffe2 1.0 and MXNet 1.5 read; ONNX Runtime reads them too. In this version of the format initializers
# are inputs as well, and constant all the same: what is drawn from them may be folded.
FORMAT, OPERATORS = 3, 8


class OnnxRuntime(object):
    """ONNX Runtime, its input and output bound to memory of the device."""

    def __init__(self, device, threads):
        import onnxruntime
        self.library, self.device = onnxruntime, {"cpu": "cpu", "gpu": "cuda"}[device]
        self.provider = {"cpu": "CPUExecutionProvider", "gpu": "CUDAExecutionProvider"}[device]
        if self.provider not in onnxruntime.get_available_providers():
            raise Unsupported("this ONNX Runtime has no " + self.provider)
        if device == "gpu":
            onnxruntime.preload_dlls()  # CUDA and cuDNN lie in wheels of their own, where the loader does not look
        self.settings = onnxruntime.SessionOptions()
        self.settings.intra_op_num_threads = threads

    def prepare(self, model):
        self.session = self.library.InferenceSession(
            model.SerializeToString(), self.settings, providers=[self.provider])
        if self.session.get_providers()[0] != self.provider:
            raise Unsupported("ONNX Runtime cannot use its " + self.provider)
        self.binding = self.session.io_binding()
        self.binding.bind_output("outputs", self.device)

    def place(self, array):
        return self.library.OrtValue.ortvalue_from_numpy(array, self.device, 0)

    def load(self, placed):
        self.binding.bind_ortvalue_input("inputs", placed)

    def run(self):
        self.session.run_with_iobinding(self.binding)

    def outputs(self):
        return self.binding.copy_outputs_to_cpu()[0]

    def synchronize(self):
        self.binding.synchronize_outputs()

    def facts(self):
        return {"versions": {"onnxruntime": self.library.__version__}, "device": self.device, "provider": self.provider}


class Caffe2Backend(object):
    """Caffe2's own reading of a model, as a net that stays."""

    def __init__(self, device, threads):
        from caffe2.proto import caffe2_pb2
        from caffe2.python import core, workspace
        workspace.GlobalInit(["caffe2", "--caffe2_log_level=2", "--caffe2_omp_num_threads=%d" % threads,
                              "--caffe2_mkl_num_threads=%d" % threads])
        from caffe2.python.onnx import backend
        if device == "gpu" and not (workspace.has_gpu_support and workspace.NumCudaDevices()):
            raise Unsupported("Caffe2 sees no CUDA device")
        self.backend, self.device = backend, device
        self.ideep = core.DeviceOption(caffe2_pb2.IDEEP)
        self.name = workspace.GetDeviceProperties(0)["name"] if device == "gpu" else "cpu"

    def prepare(self, model):
        prepared = self.backend.prepare(model, device={"cpu": "CPU", "gpu": "CUDA:0"}[self.device])
        self.space, self.net = prepared.workspace, prepared.predict_net
        self.space.RunNetOnce(prepared.init_net)
        self.space.CreateBlob("inputs")
        if self.device == "gpu" or not self.created_with_ideep():
            self.space.CreateNet(self.net)

    def created_with_ideep(self):
        """Whether IDEEP (oneDNN) has every operator: the layers of a ResNet-50 run so in a third of the time.

        The backend itself knows no device but CPU and CUDA; Caffe2's users set this one on the net that it made.
        """
        net = type(self.net)()
        net.CopyFrom(self.net)
        for one in [net] + list(net.op):
            one.device_option.CopyFrom(self.ideep)
        held = dict((name, self.space.FetchBlob(name)) for name in self.space.Blobs() if name != "inputs")
        self.feed(held, self.ideep)
        try:
            self.space.CreateNet(net)
        except RuntimeError:  # "Cannot create operator of type ... on the device 'IDEEP'": so for tokens and recurrence
            self.feed(held, self.net.device_option)
            return False
        self.net = net
        return True

    def feed(self, arrays, device):
        for name, array in arrays.items():
            if array.dtype == np.float32:
                self.space.FeedBlob(name, array, device)

    def place(self, array):
        return array

    def load(self, placed):
        self.space.FeedBlob("inputs", placed, self.net.device_option)

    def run(self):
        self.space.RunNet(self.net.name)

    def outputs(self):
        return self.space.FetchBlob("outputs")

    def synchronize(self):
        """A net has run when RunNet returns."""

    def facts(self):
        from torch.version import __version__
        return {"versions": {"caffe2": __version__}, "device": self.name}


class MxnetBackend(object):
    """A model imported into MXNet as a symbol, bound once."""

    def __init__(self, device, threads):
        import mxnet
        from on_mxnet import context_of
        self.library, self.context = mxnet, context_of(device)

    def prepare(self, model):
        if any(node.op_type == "GRU" for node in model.graph.node):
            raise Unsupported("MXNet's import of ONNX models knows no recurrent operator")
        self.symbol, self.arguments, self.moving = self.imported(model)
        self.executor = None

    def imported(self, model):
        """The symbol, its arguments and its moving averages, by the way of a file: import_model reads nothing else."""
        from mxnet.contrib.onnx import import_model
        folder = tempfile.mkdtemp()
        try:
            path = os.path.join(folder, "model.onnx")
            onnx.save(model, path)
            symbol, arguments, moving = import_model(path)
        finally:
            shutil.rmtree(folder)
        return symbol, self.there(arguments), self.there(moving)

    def there(self, arrays):
        return dict((name, array.as_in_context(self.context)) for name, array in arrays.items())

    def place(self, array):
        return self.library.nd.array(array, ctx=self.context)

    def load(self, placed):
        """The first batch is bound; later ones are copied into it."""
        if self.executor:
            placed.copyto(self.executor.arg_dict["inputs"])
        else:
            arguments = dict(self.arguments, inputs=placed.copy())
            self.executor = self.symbol.bind(self.context, arguments, grad_req="null", aux_states=self.moving)

    def run(self):
        self.executor.forward(is_train=False)

    def outputs(self):
        return self.executor.outputs[0].asnumpy()

    def synchronize(self):
        self.library.nd.waitall()

    def facts(self):
        from on_mxnet import facts_of
        return facts_of(self.context)


BACKENDS = {"onnxruntime": OnnxRuntime, "caffe2": Caffe2Backend, "mxnet": MxnetBackend}


class OnOnnx(Adapter):
    """Layer methods add a node and hand on the name of its output; images are NCHW, as ONNX defines its operators.

    The variable ONNX_BACKEND, which each release sets, names the backend.
    """

    axes = {"io": (1, 0), "gru": (1, 0)}

    def __init__(self, request):
        super(OnOnnx, self).__init__(request)
        if self.mode != "inference":
            raise Unsupported("ONNX's backends run a model forward alone")
        if self.options.get("layout", "nchw") != "nchw":
            raise Unsupported("ONNX defines its operators on NCHW alone")
        self.backend = BACKENDS[os.environ["ONNX_BACKEND"]](self.device, self.threads)

    def facts(self):
        found = self.backend.facts()
        return dict(found, versions=dict(found["versions"], onnx=onnx.__version__), threads=self.threads)

    # The verbs of the core ------------------------------------------------------------------------

    def build(self, layers, weights):
        self.described = parameters_of(layers)
        self.gated = set(p["name"] for layer in walk(layers) if layer["kind"] == "gru" for p in layer["parameters"])
        self.nodes, self.constants = [], {}
        self.values = dict((p["name"], self.native(p, weights[p["name"]])) for p in self.described)
        last = self.chain(without_dropout(layers), "inputs")
        self.nodes.append(helper.make_node("Identity", [last], ["outputs"]))
        self.model, self.placed = self.made(layers[0], layers[-1]), None
        onnx.checker.check_model(self.model)
        self.backend.prepare(self.model)

    def made(self, first, last):
        kind = TensorProto.INT32 if first["kind"] == "embedding" else TensorProto.FLOAT
        inputs = [helper.make_tensor_value_info("inputs", kind, [self.batch_size] + first["in_shape"])]
        outputs = [helper.make_tensor_value_info("outputs", TensorProto.FLOAT, [self.batch_size] + last["out_shape"])]
        tensors = [numpy_helper.from_array(array, name) for name, array in sorted(self.constants.items())]
        inputs += [helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in tensors]
        model = helper.make_model(helper.make_graph(self.nodes, "network", inputs, outputs, tensors))
        model.ir_version, model.opset_import[0].version = FORMAT, OPERATORS
        return model

    def native(self, parameter, array):
        return self.gates_swapped(parameter, super(OnOnnx, self).native(parameter, array))

    def canonical(self, parameter, array):
        return super(OnOnnx, self).canonical(parameter, self.gates_swapped(parameter, array))

    def gates_swapped(self, parameter, array):
        """ONNX has the gates of a GRU in the order z, r, n: ours with the first two changed about."""
        if parameter["name"] not in self.gated:
            return array
        r, z, n = np.split(array, 3)
        return np.concatenate([z, r, n])

    def parameters(self):
        """Read back out of the model."""
        held = dict((t.name, numpy_helper.to_array(t)) for t in self.model.graph.initializer)
        for name in [name for name in held if name.endswith(".biases")]:
            layer = name[:-len(".biases")]
            held[layer + ".bias"], held[layer + ".recurrent_bias"] = np.split(held.pop(name)[0], 2)
        return dict((p["name"], self.canonical(p, held[p["name"]].reshape(self.values[p["name"]].shape)))
                    for p in self.described)

    def place(self, inputs, labels):
        return self.backend.place(inputs), labels

    def step(self, batch):
        if batch is not self.placed:
            self.backend.load(batch[0])
            self.placed = batch
        self.backend.run()
        return self.backend

    def outputs(self, handle):
        return handle.outputs()

    def predict(self, batch):
        return self.outputs(self.step(batch))

    def synchronize(self):
        self.backend.synchronize()

    # Nodes ------------------------------------------------------------------------------------------

    def node(self, operator, inputs, layer, end="", **attributes):
        """The name of the one output of a new node."""
        name = layer["name"] + end
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def constant(self, name, array):
        self.constants[name] = np.ascontiguousarray(array)
        return name

    def parts(self, layer, *parts):
        names = [layer["name"] + "." + part for part in parts]
        return [self.constant(name, self.values[name]) for name in names if name in self.values]

    def conv2d(self, x, layer):
        return self.node("Conv", [x] + self.parts(layer, "weight", "bias"), layer, **self.window(layer))

    def window(self, layer):
        return {"kernel_shape": [layer["kernel"]] * 2, "strides": [layer["stride"]] * 2,
                "pads": [layer.get("padding", 0)] * 4}

    def dense(self, x, layer):
        if layer["bias"]:
            return self.node("Gemm", [x] + self.parts(layer, "weight", "bias"), layer, transB=1)
        turned = self.node("Transpose", self.parts(layer, "weight"), layer, "_weight", perm=[1, 0])
        return self.node("MatMul", [x, turned], layer)

    def batch_norm(self, x, layer):
        """ONNX normalises over the first axis of a sample, so another is turned there and back."""
        axis, rank = layer["axis"] + 1, 1 + len(layer["in_shape"])
        if rank == 2:  # Caffe2 takes images alone
            image = self.node("Unsqueeze", [x], layer, "_image", axes=[2])
            return self.node("Squeeze", [self.normalised(image, layer)], layer, axes=[2])
        if axis == 1:
            return self.normalised(x, layer)
        turn = list(range(rank))
        turn[1], turn[axis] = axis, 1
        turned = self.node("Transpose", [x], layer, "_turned", perm=turn)
        return self.node("Transpose", [self.normalised(turned, layer)], layer, perm=turn)

    def normalised(self, x, layer):
        inputs = [x] + self.parts(layer, "gamma", "beta", "moving_mean", "moving_variance")
        return self.node("BatchNormalization", inputs, layer, "_normal", epsilon=layer["epsilon"])

    def relu(self, x, layer):
        return self.node("Relu", [x], layer)

    def leaky_relu(self, x, layer):
        return self.node("LeakyRelu", [x], layer, alpha=layer["slope"])

    def tanh(self, x, layer):
        return self.node("Tanh", [x], layer)

    def max_pool(self, x, layer):
        return self.node("MaxPool", [x], layer, **self.window(layer))

    def avg_pool(self, x, layer):
        return self.node("AveragePool", [x], layer, **self.window(layer))

    def global_avg_pool(self, x, layer):
        return self.flatten(self.node("GlobalAveragePool", [x], layer, "_image"), layer)

    def flatten(self, x, layer):
        return self.node("Flatten", [x], layer, axis=1)

    def embedding(self, x, layer):
        return self.node("Gather", self.parts(layer, "weight") + [x], layer, axis=0)

    def gru(self, x, layer):
        """ONNX wants an axis for directions in front of the weights, and both biases in one."""
        name, after = layer["name"], layer["reset_after"]
        weights = [self.constant(part, self.values[part][None])
                   for part in (name + ".weight", name + ".recurrent_weight")]
        given = self.values[name + ".bias"]
        told = self.values[name + ".recurrent_bias"] if after else np.zeros_like(given)
        biases = self.constant(name + ".biases", np.concatenate([given, told])[None])
        state = self.constant(name + "_first", np.zeros((1, self.batch_size, layer["units"]), dtype=np.float32))
        x = self.node("Transpose", [x], layer, "_times", perm=[1, 0, 2])
        self.nodes.append(helper.make_node(
            "GRU", [x] + weights + [biases, "", state], [name + "_all", name + "_last"], hidden_size=layer["units"],
            linear_before_reset=int(after)))
        shape = self.constant(name + "_shape", np.array([-1, layer["units"]], dtype=np.int64))
        return self.node("Reshape", [name + "_last", shape], layer)

    def residual(self, x, layer):
        return self.node("Add", [self.chain(layer["body"], x), self.chain(layer["shortcut"], x)], layer)


ADAPTER = OnOnnx
