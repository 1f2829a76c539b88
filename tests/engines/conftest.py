"""A real Docker engine with stand-ins for the official bases; started by tests/engines/start-docker.sh."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from checkouts import ROOT, checkout
from standins import RUNC, configurable_daemon, nvidia_runtime

from runner.engines.choice import build_settings
from runner.engines.docker import Connection, DockerEngine, connected
from runner.paths import TURN_VARIABLE, Paths
from runner.reading import read_catalog

HERE = ROOT / "tests" / "engines"

# The background job of a shell ignores it, and so would every command that a test starts and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def turn(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The runners of these tests wait for no other runner of this machine."""
    os.environ[TURN_VARIABLE] = str(tmp_path_factory.getbasetemp() / "turn")


@pytest.fixture(scope="session")
def connection() -> Connection:
    """An engine that answers. Where none does, that fails under CI and is a skip elsewhere."""
    found = connected(os.environ)
    if found.client is None and os.environ.get("CI"):
        pytest.fail(f"no Docker engine: {found.remedy}")
    if found.client is None:
        pytest.skip(f"no Docker engine ({found.remedy}); start one with: sudo tests/engines/start-docker.sh")
    subprocess.run([sys.executable, str(HERE / "make-bases.py"), "3.6", "3.8", "3.11"], check=True, timeout=600)
    return found


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return checkout(tmp_path, runnable=True)


@pytest.fixture
def engine(connection: Connection, paths: Paths) -> DockerEngine:
    return DockerEngine(read_catalog(paths), paths, connection, build_settings(os.environ))


@pytest.fixture
def client(connection: Connection) -> Any:
    return connection.client


@pytest.fixture
def register_nvidia(client: Any) -> Iterator[Callable[..., None]]:
    """Registers a program as the engine's runtime `nvidia` until the test ends."""
    if not configurable_daemon():
        give_up = pytest.fail if os.environ.get("CI") else pytest.skip
        give_up("not our daemon to configure, or /etc/docker/daemon.json is in the way")
    with ExitStack() as stack:
        yield lambda program=RUNC: stack.enter_context(nvidia_runtime(client, str(program)))
