"""Samples of a training run: read from files as the sources publish them, fetched from a server of this process."""

import gzip
import hashlib
import importlib.util
import io
import pickle
import struct
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np
import pytest
from checkouts import ROOT

from runner.datasets import Samples, Size, samples_for
from runner.datasets.readers import ArraysOnly, read_cifar10, read_idx, read_imdb, read_mnist, token_rows
from runner.datasets.sources import DATASETS, File, Tokens
from runner.errors import Mistake

SMALL = Size(batch=8, epochs=2, train=40, test=16, seed=3)
NAMES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


@pytest.fixture(autouse=True)
def nothing_was_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test asks the web as a new process does."""
    monkeypatch.setattr("runner.datasets.IN_VAIN", {})
    monkeypatch.setattr("runner.datasets.TOLD", set())


class Web:
    """A server of files that can cut connections, and what it was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cuts: list[int] = []  # how many bytes each of the next answers gives
        self.asked: list[tuple[str, str | None]] = []  # path and Range
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.answer(self)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        wanted = handler.headers["Range"]
        self.asked.append((handler.path, wanted))
        if handler.path not in self.files:
            handler.send_error(404)
            return
        content = self.files[handler.path]
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if start and start >= len(content):
            handler.send_error(416)
            return
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(content) - start))
        handler.send_header("Content-Encoding", "gzip")  # as some servers say of files that end so
        handler.end_headers()
        end = start + self.cuts.pop(0) if self.cuts else len(content)
        handler.wfile.write(content[start:end])


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setenv("NO_PROXY", "*")
    web = Web()
    thread = threading.Thread(target=web.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield web
    web.server.shutdown()
    web.server.server_close()
    thread.join()


def idx(array: np.ndarray) -> bytes:
    axes = struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(bytes([0, 0, 8, array.ndim]) + axes + array.astype(np.uint8).tobytes())


def mnist_files(train: int = 40, test: int = 16) -> tuple[bytes, ...]:
    stream = np.random.RandomState(0)
    counts = (train, test)
    return tuple(
        idx(stream.randint(256, size=(count, 28, 28)) if kind == "images" else np.arange(count) % 10)
        for count in counts
        for kind in ("images", "labels")
    )


@pytest.fixture
def mnist(web: Web, monkeypatch: pytest.MonkeyPatch) -> Web:
    """A MNIST of few digits, on the server."""
    publish(web, monkeypatch, {web.url: mnist_files()})
    return web


def publish(web: Web, monkeypatch: pytest.MonkeyPatch, folders: dict[str, tuple[bytes, ...]]) -> None:
    """Let MNIST be these files; the last folder has the right ones, and what begins with the server's address is served."""
    for folder, contents in folders.items():
        if folder.startswith(web.url):
            web.files |= {f"/{folder.removeprefix(web.url)}{n}": c for n, c in zip(NAMES, contents, strict=False)}
    right = list(folders.values())[-1]
    files = tuple(
        File(name=name, sha256=hashlib.sha256(content).hexdigest(), folders=tuple(folders))
        for name, content in zip(NAMES, right, strict=True)
    )
    small = msgspec.structs.replace(DATASETS["mnist"], files=files, package=None, train=40, test=16)
    monkeypatch.setitem(DATASETS, "mnist", small)


def taken(cache: Path, data: Any = "real", dataset: str = "mnist", size: Size = SMALL) -> tuple[Samples, list[str]]:
    told: list[str] = []
    return samples_for(cache, dataset, size, data=data, environ={}, tell=told.append), told


def held(samples: Samples) -> dict[str, np.ndarray]:
    with np.load(samples.path) as file:
        return dict(file.items())


def mistake(cache: Path, **asked: Any) -> str:
    with pytest.raises(Mistake) as caught:
        taken(cache, **asked)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Readers


def test_idx_files_are_read(tmp_path: Path) -> None:
    paths = []
    for name, content in zip(NAMES, mnist_files(), strict=True):
        paths.append(tmp_path / name)
        paths[-1].write_bytes(content)
    train, test = read_mnist(*paths)
    assert (train.inputs.shape, train.inputs.dtype) == ((40, 1, 28, 28), np.uint8)
    assert (test.inputs.shape, test.labels.dtype) == ((16, 1, 28, 28), np.int32)
    np.testing.assert_array_equal(train.labels, np.arange(40) % 10)
    np.testing.assert_array_equal(train.inputs[:, 0], np.random.RandomState(0).randint(256, size=(40, 28, 28)))


def test_what_is_no_idx_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "page.gz"
    path.write_bytes(gzip.compress(b"<html>"))
    with pytest.raises(ValueError, match="not an idx file"):
        read_idx(path)


def cifar10_archive(path: Path, each: int = 4) -> np.ndarray:
    """An archive as CIFAR-10's; the bytes of its training images in order."""
    pixels = np.random.RandomState(0).randint(256, size=(6 * each, 3072)).astype(np.uint8)
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    with tarfile.open(path, "w:gz") as tar:

        def add(name: str, value: object) -> None:
            content = pickle.dumps(value, protocol=4)
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))

        add("batches.meta", {b"label_names": [b"airplane"]})
        for number in (3, 5, 0, 1, 4, 2):  # the archive is in no order
            rows = pixels[number * each : (number + 1) * each]
            add(names[number], {b"data": rows, b"labels": [number] * each, b"filenames": [b"a.png"] * each})
    return pixels[: 5 * each]


