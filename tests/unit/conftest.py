"""Unit tests are pure: whoever starts a process here fails."""

import subprocess
from pathlib import Path

import pytest
from checkouts import checkout

from runner.catalog import Catalog
from runner.paths import Paths
from runner.reading import read_catalog


@pytest.fixture(autouse=True)
def no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        pytest.fail(f"a unit test started a process: {args}")

    monkeypatch.setattr(subprocess, "Popen", refuse)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return checkout(tmp_path)


@pytest.fixture
def catalog(paths: Paths) -> Catalog:
    return read_catalog(paths)
