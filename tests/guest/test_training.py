"""A training run of the reference adapter over samples that can be learnt."""

import io
import sys

import msgspec
import numpy as np
from conformance import NETWORKS, ask, request

from runner.protocol import Trained, Training

CLASSES, BATCH = 7, 6


def samples(*, learnable: bool, steps: int = 60) -> bytes:
    """Images whose rows of pixels are bright where their class says, or are so by chance."""
    stream = np.random.RandomState(0)

    def part(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(count, dtype=np.int32) % CLASSES
        inputs = stream.randint(0, 60, size=(count, 3, 12, 8)).astype(np.uint8)
        for image, label in zip(inputs, labels if learnable else stream.permutation(labels), strict=True):
            image[:, label, :] += 190
        return inputs, labels

    (train_inputs, train_labels), (test_inputs, test_labels) = part(140), part(46)
    file = io.BytesIO()
    np.savez(
        file, train_inputs=train_inputs, train_labels=train_labels, test_inputs=test_inputs, test_labels=test_labels,
        scale=np.float32(1 / 255), mean=np.float32(0), order=stream.randint(0, 140, size=(steps, BATCH)),
    )  # fmt: skip
    return file.getvalue()


def trained(content: bytes) -> Trained:
    asked = request("numpy", NETWORKS["vgg-bn"], {}, batch=BATCH)
    asked = msgspec.structs.replace(asked, training=Training(file="samples.npz", digest=""))
    answer = ask(sys.executable, asked, samples=content)
    assert answer.training, answer.reason
    return answer.training


def test_what_can_be_learnt_is_learnt() -> None:
    found = trained(samples(learnable=True))
    assert found.accuracy > 0.9
    assert found.steps == 60
    assert found.seconds > 0


def test_what_cannot_be_learnt_is_guessed() -> None:
    assert trained(samples(learnable=False)).accuracy < 0.5
