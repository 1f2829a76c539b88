"""The VGG-style network that the Rosetta stone of 2017 trained on CIFAR-10."""

from runner.layers import AnyLayer, Conv2d, Dense, Dropout, Flatten, MaxPool, Network, Relu


def cifar10_cnn() -> Network:
    """3,441,592 parameters, 124.5 MFLOP forward an image of (3, 32, 32)."""
    return vgg_style("cifar10-cnn", (Relu(), MaxPool(kernel=2, stride=2)))


def cifar10_cnn_pool_first() -> Network:
    """The same function with a quarter of the second relus' work, as half of the published programs wrote it."""
    return vgg_style("cifar10-cnn-pool-first", (MaxPool(kernel=2, stride=2), Relu()))


def vgg_style(name: str, relu_and_pool: tuple[AnyLayer, ...]) -> Network:
    """Two blocks of two convolutions, the second of each before this pair of layers, and two dense layers."""
    first = (*convolutions(50), *relu_and_pool, Dropout(rate=0.25))
    second = (*convolutions(100), *relu_and_pool, Dropout(rate=0.25))
    head = (Flatten(), Dense(units=512), Relu(), Dropout(rate=0.5), Dense(units=10, gain=1.0))
    return Network(name=name, input_shape=(3, 32, 32), layers=(*first, *second, *head))


def convolutions(filters: int) -> tuple[AnyLayer, ...]:
    """Two convolutions of 3 x 3 that keep the size, a relu between them."""
    return (Conv2d(filters=filters, kernel=3, padding=1), Relu(), Conv2d(filters=filters, kernel=3, padding=1))