def test_the_archive_of_cifar10_is_read(tmp_path: Path) -> None:
    pixels = cifar10_archive(tmp_path / "cifar.tar.gz")
    train, test = read_cifar10(tmp_path / "cifar.tar.gz")
    assert (train.inputs.shape, train.inputs.dtype) == ((20, 3, 32, 32), np.uint8)
    np.testing.assert_array_equal(train.inputs.reshape(20, 3072), pixels)
    np.testing.assert_array_equal(train.labels, np.repeat(np.arange(5), 4))
    assert test.labels.tolist() == [5, 5, 5, 5]


def test_a_pickle_of_python_2_is_read() -> None:
    # What Python 2.7.18 and numpy 1.16.6 write, as CIFAR-10's own batches are.
    written = (
        b"\x80\x02}q\x01(U\x0bbatch_labelq\x02U\x15training batch 1 of 5q\x03U\x06labelsq\x04]q\x05(K\x03K\x08eU\x04data"
        b"q\x06cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85U\x01b\x87Rq\t(K\x01K\x02K\x03"
        b"\x86cnumpy\ndtype\nq\nU\x02u1K\x00K\x01\x87Rq\x0b(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U"
        b"\x06\x00\x01\x02\x03\x04\x05tbU\tfilenamesq\x0c]q\r(U\x05a.pngq\x0eU\x05b.pngq\x0feu."
    )
    found = ArraysOnly(io.BytesIO(written), encoding="bytes").load()
    np.testing.assert_array_equal(found[b"data"], [[0, 1, 2], [3, 4, 5]])
    assert found[b"labels"] == [3, 8]


@pytest.mark.parametrize(
    "asked", [b"cposix\nsystem\n(S'true'\ntR.", b"cbuiltins\neval\n(S'1'\ntR.", b"cnumpy\nload\n."]
)
def test_a_pickle_runs_nothing(asked: bytes) -> None:
    with pytest.raises(pickle.UnpicklingError, match="no part of an array"):
        ArraysOnly(io.BytesIO(asked)).load()


def test_keras_npz_of_reviews_is_read(tmp_path: Path) -> None:
    def ragged(*reviews: list[int]) -> np.ndarray:
        array = np.empty(len(reviews), dtype=object)
        array[:] = reviews
        return array

    np.savez(
        tmp_path / "imdb.npz",
        x_train=ragged([1, 2], [4], [5, 6, 7]), y_train=np.array([1, 0, 1]),
        x_test=ragged([8, 9]), y_test=np.array([0]),
    )  # fmt: skip
    train, test = read_imdb(tmp_path / "imdb.npz", tokens=Tokens(words=4, vocabulary=30))
    assert train.inputs.tolist() == [[1, 4, 5, 0], [1, 7, 0, 0], [1, 8, 9, 10]]
    assert (train.inputs.dtype, train.labels.dtype) == (np.int32, np.int32)
    assert train.labels.tolist() == [1, 0, 1]
    assert (test.inputs.tolist(), test.labels.tolist()) == ([[1, 11, 12, 0]], [0])


