"""Shapes, parameters and FLOP of the vocabulary and of the published networks."""

from itertools import pairwise

import pytest

from runner import layers as l
from runner.networks import NETWORKS, network_named
from runner.paths import checkout_paths
from runner.reading import read_catalog

COUNTS = {  # learnt, kept, GFLOP forward, GFLOP forward and backward
    "vgg16": (138_357_544, 0, 30.9405, 92.6482),
    "vgg16-bn": (138_365_992, 8_448, 30.9405, 92.6482),
    "cifar10-cnn": (3_441_592, 0, 0.12453, 0.37082),
    "cifar10-cnn-pool-first": (3_441_592, 0, 0.12453, 0.37082),
    "cifar10-resnet20": (273_066, 1_376, 0.08163, 0.24399),
    "cifar10-resnet20-bn-width": (272_426, 736, 0.08163, 0.24399),
    "mnist-cnn": (1_199_882, 0, 0.023985, 0.071565),
    "mnist-cnn-keras-1": (600_810, 0, 0.012188, 0.036176),
    "mnist-lenet": (431_080, 0, 0.004586, 0.013182),
    "imdb-gru": (3_818_302, 0, 0.0202504, 0.0607512),
    "imdb-gru-reset-before": (3_818_002, 0, 0.0202504, 0.0607512),
    "resnet50": (23_508_032, 53_120, 8.17427, 24.28679),
    "resnet50-v1": (23_508_032, 53_120, 7.71185, 22.89952),
    "resnet50-keras": (23_534_592, 53_120, 7.66457, 22.75767),
    "resnet50-slim": (23_508_032, 53_120, 6.96041, 20.64522),
    "resnet50-v2": (23_500_486, 45_574, 8.17427, 24.28679),
}


@pytest.mark.parametrize("name", COUNTS)
def test_published_networks_have_their_published_size(name: str) -> None:
    lowered = l.lower(network_named(name))
    learnt, kept, forward, both = COUNTS[name]
    assert l.parameter_count(lowered) == learnt
    assert l.parameter_count(lowered, trainable=False) == kept
    assert l.forward_flop(lowered) / 1e9 == pytest.approx(forward, rel=1e-4)
    assert l.training_flop(lowered) / 1e9 == pytest.approx(both, rel=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_lowers_with_unique_names_and_joined_shapes(name: str) -> None:
    lowered = l.lower(network_named(name))
    names = [layer.name for layer in l.walk(lowered)]
    assert len(names) == len(set(names))
    for before, after in pairwise(lowered):
        assert before.out_shape == after.in_shape


def test_where_a_network_only_infers_its_moving_averages_are_drawn() -> None:
    """With means of 0 and variances of 1 it would hardly differ from a network without normalisation."""
    for name, workload in read_catalog(checkout_paths()).workloads.items():
        for layer in l.walk(l.lower(network_named(workload.network))):
            for parameter in layer.parameters:
                if not parameter.trainable:
                    assert (parameter.low < parameter.high) == (workload.mode == "inference"), (name, parameter.name)


def test_a_dense_weight_behind_a_flatten_knows_the_image_behind_its_rows() -> None:
    chain = (l.Flatten(), l.Dropout(rate=0.5), l.Dense(units=3), l.Dense(units=2))
    lowered = l.lower(l.Network(name="n", input_shape=(2, 4, 5), layers=chain))
    assert lowered[2].parameters[0].rows == (2, 4, 5)
    assert lowered[3].parameters[0].rows is None


def test_a_window_must_fit_whole() -> None:
    assert l.MaxPool(kernel=2, stride=2).out_shape((1, 5, 4)) == (1, 2, 2)
    assert l.Conv2d(filters=7, kernel=3, stride=2, padding=1).out_shape((1, 5, 4)) == (7, 3, 2)


def test_a_residual_carries_its_branches_lowered() -> None:
    block = l.Residual(body=(l.Conv2d(filters=4, kernel=3, padding=1),), shortcut=(l.Conv2d(filters=4, kernel=1),))
    (lowered,) = l.lower(l.Network(name="n", input_shape=(2, 4, 4), layers=(block,)))
    json = lowered.as_json()
    assert [layer["name"] for layer in (*json["body"], *json["shortcut"])] == ["conv2d_1", "conv2d_2"]
    assert l.parameter_count((lowered,)) == (2 * 9 * 4 + 4) + (2 * 4 + 4)
