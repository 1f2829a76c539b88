"""The command line in a checkout of its own, as a person uses it: real processes, the host and the venv engine."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from checkouts import ROOT, checkout

from runner.engines.choice import docker_is_installed
from runner.paths import Paths

HOST = ("--engine", "host", "--filter", "numpy-2")


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return checkout(tmp_path, runnable=True)


def command(
    paths: Paths, *words: str, under: tuple[str, ...] = (), environ: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    environ = environ or os.environ | {"XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))}
    return subprocess.Popen(
        [*under, sys.executable, "-m", "runner", *words],
        cwd=paths.root,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ran(paths: Paths, *words: str, environ: dict[str, str] | None = None) -> tuple[int, str, str]:
    with command(paths, *words, environ=environ) as process:
        out, err = process.communicate(timeout=500)
    return process.returncode, out, err


def test_a_matrix_runs_and_running_it_again_runs_nothing(paths: Paths) -> None:
    code, out, err = ran(paths, "matrix", "small", *HOST)
    assert (code, err) == (0, "")
    assert "numpy-2 small #2" in out
    assert "| `numpy-2`" in (paths.reports / "small.md").read_text()
    code, out, _ = ran(paths, "matrix", "small", *HOST)
    assert code == 0
    assert "0 jobs to run (0 launches), 1 current" in out


def test_a_truncated_record_is_named_and_its_launch_runs_again(paths: Paths) -> None:
    assert ran(paths, "matrix", "small", *HOST)[0] == 0
    (record,) = paths.results.glob("*/small/numpy-2/quick-cpu-host-2.json")
    record.write_bytes(record.read_bytes()[:300])
    code, out, err = ran(paths, "matrix", "small", *HOST)
    assert code == 0
    assert "1 jobs to run (1 launches), 0 current" in out
    (line,) = err.splitlines()
    assert line.startswith(f"{paths.shown(record)} is left out: it is damaged (")
    assert ran(paths, "report") == (0, "reports/small.md\n", "")


@pytest.mark.parametrize(
    ("under", "sent"),
    [((), signal.SIGINT), (("env", "--ignore-signal=INT"), signal.SIGTERM)],
    ids=["ctrl-c", "SIGTERM to a background job"],
)
def test_an_interrupt_ends_the_guest_at_once_and_keeps_what_is_done(
    paths: Paths, under: tuple[str, ...], sent: signal.Signals
) -> None:
    suite = paths.matrix / "suites" / "small.toml"
    suite.write_text(suite.read_text().replace("blocks = 3", "blocks = 3, warm_up_seconds = 8.0"))
    with command(paths, "matrix", "small", *HOST, under=under) as process:
        assert process.stdout
        for line in process.stdout:
            if "numpy-2 small #2: running: starting" in line:
                break
        time.sleep(1)
        guests = psutil.Process(process.pid).children(recursive=True)
        assert guests
        process.send_signal(sent)
        start = time.monotonic()
        assert process.wait(10) == 130
        assert time.monotonic() - start < 2
        assert process.stderr
        assert "finished launches are kept" in process.stderr.read()
    assert not any(guest.is_running() for guest in guests)
    records = list(paths.results.glob("*/small/numpy-2/*.json"))
    assert [path.name for path in records] == ["quick-cpu-host-1.json"]
    assert json.loads(records[0].read_text())["fate"] == "ok"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("cell", "tf-1.8-nchw"), 3, "NHWC only; the nearest cell that does: python -m runner cell tf-1.8-nhwc"),
        (("cell", "tf-1.8-ncwh"), 2, "perhaps 'tf-1.8-nchw'"),
        (("cell", "tf-1.8-nhwc", "--engine", "host"), 3, "this interpreter has no tensorflow; use --engine venv"),
        (("matrix", "smal"), 2, "perhaps 'small'"),
        (("matrix", "--filter", "xyz*"), 2, "no cell matches 'xyz*'"),
        (("network", "vgg61"), 2, "perhaps 'vgg16'"),
        (("publish", "nowhere.md"), 2, "cannot read nowhere.md"),
        (("reference", "smal"), 2, "perhaps 'small'"),
    ],
)
def test_a_mistake_is_one_line_with_the_next_step(paths: Paths, words: tuple[str, ...], code: int, said: str) -> None:
    found, out, err = ran(paths, *words)
    assert found == code, err
    assert said in err
    assert err.count("\n") == 1
    assert out == ""


def test_a_cell_in_json_is_a_whole_record(paths: Paths) -> None:
    code, out, _ = ran(paths, "cell", "numpy-2", "--engine", "host", "--json")
    record = json.loads(out)
    assert (code, record["fate"], record["schema"]) == (0, "ok", 1)
    assert len(record["samples"]) == 3
    assert record["witness_error"] < 1e-9  # float64 of another processor's instructions differs in its last digits


def test_list_answers_at_once(paths: Paths) -> None:
    """What takes long to import is not; how long the rest takes is this machine's affair."""
    told = [sys.executable, "-X", "importtime", "-m", "runner", "list", "--json"]
    done = subprocess.run(told, cwd=paths.root, capture_output=True, text=True, check=True, timeout=120)
    assert {"cell", "suites", "reason_against"} <= set(json.loads(done.stdout)[0])
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert {"click", "msgspec"} <= imported
    assert not imported & {"numpy", "rich", "docker", "requests", "jinja2", "findpython", "psutil", "uv", "tabulate"}


