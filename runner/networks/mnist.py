"""The two small networks for MNIST that the disputes of 2016 and 2017 were about."""

from runner.layers import Conv2d, Dense, Dropout, Flatten, MaxPool, Network, Relu, Tanh


def mnist_cnn(name: str = "mnist-cnn", *, second_filters: int = 64) -> Network:
    """Keras 2's mnist_cnn.py: 1,199,882 parameters, 23.98 MFLOP forward an image of (1, 28, 28)."""
    features = (
        Conv2d(filters=32, kernel=3), Relu(), Conv2d(filters=second_filters, kernel=3), Relu(), MaxPool(kernel=2, stride=2), Dropout(rate=0.25),
    )  # fmt: skip
    head = (Flatten(), Dense(units=128), Relu(), Dropout(rate=0.5), Dense(units=10, gain=1.0))
    return Network(name=name, input_shape=(1, 28, 28), layers=(*features, *head))


def mnist_cnn_of_keras_1() -> Network:
    """Keras 1's mnist_cnn.py, half as wide in its second convolution: 600,810 parameters, 12.19 MFLOP."""
    return mnist_cnn("mnist-cnn-keras-1", second_filters=32)


def lenet() -> Network:
    """LeNet with tanh: 431,080 parameters, 4.586 MFLOP forward an image of (1, 28, 28)."""
    features = (
        Conv2d(filters=20, kernel=5, gain=1.0), Tanh(), MaxPool(kernel=2, stride=2),
        Conv2d(filters=50, kernel=5, gain=1.0), Tanh(), MaxPool(kernel=2, stride=2),
    )  # fmt: skip
    head = (Flatten(), Dense(units=500, gain=1.0), Tanh(), Dense(units=10, gain=1.0))
    return Network(name="mnist-lenet", input_shape=(1, 28, 28), layers=(*features, *head))
