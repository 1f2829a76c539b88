"""Runners take turns: one fills a results folder, one measures on a machine, whoever made the file of the lock."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import pytest
from checkouts import ROOT, checkout, runner

from runner import turns
from runner.errors import Mistake
from runner.owners import VARIABLE, Owner
from runner.paths import TURN_VARIABLE, Paths
from runner.turns import Holder, turn

HOST = ("--engine", "host", "--filter", "numpy-2")
HOLD = """
import sys, time
from pathlib import Path
from runner.turns import turn
with turn(Path(sys.argv[1]), lambda holder: print(holder, flush=True)):
    print("has it", flush=True)
    time.sleep(600)
"""


def holding(path: Path) -> "subprocess.Popen[str]":
    """A process that has the lock on the file."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout
    assert process.stdout.readline() == "has it\n"
    return process


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    found = checkout(tmp_path, runnable=True)
    suite = found.matrix / "suites" / "small.toml"
    suite.write_text(suite.read_text().replace("blocks = 3", "blocks = 3, warm_up_seconds = 100.0"))
    return found


def measuring(paths: Paths, **environ: str) -> "subprocess.Popen[str]":
    """A matrix whose first launch has begun."""
    process = runner(paths, "matrix", "small", *HOST, environ=environ)
    assert process.stdout
    for line in process.stdout:
        if "#1: running: starting" in line:
            return process
    raise AssertionError(process.communicate())


def test_a_second_runner_on_one_results_folder_is_refused_at_once(paths: Paths) -> None:
    with measuring(paths) as first:
        with runner(paths, "matrix", "small", *HOST) as second:
            _, said = second.communicate(timeout=60)
        assert second.returncode == 2
        assert f"reports/results is being filled by process {first.pid} (python -m runner matrix small" in said
        assert said.count("\n") == 1
        with runner(paths, "matrix", "small", *HOST, "--dry-run") as dry:
            assert "would run" in dry.communicate(timeout=60)[0]
        assert first.poll() is None
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=60)
    assert first.returncode == 130


def test_two_runners_on_one_machine_measure_one_after_the_other(paths: Paths, tmp_path: Path) -> None:
    other = checkout(tmp_path / "other", runnable=True)
    environ = {TURN_VARIABLE: str(tmp_path / "machine")}
    with (
        measuring(paths, **environ) as first,
        runner(other, "cell", "numpy-2", "--engine", "host", environ=environ) as second,
    ):
        assert second.stderr
        said = second.stderr.readline()
        assert f"waiting: process {first.pid} (python -m runner matrix small" in said
        assert f" in {paths.root}, since " in said
        assert first.poll() is None
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=60)
        _, errors = second.communicate(timeout=60)
    assert second.returncode == 0, errors


def test_what_dead_runners_left_ends_before_anything_is_measured(paths: Paths) -> None:
    dead = msgspec.structs.replace(Owner.of_this_process(), pid=2**22 + 1)
    sleeping = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
    marks = {"ghost": dead, "ours": Owner.of_this_process()}
    running = {
        name: subprocess.Popen(sleeping, env={VARIABLE: f"{owner.text}#1"}, start_new_session=True)
        for name, owner in marks.items()
    }
    try:
        with turns.measuring(paths, print):
            assert running["ghost"].wait(1) == -signal.SIGKILL
            assert running["ours"].poll() is None
    finally:
        running["ours"].kill()
        running["ours"].wait()


def test_half_a_record_of_a_killed_runner_goes(paths: Paths) -> None:
    folder = paths.results / "box" / "small" / "numpy-2"
    folder.mkdir(parents=True)
    (folder / ".quick-cpu-host-1.json.77").touch()
    (folder / "quick-cpu-host-1.json").touch()
    with turns.only_writer(paths):
        assert list(folder.iterdir()) == [folder / "quick-cpu-host-1.json"]


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    with holding(tmp_path / "lock") as process:
        said: list[str] = []
        threading.Timer(0.5, process.kill).start()
        with turn(tmp_path / "lock", said.append):
            assert said[0].startswith(f"process {process.pid} (")


@pytest.fixture
def everybodys() -> Iterator[Path]:
    """A folder as /tmp itself."""
    folder = Path(f"/tmp/matrix-runner-test-{os.getpid()}")
    folder.mkdir()
    folder.chmod(0o1777)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def acting_as(user: int) -> Iterator[None]:
    before, mask = os.geteuid(), os.umask(0o077)
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(before)
        os.umask(mask)


class Busy(Exception):
    pass


def refuse(holder: str) -> None:
    raise Busy(holder)


@pytest.mark.skipif(os.getuid() != 0, reason="becoming another user needs root")
@pytest.mark.parametrize(("theirs", "mine"), [(65534, 0), (0, 65534)])
def test_another_users_lock_is_waited_for_as_ones_own(everybodys: Path, theirs: int, mine: int) -> None:
    lock = everybodys / "lock"
    with ExitStack() as first:
        with acting_as(theirs):
            first.enter_context(turn(lock, refuse))
        assert lock.stat().st_uid == theirs
        with acting_as(mine), pytest.raises(Busy, match=f"^process {os.getpid()} "), turn(lock, refuse):
            pass
    with acting_as(mine), turn(lock, refuse):
        pass


def test_a_file_that_was_removed_meanwhile_is_no_lock(tmp_path: Path) -> None:
    lock, waits, has = tmp_path / "lock", threading.Event(), threading.Event()

    def wait() -> None:
        with turn(lock, lambda _: waits.set()):
            has.set()

    with turn(lock, print):
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert waits.wait(10)
        lock.unlink()
        newer = holding(lock)
        waits.clear()
    assert waits.wait(10), "it took the removed file for the lock"
    assert not has.is_set()
    newer.kill()
    newer.communicate()
    waiting.join(10)
    assert has.is_set()


def test_what_cannot_be_locked_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "folder").mkdir()
    for name in ("link", "folder", "none/lock"):
        with pytest.raises(Mistake, match=r"^cannot lock .*; .* remove it$"), turn(tmp_path / name, print):
            pass
    assert not (tmp_path / "elsewhere").exists()


def test_who_has_a_lock_is_one_line_whatever_stands_in_the_file() -> None:
    text = Holder(pid=1, command="a\nb\x1b[2J", folder="/x\u202e\r", since="now").text
    assert text == "process 1 (a b [2J) in /x , since now"


def test_an_interrupt_ends_the_wait(tmp_path: Path) -> None:
    with holding(tmp_path / "lock") as first:
        with subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path / "lock")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
        ) as second:
            assert second.stdout
            second.stdout.readline()
            second.send_signal(signal.SIGINT)
            assert second.wait(10) == -signal.SIGINT
        first.kill()
