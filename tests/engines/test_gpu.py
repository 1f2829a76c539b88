"""A machine with a GPU, played by stand-ins for NVIDIA's management library and for its runtime of the Docker engine."""

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from checkouts import ROOT, checkout
from standins import H100, RUNC, V100, Card, machine_with

from runner import hardware
from runner.cells import Cell
from runner.dockerfiles import read_bases
from runner.engines import Launch, Prepared
from runner.engines.docker import DockerEngine
from runner.expand import expand
from runner.hardware import Gpu, Survey, read_hardware
from runner.paths import Paths, checkout_paths
from runner.reading import read_catalog
from runner.recipes import recipe_for

pytestmark = pytest.mark.xdist_group("docker")

PATHS = checkout_paths()
CATALOG = read_catalog(PATHS)
LOST = Card("Tesla V100-SXM2-16GB", "7.0", handle=15)
HOOK = (  # what an engine says, NVIDIA/nvidia-container-toolkit#2028
    "runc create failed: unable to start container process: error during container init: error running createContainer "
    'hook #6: exit status 1, stdout: , stderr: time="2026-08-26T21:50:49Z" level=error msg="failed to create '
    'application profiles directory: mkdirat etc/nvidia/nvidia-application-profiles-rc.d: {}"'
)


def ran(paths: Paths, machine: dict[str, str], *argv: str) -> "subprocess.CompletedProcess[str]":
    """A command in a checkout on that machine."""
    environ = dict(os.environ) | machine
    return subprocess.run(argv, cwd=paths.root, env=environ, capture_output=True, text=True, timeout=550, check=False)


