"""Data that can be learnt, for where the real data cannot be had: the same shapes and types, drawn from a seed."""

from typing import Any, Protocol

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from runner.datasets.readers import Part, token_rows
from runner.datasets.sources import Dataset, Images, Tokens

CLASSES_STREAM, TRAIN_STREAM, TEST_STREAM = 3, 4, 5  # beside the seed asked for: each stream is its own
CHUNK = 1000  # samples drawn at once, which bounds the memory

KNOTS = 5  # the corners of a picture's smooth surface, along each side
SHIFT_PIXELS = 3
LEAST_OWN = 0.45  # the rest of a picture is of another class: where that is more than half, only a guess is left
NOISE, CONTRAST, GREY = 0.3, 200, 40

TELLING_WORDS = 10  # of each class
TELLING_SHARE = 0.4  # of the words of a review
LEAST_RIGHT, MOST_RIGHT = 0.5, 1.0  # the share of its telling words that are of its own class
COMMON_RANKS = 2000  # among which the telling words are
RANKS = 50_000
LEAST_LENGTH, MOST_LENGTH = 140, 400


class Maker(Protocol):
    """Draws samples of given classes."""

    classes: int

    def inputs(self, labels: NDArray[np.int32], stream: RandomState) -> NDArray[Any]: ...


def draw(dataset: Dataset, train: int, test: int, seed: int) -> tuple[Part, Part]:
    """So many samples to train with and so many to test with, of the same classes."""
    stream = RandomState([seed, CLASSES_STREAM])
    match dataset.kind:
        case Images() as kind:
            maker: Maker = Pictures(kind, dataset.classes, stream)
        case Tokens() as kind:
            maker = Reviews(kind, dataset.classes, stream)
    return part(maker, train, RandomState([seed, TRAIN_STREAM])), part(maker, test, RandomState([seed, TEST_STREAM]))


def part(maker: Maker, count: int, stream: RandomState) -> Part:
    labels = stream.randint(maker.classes, size=count).astype(np.int32)
    inputs = [maker.inputs(labels[start : start + CHUNK], stream) for start in range(0, count, CHUNK)]
    return Part(np.concatenate(inputs), labels)


class Pictures:
    """A smooth picture of each class, mixed with that of another, shifted, under noise."""

    def __init__(self, kind: Images, classes: int, stream: RandomState) -> None:
        channels, height, width = kind.shape
        corners = stream.uniform(-1, 1, size=(classes, channels, KNOTS, KNOTS))
        self.classes = classes
        self.surfaces = between(height) @ corners @ between(width).T  # (classes, channels, height, width)

    def inputs(self, labels: NDArray[np.int32], stream: RandomState) -> NDArray[np.uint8]:
        """Bytes (n, channels, height, width)."""
        count = len(labels)
        others = (labels + stream.randint(1, self.classes, size=count)) % self.classes
        own = stream.uniform(LEAST_OWN, 1, size=(count, 1, 1, 1))
        mixed = own * self.surfaces[labels] + (1 - own) * self.surfaces[others]
        for picture, (down, right) in zip(
            mixed, stream.randint(-SHIFT_PIXELS, SHIFT_PIXELS + 1, (count, 2)), strict=True
        ):
            picture[:] = np.roll(picture, (down, right), axis=(1, 2))
        mixed += stream.normal(0, NOISE, size=mixed.shape)
        pictures: NDArray[np.uint8] = np.clip(GREY + CONTRAST * mixed, 0, 255).astype(np.uint8)
        return pictures


def between(pixels: int) -> NDArray[np.float64]:
    """The shares of the corners in each pixel of a line, (pixels, corners): linear between neighbours."""
    places = np.linspace(0, KNOTS - 1, pixels)[:, np.newaxis]
    shares: NDArray[np.float64] = np.maximum(0, 1 - np.abs(places - np.arange(KNOTS)))
    return shares


class Reviews:
    """Words by Zipf's law, some of them more frequent in one class than in the others."""

    def __init__(self, kind: Tokens, classes: int, stream: RandomState) -> None:
        self.kind, self.classes = kind, classes
        self.telling = 1 + stream.permutation(COMMON_RANKS)[: classes * TELLING_WORDS].reshape(classes, TELLING_WORDS)

    def inputs(self, labels: NDArray[np.int32], stream: RandomState) -> NDArray[np.int32]:
        """Ids (n, words)."""
        size = (len(labels), MOST_LENGTH)
        neutral = (RANKS ** stream.uniform(size=size)).astype(np.int32)  # of rank r about as often as 1 / r
        own = stream.uniform(size=size) < stream.uniform(LEAST_RIGHT, MOST_RIGHT, size=(len(labels), 1))
        others = (labels + stream.randint(1, self.classes, size=len(labels))) % self.classes
        classes = np.where(own, labels[:, np.newaxis], others[:, np.newaxis])
        telling = self.telling[classes, stream.randint(TELLING_WORDS, size=size)]
        ranks = np.where(stream.uniform(size=size) < TELLING_SHARE, telling, neutral)
        lengths = stream.randint(LEAST_LENGTH, MOST_LENGTH + 1, size=len(labels))
        return token_rows([row[:length] for row, length in zip(ranks, lengths, strict=True)], self.kind)