def test_a_virtual_environment_is_made_from_its_lock_and_shared(paths: Paths) -> None:
    code, _, err = ran(paths, "matrix", "small", "--engine", "venv", "--filter", "numpy-2", "--launches", "1")
    assert code == 0, err
    (record,) = paths.results.glob("*/small/numpy-2/quick-cpu-venv-1.json")
    facts = json.loads(record.read_text())["facts"]
    assert facts["guest"]["packages"]["numpy"] == facts["guest"]["framework"]["versions"]["numpy"]
    assert facts["environment"]["interpreter"]


def test_a_new_release_takes_one_entry_and_its_lock(paths: Paths) -> None:
    paths.images.unlink()
    shutil.copytree(ROOT / "images", paths.images, ignore=shutil.ignore_patterns("__pycache__"))
    frameworks = paths.matrix / "frameworks" / "numpy.toml"
    frameworks.write_text(frameworks.read_text() + NEW_RELEASE)
    code, _, err = ran(paths, "cell", "numpy-1", "--engine", "venv")
    assert (code, err.splitlines()[-1]) == (
        2, "error: images/locks/numpy-1-cpu.txt is missing; make it with: python -m runner lock numpy-1",
    )  # fmt: skip
    code, out, err = ran(paths, "lock", "numpy-1")
    assert (code, out.strip()) == (0, "images/locks/numpy-1-cpu.txt"), err
    code, out, err = ran(paths, "cell", "numpy-1", "--engine", "venv", "--json")
    assert code == 0, err
    record = json.loads(out)
    assert (record["fate"], record["facts"]["guest"]["framework"]["versions"]["numpy"]) == ("ok", "1.26.4")


def test_a_newcomer_is_told_how_many_rows_need_which_python_and_the_way_to_it(paths: Paths, tmp_path: Path) -> None:
    """Nothing is on PATH but a command of pyenv's, so the Python of this very interpreter alone is found."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "pyenv").write_text("#!/bin/sh\n")
    (tmp_path / "bin" / "pyenv").chmod(0o755)
    bare = {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path)}
    containers = "`--engine docker` gives containers that have it"
    way = containers if docker_is_installed(bare) else "`pyenv install 3.6` brings it"
    code, out, err = ran(paths, "matrix", "small", "--engine", "venv", "--dry-run", environ=bare)
    assert (code, err) == (0, "")
    assert f"5 of 9 rows need Python 3.6, which is not here: {way}" in out
    code, out, err = ran(paths, "cell", "tf-1.8-nhwc", "--engine", "venv", environ=bare)
    assert code == 3
    assert err.count("\n") == 1
    assert f"needs Python 3.6, which is not here: {way}" in err


def test_doctor_goes_on_past_a_docker_engine_that_hangs_and_shows_what_it_finds_as_it_finds_it(
    paths: Paths, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        bare = {"PATH": os.defpath, "HOME": str(tmp_path), "DOCKER_HOST": f"tcp://127.0.0.1:{silent.getsockname()[1]}"}
        with command(paths, "doctor", environ=bare) as process:
            assert process.stdout
            times = [(time.monotonic(), line) for line in process.stdout]
            assert process.wait(10) == 0
    subjects = [line[6:].partition("  ")[0] for _, line in times if not line.startswith(" ")]
    assert subjects[0] == "machine"
    assert subjects[-1] == "CPU clocks"
    hung = next(n for n, (_, line) in enumerate(times) if "Docker engine  no answer within 20 s" in line)
    assert times[hung][0] - times[hung - 1][0] > 10


NEW_RELEASE = """
[releases.numpy-1]
title = "NumPy 1.26"
version = "1.26.4"
adapter = "numpy"
module = "numpy"
python = "3.11"
[releases.numpy-1.cpu]
requirements = ["numpy==1.26.4"]
"""
