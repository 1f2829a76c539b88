"""Stand-ins for what a machine with a GPU has: NVIDIA's management library, and NVIDIA's runtime for the Docker engine."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from checkouts import ROOT

DAEMON_CONFIG = Path("/etc/docker/daemon.json")
DAEMON_PID = Path("/var/run/docker.pid")
RUNC = shutil.which("runc", path="/usr/sbin:/usr/bin") or "runc"


class Card(msgspec.Struct, frozen=True):
    """A GPU as the stand-in describes it; the last three are NVML's codes, 0 for success."""

    name: str
    capability: str
    bytes: int = 16 * 2**30
    handle: int = 0
    capability_code: int = 0
    memory_code: int = 0

    def in_words(self) -> str:
        major, minor = self.capability.split(".")
        codes = f"{self.handle}|{self.capability_code}|{self.memory_code}"
        return f"{self.name}|{major}|{minor}|{self.bytes}|{codes};"


H100 = Card("NVIDIA H100 80GB HBM3", "9.0", 80 * 2**30)
V100 = Card("Tesla V100-SXM2-16GB", "7.0")


def machine_with(folder: Path, *cards: Card, driver: str = "580.82.07", init: int = 0) -> dict[str, str]:
    """The variables under which a process finds a driver with these cards; its library is compiled into `folder`."""
    library = folder / "libnvidia-ml.so.1"
    if not library.exists():
        source = ROOT / "tests" / "engines" / "stand-ins" / "nvml.c"
        subprocess.run(["gcc", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    described = "".join(card.in_words() for card in cards)
    return {"LD_LIBRARY_PATH": str(folder), "NVML_INIT": str(init), "NVML_DRIVER": driver, "NVML_CARDS": described}


def configurable_daemon() -> bool:
    """Whether the Docker engine here is ours to configure."""
    return os.getuid() == 0 and not DAEMON_CONFIG.exists() and DAEMON_PID.exists()


@contextmanager
def nvidia_runtime(client: Any, program: str = RUNC) -> Iterator[None]:
    """Register a program as the engine's runtime `nvidia`; runc itself will do, which NVIDIA's is with a hook."""
    DAEMON_CONFIG.parent.mkdir(exist_ok=True)
    try:
        configure(client, {"nvidia": {"path": program}})
        yield
    finally:
        configure(client, {})
        DAEMON_CONFIG.unlink()


def configure(client: Any, runtimes: dict[str, Any]) -> None:
    DAEMON_CONFIG.write_text(json.dumps({"runtimes": runtimes}))
    os.kill(int(DAEMON_PID.read_text()), signal.SIGHUP)
    until(lambda: ("nvidia" in client.info()["Runtimes"]) == ("nvidia" in runtimes))


def until(true: Callable[[], Any], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.1)