@pytest.mark.parametrize(
    ("review", "row"),
    [
        ([1, 10], [1, 4, 13, 0, 0]),
        ([], [1, 0, 0, 0, 0]),
        ([1, 2, 3, 4], [1, 4, 5, 6, 7]),
        ([1, 2, 3, 4, 5], [4, 5, 6, 7, 8]),  # the start is cut off too
        ([9, 8, 1, 2, 3, 4, 5], [4, 5, 6, 7, 8]),
        ([16, 17, 99, 1], [1, 19, 2, 2, 4]),  # 17 + 3 is beyond a vocabulary of 20
    ],
)
def test_reviews_become_rows(review: list[int], row: list[int]) -> None:
    assert token_rows([review], Tokens(words=5, vocabulary=20)).tolist() == [row]


# Fetching


def test_real_data_are_fetched_once(mnist: Web, tmp_path: Path) -> None:
    samples, told = taken(tmp_path)
    assert samples.source == "mnist"
    assert any("train-images-idx3-ubyte.gz" in line and "127.0.0.1" in line for line in told)
    assert len(mnist.asked) == 4
    again, told = taken(tmp_path, data="auto")
    assert again == samples
    assert len(mnist.asked) == 4
    assert not told
    other, _ = taken(tmp_path, size=msgspec.structs.replace(SMALL, batch=4))
    assert other.path != samples.path
    assert len(mnist.asked) == 4


def test_a_cut_download_is_resumed(mnist: Web, tmp_path: Path) -> None:
    mnist.cuts = [9000, 500]
    samples, _ = taken(tmp_path)
    assert [wanted for path, wanted in mnist.asked if "train-images" in path] == [None, "bytes=9000-", "bytes=9500-"]
    np.testing.assert_array_equal(held(samples)["train_labels"], np.arange(40) % 10)


def test_what_an_earlier_run_left_is_resumed(mnist: Web, tmp_path: Path) -> None:
    part = tmp_path / "datasets" / "mnist" / f"{NAMES[0]}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(mnist_files()[0][:7000])
    taken(tmp_path)
    assert mnist.asked[0] == (f"/{NAMES[0]}", "bytes=7000-")
    assert not part.exists()


@pytest.mark.parametrize("left", [b"of another file", bytes(100_000)], ids=["shorter", "longer than the file"])
def test_a_part_of_another_file_is_given_up(mnist: Web, tmp_path: Path, left: bytes) -> None:
    part = tmp_path / "datasets" / "mnist" / f"{NAMES[0]}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(left)
    assert taken(tmp_path)[0].source == "mnist"
    assert [wanted for path, wanted in mnist.asked if NAMES[0] in path] == [f"bytes={len(left)}-", None]


def test_a_damaged_file_is_fetched_anew(mnist: Web, tmp_path: Path) -> None:
    taken(tmp_path)
    path = tmp_path / "datasets" / "mnist" / NAMES[2]
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    _, told = taken(tmp_path, size=msgspec.structs.replace(SMALL, seed=4))
    assert any("damaged" in line for line in told)
    assert path.read_bytes() == mnist_files()[2]


