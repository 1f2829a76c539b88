"""PyTorch 1.0 to today: functional layers, torch.optim, channels_last and torch.compile as options."""
from __future__ import absolute_import, division, print_function

import torch
import torch.nn.functional as F

from adapter import Adapter, Unsupported
from weights import parameters_of, walk

GRU_PARTS = (("weight", "weight_ih_l0"), ("recurrent_weight", "weight_hh_l0"),
             ("bias", "bias_ih_l0"), ("recurrent_bias", "bias_hh_l0"))


class OnTorch(Adapter):
    """Images stay (batch, channels, height, width) in both layouts; channels_last is a memory format."""

    axes = {"io": (1, 0), "gru": (1, 0)}  # torch's gates too stand in the order r, z, n

    def __init__(self, request):
        super(OnTorch, self).__init__(request)
        if self.device == "gpu" and not torch.cuda.is_available():
            raise Unsupported("torch sees no CUDA device")
        if self.options.get("layout") == "nhwc" and not hasattr(torch, "channels_last"):
            raise Unsupported("torch %s has no memory format channels_last" % torch.__version__)
        if self.options.get("compile") == "on" and not hasattr(torch, "compile"):
            raise Unsupported("torch %s has no torch.compile" % torch.__version__)
        torch.set_num_threads(self.threads)
        torch.backends.cudnn.benchmark = self.options.get("autotune", "on") == "on"
        self.where = torch.device("cuda:0" if self.device == "gpu" else "cpu")
        self.memory_format = torch.channels_last if self.options.get("layout") == "nhwc" else None

    def facts(self):
        name = torch.cuda.get_device_name(0) if self.device == "gpu" else "cpu"
        return {"versions": {"torch": torch.__version__}, "device": name, "threads": torch.get_num_threads()}

    def build(self, layers, weights):
        self.layers = layers
        self.described = parameters_of(layers)
        self.values = {}
        for parameter in self.described:
            tensor = self.tensor(self.native(parameter, weights[parameter["name"]]))
            self.values[parameter["name"]] = tensor.requires_grad_(parameter["trainable"])
        self.recurrent = dict((layer["name"], self.make_gru(layer)) for layer in walk(layers) if layer["kind"] == "gru")
        self.optimizer_ = self.make_optimizer()
        self.training = True
        self.forward = self.compiled(lambda x: self.chain(self.layers, x))

    def compiled(self, forward):
        return torch.compile(forward) if self.options.get("compile") == "on" else forward

    def tensor(self, array):
        tensor = torch.from_numpy(array).to(self.where)
        if self.memory_format is not None and tensor.dim() == 4:
            tensor = tensor.contiguous(memory_format=self.memory_format)
        return tensor.clone() if tensor.data_ptr() == torch.from_numpy(array).data_ptr() else tensor

    def make_gru(self, layer):
        """A torch.nn.GRU around our arrays: on a GPU it lays them in one memory, which cuDNN else does at each step."""
        if not layer["reset_after"]:
            raise Unsupported("torch.nn.GRU applies the reset gate after the recurrent product, never before it")
        gru = torch.nn.GRU(layer["in_shape"][1], layer["units"], batch_first=True)
        for part, own in GRU_PARTS:
            setattr(gru, own, torch.nn.Parameter(self.value(layer, part).detach()))
            self.values[layer["name"] + "." + part] = getattr(gru, own)
        gru.flatten_parameters()
        return gru.train(self.mode == "training")

    def make_optimizer(self):
        constants, kind = self.optimizer, self.optimizer["kind"]
        learned = [self.values[p["name"]] for p in self.described if p["trainable"]]
        decayed = [self.values[p["name"]] for p in self.described if p["layout"] == "oihw"]
        plain = [self.values[p["name"]] for p in self.described if p["trainable"] and p["layout"] != "oihw"]
        groups = [{"params": decayed, "weight_decay": 2 * self.l2}, {"params": plain}] if self.l2 else learned
        rate = constants["learning_rate"]
        if kind == "sgd":
            return torch.optim.SGD(groups, lr=rate)
        if kind == "momentum":
            return torch.optim.SGD(groups, lr=rate, momentum=constants["momentum"])
        if kind == "adam":
            betas = (constants["beta1"], constants["beta2"])
            return torch.optim.Adam(groups, lr=rate, betas=betas, eps=constants["epsilon"])
        if kind == "adadelta":
            return torch.optim.Adadelta(groups, lr=rate, rho=constants["rho"], eps=constants["epsilon"])
        raise Unsupported("the torch adapter has no optimizer %s" % kind)

    def place(self, inputs, labels):
        placed = self.tensor(inputs)
        return placed.long() if inputs.dtype.kind == "i" else placed, self.tensor(labels).long()

    def logits(self, batch):
        kept = dict((p["name"], self.values[p["name"]].clone()) for p in self.described if not p["trainable"])
        with torch.no_grad():
            outputs = self.chain(self.layers, batch[0])
        for name, tensor in kept.items():
            self.values[name].copy_(tensor)
        return outputs.cpu().numpy()

    def predict(self, batch):
        self.training = False
        with torch.no_grad():
            outputs = self.chain(self.layers, batch[0])
        self.training = True
        return outputs.cpu().numpy()

    def step(self, batch):
        if self.mode == "inference":
            return self.infer(batch)
        loss = F.cross_entropy(self.forward(batch[0]), batch[1])
        self.optimizer_.zero_grad()
        loss.backward()
        self.optimizer_.step()
        return loss.detach()

    def infer(self, batch):
        self.training = False
        with torch.no_grad():
            return self.forward(batch[0])

    def outputs(self, handle):
        return handle.cpu().numpy()

    def synchronize(self):
        if self.device == "gpu":
            torch.cuda.synchronize()

    def parameters(self):
        return dict((p["name"], self.canonical(p, self.values[p["name"]].detach().cpu().numpy().copy()))
                    for p in self.described)

    # Layers -----------------------------------------------------------------------------------------

    def value(self, layer, part):
        return self.values.get(layer["name"] + "." + part)

    def conv2d(self, x, layer):
        return F.conv2d(x, self.value(layer, "weight"), self.value(layer, "bias"), layer["stride"], layer["padding"])

    def dense(self, x, layer):
        return F.linear(x, self.value(layer, "weight"), self.value(layer, "bias"))

    def batch_norm(self, x, layer):
        if layer["axis"] != 0:
            x = x.transpose(1, layer["axis"] + 1)
        moving = self.value(layer, "moving_mean"), self.value(layer, "moving_variance")
        x = F.batch_norm(x, moving[0], moving[1], self.value(layer, "gamma"), self.value(layer, "beta"),
                         training=self.training, momentum=1 - layer["momentum"], eps=layer["epsilon"])
        return x if layer["axis"] == 0 else x.transpose(1, layer["axis"] + 1)

    def relu(self, x, layer):
        return F.relu(x)

    def leaky_relu(self, x, layer):
        return F.leaky_relu(x, layer["slope"])

    def tanh(self, x, layer):
        return torch.tanh(x)

    def max_pool(self, x, layer):
        return F.max_pool2d(x, layer["kernel"], layer["stride"], layer["padding"])

    def avg_pool(self, x, layer):
        return F.avg_pool2d(x, layer["kernel"], layer["stride"])

    def global_avg_pool(self, x, layer):
        return x.mean(3).mean(2)

    def flatten(self, x, layer):
        return x.reshape(x.shape[0], -1)

    def dropout(self, x, layer):
        return F.dropout(x, layer["rate"], training=self.training)

    def embedding(self, x, layer):
        return F.embedding(x, self.value(layer, "weight"))

    def gru(self, x, layer):
        return self.recurrent[layer["name"]](x)[1][0]

    def residual(self, x, layer):
        return self.chain(layer["body"], x) + self.chain(layer["shortcut"], x)


ADAPTER = OnTorch
