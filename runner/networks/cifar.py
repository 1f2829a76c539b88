"""The VGG-style network that the Rosetta stone of 2017 trained on CIFAR-10."""

from runner.layers import Conv2d, Dense, Dropout, Flatten, MaxPool, Network, Relu


def cifar10_cnn() -> Network:
    """3,441,592 parameters, 124.5 MFLOP forward an image of (3, 32, 32)."""
    first = (*pair(50), MaxPool(kernel=2, stride=2), Dropout(rate=0.25))
    second = (*pair(100), MaxPool(kernel=2, stride=2), Dropout(rate=0.25))
    head = (Flatten(), Dense(units=512), Relu(), Dropout(rate=0.5), Dense(units=10, gain=1.0))
    return Network(name="cifar10-cnn", input_shape=(3, 32, 32), layers=(*first, *second, *head))


def pair(filters: int) -> tuple[Conv2d | Relu, ...]:
    """Two convolutions of 3 x 3 that keep the size, each behind a relu."""
    return (Conv2d(filters=filters, kernel=3, padding=1), Relu(), Conv2d(filters=filters, kernel=3, padding=1), Relu())