def test_the_next_mirror_is_asked(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(web, monkeypatch, {f"{web.url}gone/": (), f"{web.url}forged/": mnist_files(30), web.url: mnist_files()})
    assert taken(tmp_path)[0].source == "mnist"


def test_a_wrong_checksum_is_no_data(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(web, monkeypatch, {web.url: mnist_files(30), f"{web.url}gone/": mnist_files()})
    web.files = {path: content for path, content in web.files.items() if "gone" not in path}
    said = mistake(tmp_path)
    assert "checksum" in said
    assert "answered 404" in said
    assert not list((tmp_path / "datasets" / "mnist").iterdir())
    assert taken(tmp_path, data="auto")[0].source == "synthetic"


@pytest.fixture
def no_network(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(web, monkeypatch, {"http://127.0.0.1:1/": mnist_files()})


@pytest.mark.usefixtures("no_network")
def test_without_a_network_data_are_synthetic_and_that_is_said(tmp_path: Path) -> None:
    samples, told = taken(tmp_path, data="auto")
    assert samples.source == "synthetic"
    assert len(told) == 1
    assert "synthetic" in told[0]
    assert "127.0.0.1 cannot be reached" in told[0]
    assert taken(tmp_path, data="synthetic") == (samples, [])


@pytest.mark.usefixtures("no_network")
def test_without_a_network_real_data_are_a_mistake_that_says_what_to_do(tmp_path: Path) -> None:
    said = mistake(tmp_path)
    assert NAMES[0] in said
    assert str(tmp_path / "datasets" / "mnist") in said
    assert "synthetic" in said


@pytest.mark.usefixtures("no_network")
def test_files_put_there_by_hand_are_enough(tmp_path: Path) -> None:
    folder = tmp_path / "datasets" / "mnist"
    folder.mkdir(parents=True)
    for name, content in zip(NAMES, mnist_files(), strict=True):
        (folder / name).write_bytes(content)
    assert taken(tmp_path, data="auto")[0].source == "mnist"


# Samples


def test_the_guest_reads_the_samples(tmp_path: Path) -> None:
    samples, _ = taken(tmp_path, "synthetic", "mnist-256")
    batches = list(guest_training().Samples(str(samples.path)).training_batches())
    arrays = held(samples)
    assert len(batches) == 10
    inputs, labels = batches[3]
    rows = arrays["order"][3]
    assert (inputs.shape, inputs.dtype) == ((8, 1, 28, 28), np.float32)
    np.testing.assert_allclose(inputs, arrays["train_inputs"][rows] / 256)
    np.testing.assert_array_equal(labels, arrays["train_labels"][rows])


def guest_training() -> ModuleType:
    spec = importlib.util.spec_from_file_location("training", ROOT / "images" / "guest" / "training.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("dataset", "shape", "dtype", "classes"),
    [
        ("cifar10", (3, 32, 32), np.uint8, 10),
        ("cifar10-centred", (3, 32, 32), np.uint8, 10),
        ("mnist", (1, 28, 28), np.uint8, 10),
        ("mnist-256", (1, 28, 28), np.uint8, 10),
        ("imdb", (150,), np.int32, 2),
    ],
)
def test_a_samples_file_holds_what_was_promised(
    tmp_path: Path, dataset: str, shape: tuple[int, ...], dtype: type, classes: int
) -> None:
    arrays = held(taken(tmp_path, "synthetic", dataset)[0])
    types = {name: array.dtype for name, array in arrays.items()}
    assert types == {
        "train_inputs": dtype, "train_labels": np.int32, "test_inputs": dtype, "test_labels": np.int32,
        "order": np.int32, "scale": np.float32, "mean": np.float32,
    }  # fmt: skip
    assert arrays["train_inputs"].shape == (40, *shape)
    assert arrays["test_inputs"].shape == (16, *shape)
    assert arrays["train_labels"].shape == (40,)
    assert arrays["mean"].shape == (shape if dataset == "cifar10-centred" else ())
    assert arrays["scale"] == np.float32({"mnist-256": 1 / 256, "imdb": 1}.get(dataset, 1 / 255))
    assert set(arrays["train_labels"]) <= set(range(classes))


def test_centred_images_have_no_mean(tmp_path: Path) -> None:
    arrays = held(taken(tmp_path, "synthetic", "cifar10-centred")[0])
    seen = arrays["train_inputs"].astype(np.float32) * arrays["scale"] - arrays["mean"]
    np.testing.assert_allclose(seen.mean(axis=0), 0, atol=1e-6)


def test_real_centred_images_are_those_of_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "datasets" / "cifar10"
    folder.mkdir(parents=True)
    pixels = cifar10_archive(folder / "cifar.tar.gz", each=8)
    sha256 = hashlib.sha256((folder / "cifar.tar.gz").read_bytes()).hexdigest()
    files = (File(name="cifar.tar.gz", sha256=sha256, folders=()),)
    small = msgspec.structs.replace(DATASETS["cifar10-centred"], files=files, train=40, test=8)
    monkeypatch.setitem(DATASETS, "cifar10-centred", small)
    samples, _ = taken(tmp_path, "real", "cifar10-centred", Size(batch=8, epochs=1, seed=1))
    arrays = held(samples)
    assert samples.source == "cifar10"
    np.testing.assert_array_equal(arrays["train_inputs"].reshape(40, 3072), pixels)
    np.testing.assert_allclose(arrays["mean"].ravel(), (pixels / 255).mean(axis=0), rtol=1e-6)


def test_epochs_are_shuffled_anew_and_end_full(tmp_path: Path) -> None:
    def order(**changes: int) -> np.ndarray:
        size = msgspec.structs.replace(SMALL, **{"train": 35} | changes)
        return held(taken(tmp_path, "synthetic", size=size)[0])["order"]

    first, second = order().reshape(2, 4 * 8)  # three rows of 35 do not fill a batch
    assert len(set(first)) == len(set(second)) == 32
    assert first.tolist() != second.tolist()
    assert set(first) | set(second) <= set(range(35))
    stream = np.random.RandomState(3)
    np.testing.assert_array_equal(first, stream.permutation(35)[:32])
    np.testing.assert_array_equal(second, stream.permutation(35)[:32])
    np.testing.assert_array_equal(order(epochs=1).ravel(), first)
    assert order(seed=4).ravel().tolist() != [*first, *second]


def test_more_shifted_images_than_memory_holds_are_a_mistake(tmp_path: Path) -> None:
    size = Size(batch=8, epochs=100, train=50_000, test=16, augmented=True)
    said = mistake(tmp_path, data="synthetic", dataset="cifar10", size=size)
    assert said == "100 epochs of 50000 shifted images of cifar10 take more than 8 GiB; ask for fewer"


def test_augmented_images_are_shifted_and_flipped_anew_in_each_epoch(tmp_path: Path) -> None:
    plain = held(taken(tmp_path, "synthetic", dataset="cifar10")[0])
    augmented = held(
        taken(tmp_path, "synthetic", dataset="cifar10", size=msgspec.structs.replace(SMALL, augmented=True))[0]
    )
    first, second = np.split(augmented["train_inputs"], 2)
    assert first.tolist() != second.tolist()
    rows = augmented["order"].reshape(2, -1)
    np.testing.assert_array_equal(rows - [[0], [SMALL.train]], plain["order"].reshape(2, -1))
    np.testing.assert_array_equal(augmented["train_labels"], np.tile(plain["train_labels"], 2))
    np.testing.assert_array_equal(augmented["test_inputs"], plain["test_inputs"])
    seen = set()
    for image, source in zip(first, plain["train_inputs"], strict=True):
        inner = image[:, 3:-3, 3:-3]  # 32 pixels move by up to three
        found = [
            (turn, down, right)
            for turn in (1, -1)
            for down in range(-3, 4)
            for right in range(-3, 4)
            if np.array_equal(inner, np.roll(source, (-down, -right), axis=(1, 2))[:, :, ::turn][:, 3:-3, 3:-3])
        ]
        assert found
        seen.add(found[0])
    assert {turn for turn, _, _ in seen} == {1, -1}
    assert len(seen) > SMALL.train / 4


def test_the_same_request_gives_the_same_samples_anywhere(tmp_path: Path) -> None:
    here, there = taken(tmp_path / "here", "synthetic")[0], taken(tmp_path / "there", "synthetic")[0]
    assert here.digest == there.digest
    assert len(here.digest) == 16
    other = taken(tmp_path / "here", "synthetic", size=msgspec.structs.replace(SMALL, seed=4))[0]
    assert other.digest != here.digest


@pytest.mark.parametrize("damage", [lambda b: b[:-100], lambda b: b[:3000] + b"?" + b[3001:], lambda b: b""])
def test_a_damaged_samples_file_is_made_anew(tmp_path: Path, damage: Any) -> None:
    samples, _ = taken(tmp_path, "synthetic")
    samples.path.write_bytes(damage(samples.path.read_bytes()))
    assert taken(tmp_path, "synthetic")[0] == samples
    assert held(samples)["order"].shape == (10, 8)
    assert [path.name for path in (tmp_path / "samples").iterdir()] == [samples.path.name]


def test_fewer_than_all_are_chosen_by_the_seed(mnist: Web, tmp_path: Path) -> None:
    def labels(seed: int) -> list[int]:
        size = Size(batch=5, epochs=1, train=10, test=5, seed=seed)
        labels: list[int] = held(taken(tmp_path, size=size)[0])["train_labels"].tolist()
        return labels

    assert len(labels(1)) == 10
    assert labels(1) != labels(2)
    assert labels(1) != [row % 10 for row in range(10)]  # not just the first


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"dataset": "cifar-10"}, "perhaps 'cifar10'"),
        ({"size": Size(batch=64, epochs=1, train=40)}, "40 samples of mnist to train with fill no batch of 64"),
        ({"size": Size(batch=64, epochs=1, train=64, test=40)}, "40 samples of mnist to test with fill no batch of 64"),
        ({"size": Size(batch=8, epochs=1, train=60_001)}, "mnist has 60000 samples to train with, and 60001 are asked"),
        ({"size": Size(batch=0, epochs=1)}, "batch = 0"),
        ({"dataset": "imdb", "size": Size(batch=8, epochs=1, augmented=True)}, "imdb has no images"),
    ],
)
def test_an_impossible_size_is_a_mistake(tmp_path: Path, asked: dict[str, Any], said: str) -> None:
    assert said in mistake(tmp_path, data="synthetic", **asked)


