"""VGG16 (Simonyan and Zisserman, arXiv 1409.1556, configuration D), without dropout, plain or batch-normalised."""

from collections.abc import Iterator

from runner.layers import AnyLayer, BatchNorm, Conv2d, Dense, Flatten, MaxPool, Network, Relu

BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # filters, convolutions


def vgg16() -> Network:
    """138,357,544 parameters, 30.94 GFLOP forward an image of (3, 224, 224)."""
    return Network(name="vgg16", input_shape=(3, 224, 224), layers=tuple(vgg(BLOCKS, 4096, 1000, batch_norm=False)))


def vgg16_bn() -> Network:
    """VGG16 with batch normalisation after each convolution, whose bias is kept: 138,365,992 parameters learn."""
    return Network(name="vgg16-bn", input_shape=(3, 224, 224), layers=tuple(vgg(BLOCKS, 4096, 1000, batch_norm=True)))


def vgg_small() -> Network:
    """VGG's pattern at the size of a CIFAR image, to try a release, an engine or a machine in seconds."""
    layers = tuple(vgg(((8, 1), (16, 2)), 32, 10, batch_norm=True))
    return Network(name="vgg-small", input_shape=(3, 32, 32), layers=layers)


def vgg(blocks: tuple[tuple[int, int], ...], units: int, classes: int, *, batch_norm: bool) -> Iterator[AnyLayer]:
    for filters, convolutions in blocks:
        for _ in range(convolutions):
            yield Conv2d(filters=filters, kernel=3, padding=1)
            if batch_norm:
                yield BatchNorm()
            yield Relu()
        yield MaxPool(kernel=2, stride=2)
    yield Flatten()
    yield Dense(units=units)
    yield Relu()
    yield Dense(units=units)
    yield Relu()
    yield Dense(units=classes, gain=1.0)
