"""Every network by name; each is a function that returns its layers."""

from collections.abc import Callable

from runner.errors import Mistake, nearest
from runner.layers import Network
from runner.networks.cifar import cifar10_cnn, cifar10_cnn_pool_first
from runner.networks.imdb import imdb_gru, imdb_gru_reset_before
from runner.networks.mnist import lenet, mnist_cnn, mnist_cnn_of_keras_1
from runner.networks.resnet import (
    resnet20,
    resnet20_normalised_by_width,
    resnet20_without_batch_norm,
    resnet50,
    resnet50_keras,
    resnet50_slim,
    resnet50_v1,
    resnet50_v2,
)
from runner.networks.vgg import vgg16, vgg16_bn, vgg_small

NETWORKS: dict[str, Callable[[], Network]] = {
    "vgg16": vgg16,
    "vgg16-bn": vgg16_bn,
    "vgg-small": vgg_small,
    "cifar10-cnn": cifar10_cnn,
    "cifar10-cnn-pool-first": cifar10_cnn_pool_first,
    "cifar10-resnet20": resnet20,
    "cifar10-resnet20-no-bn": resnet20_without_batch_norm,
    "cifar10-resnet20-bn-width": resnet20_normalised_by_width,
    "mnist-cnn": mnist_cnn,
    "mnist-cnn-keras-1": mnist_cnn_of_keras_1,
    "mnist-lenet": lenet,
    "imdb-gru": imdb_gru,
    "imdb-gru-reset-before": imdb_gru_reset_before,
    "resnet50": resnet50,
    "resnet50-v1": resnet50_v1,
    "resnet50-keras": resnet50_keras,
    "resnet50-slim": resnet50_slim,
    "resnet50-v2": resnet50_v2,
}


def network_named(name: str) -> Network:
    """The network of that name.

    Raises:
        Mistake: when there is none; its text offers the nearest name.
    """
    if name not in NETWORKS:
        raise Mistake(f"no network {name!r}{nearest(name, NETWORKS)}; the networks are: {', '.join(NETWORKS)}")
    return NETWORKS[name]()