def test_a_cache_that_cannot_be_written_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    assert "cannot keep data" in mistake(tmp_path / "cache", data="synthetic")


# Synthetic data can be learnt, and are not learnt at once


def least_squares(arrays: dict[str, np.ndarray], features: Any, classes: int) -> float:
    """The share of the test samples that a linear map of these features tells right."""

    def part(name: str) -> np.ndarray:
        found: np.ndarray = features(arrays[f"{name}_inputs"])
        return np.hstack([found, np.ones((len(found), 1))])

    inputs, wanted = part("train"), np.eye(classes)[arrays["train_labels"]]
    weights = np.linalg.solve(inputs.T @ inputs + 100 * np.eye(inputs.shape[1]), inputs.T @ wanted)
    return float(np.mean(np.argmax(part("test") @ weights, axis=1) == arrays["test_labels"]))


def test_synthetic_images_can_be_learnt(tmp_path: Path) -> None:
    size = Size(batch=32, epochs=1, train=2000, test=1000, seed=1)
    arrays = held(taken(tmp_path, "synthetic", "mnist", size)[0])
    share = least_squares(arrays, lambda images: images.reshape(len(images), -1) / 255 - 0.5, 10)
    assert 0.3 < share < 0.97


def test_synthetic_reviews_can_be_learnt(tmp_path: Path) -> None:
    size = Size(batch=32, epochs=1, train=2000, test=1000, seed=1)
    arrays = held(taken(tmp_path, "synthetic", "imdb", size)[0])

    def counts(rows: np.ndarray) -> np.ndarray:
        return np.stack([np.bincount(row[row < 2010], minlength=2010) for row in rows])

    train, labels = counts(arrays["train_inputs"]), arrays["train_labels"]
    ratios = np.log((train[labels == 1].sum(axis=0) + 1) / (train[labels == 0].sum(axis=0) + 1))
    share = np.mean((counts(arrays["test_inputs"]) @ ratios > 0) == arrays["test_labels"])
    assert 0.65 < share < 0.97
