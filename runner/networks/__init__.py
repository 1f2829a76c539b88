"""Every network by name; each is a function that returns its layers."""

from collections.abc import Callable

from runner.errors import Mistake, nearest
from runner.layers import Network
from runner.networks.cifar import cifar10_cnn
from runner.networks.vgg import vgg16, vgg16_bn, vgg_small

NETWORKS: dict[str, Callable[[], Network]] = {
    "vgg16": vgg16,
    "vgg16-bn": vgg16_bn,
    "vgg-small": vgg_small,
    "cifar10-cnn": cifar10_cnn,
}


def network_named(name: str) -> Network:
    """The network of that name.

    Raises:
        Mistake: when there is none; its text offers the nearest name.
    """
    if name not in NETWORKS:
        raise Mistake(f"no network {name!r}{nearest(name, NETWORKS)}; the networks are: {', '.join(NETWORKS)}")
    return NETWORKS[name]()
