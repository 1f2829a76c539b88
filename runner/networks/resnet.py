"""Residual networks (He et al., arXiv 1512.03385): ResNet20 for CIFAR-10 and ResNet-50 as far as its 2048 features."""

from collections.abc import Callable, Iterator

from runner.layers import (
    AnyLayer,
    AvgPool,
    BatchNorm,
    Conv2d,
    Dense,
    Flatten,
    GlobalAvgPool,
    MaxPool,
    Network,
    Relu,
    Residual,
)  # fmt: skip

Layers = tuple[AnyLayer, ...]
Unit = Callable[[int, int, bool], Layers]
"""The layers of one bottleneck: of (width, stride, whether the shortcut is a projection)."""

STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))  # width, units
WIDTH_AXIS = 2


def resnet20(name: str = "cifar10-resnet20", *, batch_norm: bool = True, axis: int = 0) -> Network:
    """ResNet20v1 of Keras's cifar10_resnet.py: 273,066 parameters learn, 81.63 MFLOP forward an image of (3, 32, 32)."""

    def conv(filters: int, stride: int = 1) -> Layers:
        convolution = Conv2d(filters=filters, kernel=3, stride=stride, padding=1)
        return (convolution, BatchNorm(axis=axis)) if batch_norm else (convolution,)

    layers: list[AnyLayer] = [*conv(16), Relu()]
    for stack, filters in enumerate((16, 32, 64)):
        for block in range(3):
            stride = 2 if stack and not block else 1
            shortcut: Layers = (Conv2d(filters=filters, kernel=1, stride=2, gain=1.0),) if stride == 2 else ()
            layers += [Residual(body=(*conv(filters, stride), Relu(), *conv(filters)), shortcut=shortcut), Relu()]
    # Without batch norm each residual adds up, and logits of a plain gain would have losses that Keras clips.
    layers += [AvgPool(kernel=8, stride=8), Flatten(), Dense(units=10, gain=1.0 if batch_norm else 0.01)]
    return Network(name=name, input_shape=(3, 32, 32), layers=tuple(layers))


def resnet20_without_batch_norm() -> Network:
    """ResNet20v1 without its batch normalisation."""
    return resnet20("cifar10-resnet20-no-bn", batch_norm=False)


def resnet20_normalised_by_width() -> Network:
    """What Keras's example computes on channels-first data: its axis of -1 is then the width, not the channel."""
    return resnet20("cifar10-resnet20-bn-width", axis=WIDTH_AXIS)


def resnet50() -> Network:
    """v1.5, with the stride in the 3 x 3: 23,508,032 parameters, 8.174 GFLOP forward an image of (3, 224, 224)."""
    return features("resnet50", bottleneck(stride_first=False))


def resnet50_v1() -> Network:
    """v1 as published and as Caffe has it, with the stride in the first 1 x 1: 7.712 GFLOP."""
    return features("resnet50-v1", bottleneck(stride_first=True))


def resnet50_keras() -> Network:
    """v1 as Keras 2.0 to 2.1 had it: biases everywhere, epsilon 1e-3 and 55 x 55 maps behind the first pool: 7.665 GFLOP."""
    return features(
        "resnet50-keras",
        bottleneck(stride_first=True, bias=True, epsilon=1e-3),
        bias=True,
        epsilon=1e-3,
        pool_padding=0,
    )


def resnet50_slim() -> Network:
    """v1 as TensorFlow's slim has it: the last unit of the first three stages strides, in its 3 x 3: 6.960 GFLOP."""
    unit = bottleneck(stride_first=False)
    layers = stem()
    for width, units in STAGES:
        stride = 2 if width < STAGES[-1][0] else 1
        layers += (*unit(width, 1, True), *(x for _ in range(units - 2) for x in unit(width, 1, False)))
        layers += unit(width, stride, False)
    return Network(name="resnet50-slim", input_shape=(3, 224, 224), layers=(*layers, GlobalAvgPool()))


def resnet50_v2() -> Network:
    """The pre-activation form (arXiv 1603.05027) as MXNet's module API has it: 8.174 GFLOP."""
    layers: list[AnyLayer] = [normalised(2e-5), *stem(epsilon=2e-5)]
    for width, units in STAGES:
        for unit in range(units):
            layers += preactivated(width, 2 if unit == 0 and width > STAGES[0][0] else 1, projection=unit == 0)
    layers += [normalised(2e-5), Relu(), GlobalAvgPool()]
    return Network(name="resnet50-v2", input_shape=(3, 224, 224), layers=tuple(layers))


def normalised(epsilon: float) -> BatchNorm:
    """With moving averages as a trained network may have them, for ResNet-50 is used in inference alone."""
    return BatchNorm(epsilon=epsilon, momentum=0.9, mean=(-0.1, 0.1), variance=(0.5, 1.5))


def stem(*, bias: bool = False, epsilon: float = 1e-5, pool_padding: int = 1) -> Layers:
    """A 7 x 7 convolution and a pool, each of stride 2."""
    convolution = Conv2d(filters=64, kernel=7, stride=2, padding=3, bias=bias)
    return (convolution, normalised(epsilon), Relu(), MaxPool(kernel=3, stride=2, padding=pool_padding))


def features(
    name: str, unit: Unit, *, bias: bool = False, epsilon: float = 1e-5, pool_padding: int = 1
) -> Network:  # fmt: skip
    """Stem, stages whose first unit projects (and strides, but for the first stage), and the mean over the image."""
    layers = stem(bias=bias, epsilon=epsilon, pool_padding=pool_padding)
    for width, units in STAGES:
        layers += unit(width, 2 if width > STAGES[0][0] else 1, True)
        layers += tuple(layer for _ in range(units - 1) for layer in unit(width, 1, False))
    return Network(name=name, input_shape=(3, 224, 224), layers=(*layers, GlobalAvgPool()))


def bottleneck(*, stride_first: bool, bias: bool = False, epsilon: float = 1e-5) -> Unit:
    """1 x 1, 3 x 3 and 1 x 1 of four times the width, added to the shortcut, then a relu."""

    def conv(filters: int, kernel: int, stride: int = 1, gain: float = 2.0) -> Layers:
        convolution = Conv2d(filters=filters, kernel=kernel, stride=stride, padding=kernel // 2, bias=bias, gain=gain)
        return (convolution, normalised(epsilon))

    def unit(width: int, stride: int, projection: bool) -> Layers:
        first, second = (stride, 1) if stride_first else (1, stride)
        body = (*conv(width, 1, first), Relu(), *conv(width, 3, second), Relu(), *conv(4 * width, 1, gain=1.0))
        subsampled: Layers = (MaxPool(kernel=1, stride=stride),) if stride > 1 else ()
        shortcut = conv(4 * width, 1, stride, gain=1.0) if projection else subsampled
        return (Residual(body=body, shortcut=shortcut), Relu())

    return unit


def preactivated(width: int, stride: int, *, projection: bool) -> Iterator[AnyLayer]:
    """The bottleneck with norm and relu before each convolution; a projection takes what the first of them left."""

    def conv(filters: int, kernel: int, stride: int = 1) -> Conv2d:
        return Conv2d(filters=filters, kernel=kernel, stride=stride, padding=kernel // 2, bias=False)

    activated: Layers = (normalised(2e-5), Relu())
    body: Layers = (
        conv(width, 1), normalised(2e-5), Relu(), conv(width, 3, stride), normalised(2e-5), Relu(), conv(4 * width, 1),
    )  # fmt: skip
    if projection:
        yield from activated
        yield Residual(body=body, shortcut=(conv(4 * width, 1, stride),))
    else:
        yield Residual(body=(*activated, *body))
