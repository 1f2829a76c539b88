"""The reference is itself checked: every gradient against finite differences, every update rule against its formula."""

import sys

import numpy as np
import pytest
from checkouts import ROOT
from conformance import NETWORKS, SGD, request

sys.path.insert(0, str(ROOT / "images" / "guest"))

import data
import on_numpy
import weights

from runner.protocol import Optimizer, Request

STEP = 1e-6


def reference_of(asked: Request) -> tuple[on_numpy.OnNumpy, tuple[np.ndarray, np.ndarray]]:
    import msgspec

    told = msgspec.to_builtins(asked)
    layers = weights.without_dropout(told["network"])
    adapter = on_numpy.OnNumpy(told)
    adapter.build(layers, weights.draw(layers, 1))
    workload = told["workload"]
    batch = data.first_batch(workload["data"], workload["batch"], layers[0]["in_shape"], workload["classes"], 2)
    return adapter, adapter.place(*batch)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_gradient_agrees_with_finite_differences(name: str) -> None:
    adapter, batch = reference_of(request("numpy", NETWORKS[name], {}, l2=0.01))
    _, gradients = adapter.loss_and_gradients(batch)
    stream = np.random.RandomState(0)
    assert set(gradients) == {p["name"] for p in adapter.described if p["trainable"]}
    for parameter, gradient in gradients.items():
        values = adapter.values[parameter]
        for index in {tuple(stream.randint(0, n) for n in values.shape) for _ in range(4)}:
            slope = slope_at(adapter, batch, parameter, index)
            assert gradient[index] == pytest.approx(slope, rel=1e-5, abs=1e-8), (parameter, index)


def slope_at(
    adapter: on_numpy.OnNumpy, batch: tuple[np.ndarray, np.ndarray], name: str, index: tuple[int, ...]
) -> float:
    found = []
    original = adapter.values[name][index]
    for sign in (1, -1):
        adapter.values[name][index] = original + sign * STEP
        loss, _ = on_numpy.softmax_cross_entropy(adapter.forward(batch[0], training=True), batch[1])
        found.append(loss + penalty(adapter))
    adapter.values[name][index] = original
    return (found[0] - found[1]) / (2 * STEP)


def penalty(adapter: on_numpy.OnNumpy) -> float:
    return adapter.l2 * sum(
        float(np.sum(adapter.values[p["name"]] ** 2)) for p in adapter.described if p["layout"] == "oihw"
    )


@pytest.mark.parametrize(
    ("optimizer", "changes"),
    [
        (SGD, [0.05, 0.05]),
        (Optimizer(kind="momentum", learning_rate=0.1, momentum=0.5), [0.1, 0.15]),
        (Optimizer(kind="adam", learning_rate=0.1, beta1=0.9, beta2=0.99, epsilon=0.0), [0.1, 0.1]),
        (Optimizer(kind="adam", learning_rate=0.1, beta1=0.9, beta2=0.99, epsilon=0.1), [0.1 / 1.1, 0.1 / 1.1]),
        (
            Optimizer(kind="adam", learning_rate=0.1, beta1=0.9, beta2=0.99, epsilon=0.1, epsilon_hat=True),
            [0.05, 0.1 / (1 + 0.1 / 0.0199**0.5)],
        ),
        (Optimizer(kind="adadelta", learning_rate=1.0, rho=0.5, epsilon=0.0), [0.0, 0.0]),
    ],
)
def test_update_rules_on_a_constant_gradient_of_one(optimizer: Optimizer, changes: list[float]) -> None:
    adapter, _ = reference_of(request("numpy", NETWORKS["vgg"], {}, optimizer=optimizer))
    name = "dense_1.bias"
    for change in changes:
        before = adapter.values[name].copy()
        adapter.update({name: np.ones_like(before)})
        np.testing.assert_allclose(before - adapter.values[name], change, rtol=1e-12)


def test_weights_are_drawn_from_the_frozen_stream() -> None:
    """These numbers must never change: every reference and every record rests on them."""
    parameter = {"name": "w", "shape": [2], "low": -1.0, "high": 1.0, "layout": "vector", "trainable": True}
    drawn = weights.draw([{"parameters": [parameter]}], seed=1)["w"]
    np.testing.assert_array_equal(drawn, np.array([-0.16595599, 0.44064898], dtype=np.float32))
    inputs, labels = data.first_batch({"kind": "images", "low": 0.0, "high": 1.0}, 2, (1, 1, 1), 10, 2)
    np.testing.assert_allclose(inputs.ravel(), [0.4359949, 0.02592623], rtol=1e-6)
    assert labels.dtype == np.int32