def said_by_doctor(paths: Paths, machine: dict[str, str]) -> list[tuple[bool, str, str]]:
    code = (
        "import msgspec; from runner.doctor import gpu; from runner.paths import checkout_paths;"
        "print(msgspec.json.encode([(f.fine, f.text, f.remedy) for f in gpu(checkout_paths())]).decode())"
    )
    done = ran(paths, machine, sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    return [(fine, text, remedy) for fine, text, remedy in json.loads(done.stdout)]


def test_doctor_names_each_gpu_and_what_is_wrong_with_one(paths: Paths, tmp_path: Path) -> None:
    old = Card("Tesla C2050", "2.0", capability_code=3)
    shared = Card("NVIDIA GB10", "12.1", memory_code=3)
    found = said_by_doctor(paths, machine_with(tmp_path, LOST, old, shared, H100))
    assert [(fine, text) for fine, text, _ in found] == [
        (True, "NVIDIA GB10, its memory not told, compute capability 12.1, driver 580.82.07: CUDA up to 13.0.1"),
        (True, "NVIDIA H100 80GB HBM3, 80 GiB, compute capability 9.0, driver 580.82.07: CUDA up to 13.0.1"),
        (False, "GPU 0 cannot be used: GPU is lost"),
        (False, "GPU 1 (Tesla C2050) cannot be used: Not Supported"),
    ]
    assert [remedy for _, _, remedy in found][2:] == [
        "the GPU fell off the bus: see dmesg, then reboot",
        "the driver tells no compute capability of it, so it is too old for any CUDA here",
    ]


@pytest.mark.parametrize(
    ("init", "remedy"),
    [(18, "reboot"), (4, "ls -l /dev/nvidia*"), (9, "modprobe nvidia"), (999, "nvidia-smi")],
    ids=["another version", "no permission", "not loaded", "unknown"],
)
def test_a_driver_that_does_not_answer_is_one_line_with_the_next_step(
    paths: Paths, tmp_path: Path, init: int, remedy: str
) -> None:
    ((fine, text, said),) = said_by_doctor(paths, machine_with(tmp_path, H100, init=init))
    assert (fine, text.partition(":")[0]) == (False, "the NVIDIA driver does not answer")
    assert remedy in said
    done = ran(
        paths, machine_with(tmp_path, H100, init=init), sys.executable, "-m", "runner",
        "cell", "torch-2.13", "--device", "gpu", "--engine", "venv",
    )  # fmt: skip
    assert done.returncode == 3
    assert f"torch-2.13 cannot run here: {text}; {said}" in done.stderr.splitlines()[-1]


def test_list_does_not_load_the_management_library(paths: Paths) -> None:
    done = ran(paths, {}, sys.executable, "-X", "importtime", "-m", "runner", "list", "--device", "gpu")
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "runner.reading" in loaded
    assert "pynvml" not in loaded


@pytest.fixture
def clone(tmp_path: Path) -> Paths:
    """What a fresh clone has: the files under version control as they are now, and nothing that was made beside them."""
    root = tmp_path / "clone"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.split("\0"):
        if (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, root / name)
    return Paths(root=root, cache=tmp_path / "cache")


@pytest.fixture
def all_bases(client: Any) -> Iterator[None]:
    """Every base image is there, by name: what the images hold is of no account where nothing is built."""
    missing = [base.reference for base in read_bases(PATHS).bases if not client.images.list(base.reference)]
    for reference in missing:
        client.images.get("python:3.11-slim").tag(reference)
    yield
    for reference in missing:
        client.images.remove(reference)


@pytest.mark.parametrize(
    ("card", "some", "none"),
    [(H100, "torch-2.13", "tf-1.8-nhwc"), (V100, "tf-1.8-nhwc", "torch-2.13")],
    ids=["H100", "V100"],
)
def test_the_command_of_the_readme_plans_every_cell_that_the_card_can_run(
    clone: Paths,
    all_bases: None,
    register_nvidia: Callable[..., None],
    tmp_path: Path,
    card: Card,
    some: str,
    none: str,
) -> None:
    register_nvidia()
    words = " ".join((clone.root / "README.md").read_text().split())
    (arguments,) = re.findall(r'make matrix ARGS="(--device gpu[^"]*)"', words)
    made = environment_of_this_interpreter(tmp_path)
    done = ran(
        clone, machine_with(tmp_path, card), "make", "matrix", f"VENV={made}", f"ARGS={arguments} --dry-run"
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "engine: docker" in done.stderr
    planned = set(re.findall(r"^would run (\S+) ", done.stdout, re.MULTILINE))
    refused = re.findall(r"^skipped (\S+) [^:]*: (.*)", done.stdout, re.MULTILINE)
    assert planned == cells_for(card)
    assert some in planned
    assert none not in planned
    for cell, reason in refused:
        gate = "compute capability" in reason or "needs driver" in reason
        assert gate or reason == CATALOG.reason_against(CATALOG.cell(cell), "gpu")


def environment_of_this_interpreter(folder: Path) -> Path:
    """A stand-in for the environment that make makes, since to make it takes a minute."""
    made = folder / "venv"
    (made / "bin").mkdir(parents=True)
    (made / "bin" / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (made / "bin" / "python").chmod(0o755)
    (made / "ready").touch()
    return made


def cells_for(card: Card) -> set[str]:
    """The cells of the published protocol that neither the catalogue nor their CUDA keeps from a card."""
    one = Gpu(index=0, name=card.name, capability=card.capability, driver="580.82.07")
    tables = read_hardware(PATHS)

    def able(cell: Cell) -> bool:
        stack = CATALOG.release(cell.release).gpu
        return bool(stack) and not (stack.cuda and tables.reason_against(stack.cuda, one))

    jobs = expand(CATALOG, (), (), "paper", "gpu")
    return {job.cell.id for job in jobs if CATALOG.reason_against(job.cell, "gpu") is None and able(job.cell)}


@pytest.mark.parametrize("way", [None, "cdi", "runtime"])
def test_a_container_is_asked_for_with_the_gpu_that_was_chosen(
    engine: DockerEngine,
    register_nvidia: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    way: str | None,
) -> None:
    register_nvidia()
    engine.gpu_way = way
    chosen = Gpu(index=2, name="NVIDIA H100", capability="9.0", driver="580.82.07")
    monkeypatch.setattr(hardware, "survey", lambda: Survey(gpus=(chosen,)))
    recipe = recipe_for(engine.catalog, engine.paths, "torch-2.13", "gpu")
    launch = Launch(
        folder=tmp_path, log=tmp_path / "log", environment={}, threads=1, timeout_seconds=1.0, on_event=lambda _: None
    )  # fmt: skip
    prepared = Prepared(recipe=recipe, place="python:3.11-slim", key="")
    container = engine.client.containers.create(prepared.place, **engine.limits(prepared, launch))
    try:
        container.reload()
        config = container.attrs
    finally:
        container.remove(v=True)
    assert "NVIDIA_VISIBLE_DEVICES=2" in config["Config"]["Env"]
    requests = [
        (asked["Driver"], asked["DeviceIDs"], asked["Capabilities"] or [])
        for asked in config["HostConfig"]["DeviceRequests"] or ()
    ]
    assert (config["HostConfig"]["Runtime"], requests) == {
        None: ("runc", [("", ["2"], [["gpu"]])]),
        "cdi": ("runc", [("cdi", ["nvidia.com/gpu=2"], [])]),
        "runtime": ("nvidia", []),
    }[way]


TINY = """
framework = "tiny"
title = "Tiny"

[releases.tiny-1]
title = "Tiny 1"
version = "1.0"
adapter = "tiny"
module = "numpy"
python = "3.11"
[releases.tiny-1.gpu]
cuda = "11.8"
cuda_in_wheels = true
requirements = ["numpy==2.4.6"]
"""

ON_TINY = """
from __future__ import absolute_import, division, print_function

import os

from adapter import Unsupported
from on_numpy import OnNumpy


class OnTiny(OnNumpy):
    def build(self, layers, weights):
        seen = os.environ.get("NVIDIA_VISIBLE_DEVICES", "none"), os.environ.get("CUDA_VISIBLE_DEVICES", "none")
        raise Unsupported("Tiny sees no CUDA device (%s in a container, %s outside)" % seen)


ADAPTER = OnTiny
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Paths:
    """A checkout with a framework of its own, small and for a GPU alone, that finds none."""
    paths = checkout(tmp_path, runnable=True)
    paths.images.unlink()
    shutil.copytree(ROOT / "images", paths.images, ignore=shutil.ignore_patterns("__pycache__"))
    (paths.matrix / "frameworks" / "tiny.toml").write_text(TINY)
    (paths.guest / "on_tiny.py").write_text(ON_TINY)
    (paths.images / "tiny.Dockerfile.j2").write_text('{% extends "base.Dockerfile.j2" %}\n')
    shutil.copy(paths.locks / "numpy-2-cpu.txt", paths.locks / "tiny-1-gpu.txt")
    suite = paths.matrix / "suites" / "small.toml"
    suite.write_text(suite.read_text() + '\n[[rows]]\nreleases = ["tiny-1"]\n')
    return paths


class Runtime:
    """A program that stands in for NVIDIA's runtime: it notes what it is to create, and may refuse a read-only root."""

    def __init__(self, folder: Path, refusal: str) -> None:
        self.notes, self.program = folder / "notes", folder / "nvidia-container-runtime"
        code = f"""\
            #!{sys.executable}
            import json, os, sys
            given, refusal = sys.argv[1:], {refusal!r}
            if "create" in given:
                with open(given[given.index("--bundle") + 1] + "/config.json") as file:
                    config = json.load(file)
                with open({str(self.notes)!r}, "a") as file:
                    file.write(json.dumps([bool(config["root"].get("readonly")), config["process"]["env"]]) + "\\n")
                if refusal and config["root"].get("readonly"):
                    with open(given[given.index("--log") + 1], "a") as file:
                        file.write(json.dumps(dict(level="error", msg=refusal, time="2026-08-26T21:50:49Z")) + "\\n")
                    sys.exit(1)
            os.execv({RUNC!r}, [{RUNC!r}, *given])
            """
        self.program.write_text(textwrap.dedent(code))
        self.program.chmod(0o755)

    def read_only_roots(self) -> list[bool]:
        return [json.loads(line)[0] for line in self.notes.read_text().splitlines()]


def matrix(paths: Paths, machine: dict[str, str], *words: str) -> "subprocess.CompletedProcess[str]":
    argv = ("matrix", "small", "--device", "gpu", "--filter", "tiny-1", *words)
    return ran(paths, machine, sys.executable, "-m", "runner", *argv)


def records(paths: Paths) -> list[Any]:
    found = sorted(paths.results.glob("*/small/tiny-1/quick-gpu-*.json"))
    return [json.loads(path.read_text()) for path in found if not path.stem.endswith("skipped")]


def test_a_run_ends_in_the_frameworks_own_word(
    tiny: Paths, connection: Any, register_nvidia: Callable[..., None], tmp_path: Path
) -> None:
    """The second card is chosen, since the first is lost; in the container there is neither."""
    runtime = Runtime(tmp_path, "")
    register_nvidia(runtime.program)
    done = matrix(tiny, machine_with(tmp_path, LOST, H100), "--engine", "docker", "--launches", "1")
    assert done.returncode == 0, done.stderr
    (record,) = records(tiny)
    word = "Tiny sees no CUDA device (1 in a container, none outside)"
    assert (record["fate"], record["reason"]) == ("unsupported", word)
    assert f"unsupported: {word}" in done.stdout
    assert runtime.read_only_roots() == [True]
    assert "root" not in record["facts"]["exit"]


def test_outside_containers_a_guest_is_shown_the_chosen_gpu_alone(tiny: Paths, tmp_path: Path) -> None:
    done = matrix(tiny, machine_with(tmp_path, LOST, H100), "--engine", "venv", "--launches", "1")
    assert done.returncode == 0, done.stderr
    (record,) = records(tiny)
    assert record["reason"] == "Tiny sees no CUDA device (none in a container, 1 outside)"


def test_a_hook_that_needs_a_writable_root_gets_it_and_the_record_says_so(
    tiny: Paths, connection: Any, register_nvidia: Callable[..., None], tmp_path: Path
) -> None:
    runtime = Runtime(tmp_path, HOOK.format("read-only file system"))
    register_nvidia(runtime.program)
    done = matrix(tiny, machine_with(tmp_path, H100), "--engine", "docker", "--launches", "3")
    assert done.returncode == 0, done.stderr
    assert runtime.read_only_roots() == [True, False, False, False]
    assert done.stdout.count("NVIDIA's hook fails on a container's read-only root") == 1
    found = records(tiny)
    assert [record["fate"] for record in found] == ["unsupported"] * 3
    for record in found:
        assert record["facts"]["exit"]["root"] == "writable"
        assert "application-profiles-rc.d: read-only file system" in record["facts"]["exit"]["refusal"]


def test_any_other_refusal_stays_one(
    tiny: Paths, connection: Any, register_nvidia: Callable[..., None], tmp_path: Path
) -> None:
    runtime = Runtime(tmp_path, HOOK.format("no space left in its heart"))
    register_nvidia(runtime.program)
    done = matrix(tiny, machine_with(tmp_path, H100), "--engine", "docker", "--launches", "1")
    assert done.returncode == 4
    assert runtime.read_only_roots() == [True]
    (record,) = records(tiny)
    assert record["fate"] == "crashed"
    assert "no space left in its heart" in record["reason"]
    assert "root" not in record["facts"]["exit"]
