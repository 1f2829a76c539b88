"""The layer vocabulary, as data, and its lowering to shapes, parameters and FLOP."""

import math
from collections.abc import Iterator
from typing import Any

import msgspec

Shape = tuple[int, ...]
"""The shape of one sample: (channels, height, width), (time, features), (time,) or (features,)."""

BIAS_BOUND = 0.05  # biases start away from zero, so that a forgotten one shows in the first logits


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """A named array of a layer in its canonical layout, drawn from U[low, high) or constant where they are equal."""

    name: str
    shape: Shape
    layout: str  # oihw | io | table | gru | vector
    low: float
    high: float
    trainable: bool = True
    rows: Shape | None = None  # (channels, height, width) behind the rows of a dense weight that follows a flatten


class Layer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What all layers have: an output shape, parameters and the cost of one forward pass."""

    def out_shape(self, in_shape: Shape) -> Shape:
        return in_shape

    def parameters(self, in_shape: Shape) -> tuple[Parameter, ...]:
        """The parameters, named within the layer and in the order in which they are drawn."""
        return ()

    def flop(self, in_shape: Shape) -> int:
        """Floating point operations for one sample forward: 2 x multiply-adds of conv2d, dense and gru, else 0."""
        return 0


def he_uniform(name: str, shape: Shape, layout: str, fan_in: int, gain: float) -> Parameter:
    """A weight from U(-b, b) with b = sqrt(3 gain / fan_in); gain 2 is He et al., arXiv 1502.01852."""
    bound = math.sqrt(3 * gain / fan_in)
    return Parameter(name=name, shape=shape, layout=layout, low=-bound, high=bound)


def vector(name: str, size: int, low: float, high: float, *, trainable: bool = True) -> Parameter:
    return Parameter(name=name, shape=(size,), layout="vector", low=low, high=high, trainable=trainable)


def pooled(in_shape: Shape, kernel: int, stride: int, padding: int) -> tuple[int, int]:
    """The (height, width) left of (channels, height, width) by a window that must fit whole."""
    _, height, width = in_shape
    return (height + 2 * padding - kernel) // stride + 1, (width + 2 * padding - kernel) // stride + 1


class Conv2d(Layer, frozen=True, kw_only=True, tag="conv2d"):
    """A cross-correlation (the kernel is not flipped), zeros added as a number on every side."""

    filters: int
    kernel: int
    stride: int = 1
    padding: int = 0
    bias: bool = True
    gain: float = 2.0

    def out_shape(self, in_shape: Shape) -> Shape:
        return (self.filters, *pooled(in_shape, self.kernel, self.stride, self.padding))

    def parameters(self, in_shape: Shape) -> tuple[Parameter, ...]:
        shape = (self.filters, in_shape[0], self.kernel, self.kernel)
        weight = he_uniform("weight", shape, "oihw", math.prod(shape[1:]), self.gain)
        return (weight, vector("bias", self.filters, -BIAS_BOUND, BIAS_BOUND)) if self.bias else (weight,)

    def flop(self, in_shape: Shape) -> int:
        return 2 * math.prod(self.out_shape(in_shape)) * in_shape[0] * self.kernel**2


class BatchNorm(Layer, frozen=True, kw_only=True, tag="batch_norm"):
    """Normalisation over the batch and all axes but one, with gamma, beta and moving averages.

    moving = momentum * moving + (1 - momentum) * batch. `axis` counts within a sample: 0 is the channel;
    2 is the width, which Keras normalises over when `axis=-1` meets channels-first data. The moving averages start in
    U[low, high) of `mean` and `variance`: training starts everywhere from 0 and 1, but with these inference would hardly
    tell a network from one without normalisation.
    """

    epsilon: float = 1e-3
    momentum: float = 0.99
    axis: int = 0
    mean: tuple[float, float] = (0.0, 0.0)
    variance: tuple[float, float] = (1.0, 1.0)

    def parameters(self, in_shape: Shape) -> tuple[Parameter, ...]:
        size = in_shape[self.axis]
        return (
            vector("gamma", size, 0.8, 1.2),
            vector("beta", size, -0.1, 0.1),
            vector("moving_mean", size, *self.mean, trainable=False),
            vector("moving_variance", size, *self.variance, trainable=False),
        )


class Relu(Layer, frozen=True, kw_only=True, tag="relu"):
    """max(x, 0)."""


class LeakyRelu(Layer, frozen=True, kw_only=True, tag="leaky_relu"):
    """x where positive, slope * x elsewhere."""

    slope: float


class Tanh(Layer, frozen=True, kw_only=True, tag="tanh"):
    """The hyperbolic tangent."""


class MaxPool(Layer, frozen=True, kw_only=True, tag="max_pool"):
    """The maximum over windows; padding counts as minus infinity."""

    kernel: int
    stride: int
    padding: int = 0

    def out_shape(self, in_shape: Shape) -> Shape:
        return (in_shape[0], *pooled(in_shape, self.kernel, self.stride, self.padding))


class AvgPool(Layer, frozen=True, kw_only=True, tag="avg_pool"):
    """The mean over windows without padding."""

    kernel: int
    stride: int

    def out_shape(self, in_shape: Shape) -> Shape:
        return (in_shape[0], *pooled(in_shape, self.kernel, self.stride, 0))


class GlobalAvgPool(Layer, frozen=True, kw_only=True, tag="global_avg_pool"):
    """The mean over height and width: (channels, height, width) to (channels,)."""

    def out_shape(self, in_shape: Shape) -> Shape:
        return in_shape[:1]


class Flatten(Layer, frozen=True, kw_only=True, tag="flatten"):
    """All axes of a sample in one, in channels-first order whatever the layout of the cell."""

    def out_shape(self, in_shape: Shape) -> Shape:
        return (math.prod(in_shape),)


class Dense(Layer, frozen=True, kw_only=True, tag="dense"):
    """x W + b with W of shape (in, out)."""

    units: int
    bias: bool = True
    gain: float = 2.0

    def out_shape(self, in_shape: Shape) -> Shape:
        return (self.units,)

    def parameters(self, in_shape: Shape) -> tuple[Parameter, ...]:
        weight = he_uniform("weight", (in_shape[0], self.units), "io", in_shape[0], self.gain)
        return (weight, vector("bias", self.units, -BIAS_BOUND, BIAS_BOUND)) if self.bias else (weight,)

    def flop(self, in_shape: Shape) -> int:
        return 2 * in_shape[0] * self.units


class Dropout(Layer, frozen=True, kw_only=True, tag="dropout"):
    """Zeroes a share `rate` in training and scales the rest by 1 / (1 - rate); the witness is taken without it."""

    rate: float


class Embedding(Layer, frozen=True, kw_only=True, tag="embedding"):
    """Rows of a table of shape (vocabulary, dimension): (time,) of ids to (time, dimension)."""

    vocabulary: int
    dimension: int

    def out_shape(self, in_shape: Shape) -> Shape:
        return (*in_shape, self.dimension)

    def parameters(self, in_shape: Shape) -> tuple[Parameter, ...]:
        shape = (self.vocabulary, self.dimension)
        return (Parameter(name="weight", shape=shape, layout="table", low=-0.05, high=0.05),)


class Gru(Layer, frozen=True, kw_only=True, tag="gru"):
    """A gated recurrent unit that returns its last state: (time, features) to (units,). The first state is zero.

    The gates stand side by side in the order r, z, n. With `reset_after` (cuDNN's form, two biases)
    n = tanh(x Wn + bn + r * (h Un + cn)); without it (one bias) n = tanh(x Wn + bn + (r * h) Un).
    In both h' = (1 - z) * n + z * h, where r and z are sigmoids.
    """

    units: int
    reset_after: bool = True

    def out_shape(self, in_shape: Shape) -> Shape:
        return (self.units,)

    def parameters(self, in_shape: Shape) -> tuple[Parameter, ...]:
        bound, gates = 1 / math.sqrt(self.units), 3 * self.units
        recurrent = (vector("recurrent_bias", gates, -bound, bound),) if self.reset_after else ()
        return (
            Parameter(name="weight", shape=(in_shape[1], gates), layout="gru", low=-bound, high=bound),
            Parameter(name="recurrent_weight", shape=(self.units, gates), layout="gru", low=-bound, high=bound),
            vector("bias", gates, -bound, bound),
            *recurrent,
        )

    def flop(self, in_shape: Shape) -> int:
        time, features = in_shape
        return 2 * time * 3 * self.units * (features + self.units)


class Residual(Layer, frozen=True, kw_only=True, tag="residual"):
    """body(x) + shortcut(x); an empty shortcut is the identity."""

    body: "tuple[AnyLayer, ...]"
    shortcut: "tuple[AnyLayer, ...]" = ()

    def out_shape(self, in_shape: Shape) -> Shape:
        for layer in self.body:
            in_shape = layer.out_shape(in_shape)
        return in_shape


AnyLayer = (
    Conv2d | BatchNorm | Relu | LeakyRelu | Tanh | MaxPool | AvgPool | GlobalAvgPool
    | Flatten | Dense | Dropout | Embedding | Gru | Residual
)  # fmt: skip


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """A named chain of layers over inputs of one shape; the last layer's outputs are the logits (or features)."""

    name: str
    input_shape: Shape
    layers: tuple[AnyLayer, ...]


class Lowered(msgspec.Struct, frozen=True, kw_only=True):
    """A layer in its place: named, with in and out shapes, full parameter names and FLOP a sample forward."""

    name: str
    layer: AnyLayer
    in_shape: Shape
    out_shape: Shape
    parameters: tuple[Parameter, ...] = ()
    flop: int = 0
    body: "tuple[Lowered, ...]" = ()
    shortcut: "tuple[Lowered, ...]" = ()

    def as_json(self) -> dict[str, Any]:
        """The layer's own fields and its place in one flat object, as the guest reads it."""
        place = {
            "name": self.name,
            "in_shape": list(self.in_shape),
            "out_shape": list(self.out_shape),
            "parameters": msgspec.to_builtins(self.parameters),
            "flop": self.flop,
        }
        branches = {
            "body": [inner.as_json() for inner in self.body],
            "shortcut": [inner.as_json() for inner in self.shortcut],
        }
        own: dict[str, Any] = msgspec.to_builtins(self.layer)
        return own | place | (branches if self.body else {})


def lower(network: Network) -> tuple[Lowered, ...]:
    """Give every layer its name and shapes; layers are named after their kind and counted through the network."""
    return _lower_chain(network.layers, network.input_shape, {})


def _lower_chain(layers: tuple[AnyLayer, ...], shape: Shape, counts: dict[str, int]) -> tuple[Lowered, ...]:
    lowered = []
    unflattened: Shape | None = None
    for layer in layers:
        lowered.append(_lower_one(layer, shape, unflattened, counts))
        unflattened = _shape_behind_rows(layer, shape, unflattened)
        shape = lowered[-1].out_shape
    return tuple(lowered)


def _lower_one(layer: AnyLayer, shape: Shape, rows: Shape | None, counts: dict[str, int]) -> Lowered:
    kind = layer.__struct_config__.tag
    counts[str(kind)] = counts.get(str(kind), 0) + 1
    name = f"{kind}_{counts[str(kind)]}"
    parameters = tuple(
        msgspec.structs.replace(p, name=f"{name}.{p.name}", rows=rows if p.layout == "io" else None)
        for p in layer.parameters(shape)
    )
    body: tuple[Lowered, ...] = ()
    shortcut: tuple[Lowered, ...] = ()
    if isinstance(layer, Residual):
        body = _lower_chain(layer.body, shape, counts)
        shortcut = _lower_chain(layer.shortcut, shape, counts)
    return Lowered(
        name=name, layer=layer, in_shape=shape, out_shape=layer.out_shape(shape),
        parameters=parameters, flop=layer.flop(shape), body=body, shortcut=shortcut,
    )  # fmt: skip


def _shape_behind_rows(layer: AnyLayer, in_shape: Shape, before: Shape | None) -> Shape | None:
    """The (channels, height, width) that a flatten left behind, kept by the layers that act on single elements."""
    match layer:
        case Flatten():
            return in_shape if len(in_shape) == 3 else None
        case Relu() | LeakyRelu() | Tanh() | Dropout():
            return before
        case _:
            return None


def walk(layers: tuple[Lowered, ...]) -> Iterator[Lowered]:
    """Every layer in network order, a residual before its body and its body before its shortcut."""
    for lowered in layers:
        yield lowered
        yield from walk(lowered.body)
        yield from walk(lowered.shortcut)


def parameter_count(layers: tuple[Lowered, ...], *, trainable: bool = True) -> int:
    """How many numbers the network learns (or, with trainable=False, keeps without learning)."""
    return sum(math.prod(p.shape) for lowered in walk(layers) for p in lowered.parameters if p.trainable is trainable)


def forward_flop(layers: tuple[Lowered, ...]) -> int:
    """Floating point operations for one sample forward."""
    return sum(lowered.flop for lowered in walk(layers))


def training_flop(layers: tuple[Lowered, ...]) -> int:
    """Floating point operations for one sample forward and backward; the first layer's input needs no gradient."""
    costly = [lowered.flop for lowered in walk(layers) if lowered.flop]
    first = costly[0] if costly and not isinstance(layers[0].layer, Embedding) else 0
    return 3 * sum(costly) - first
