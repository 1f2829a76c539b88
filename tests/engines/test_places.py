"""Folders that are full or that cannot be written, and a terminal that goes away: a clear line each, and nothing left."""

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from checkouts import checkout, runner

from runner import processes
from runner.output import reserve
from runner.paths import Paths

as_root = pytest.mark.skipif(os.getuid() != 0, reason="mounting needs root")


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return checkout(tmp_path, runnable=True)


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "mounted"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "none", str(folder)], check=False)
    if done.returncode:
        pytest.skip("this machine lets nobody mount")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@as_root
def test_a_full_temporary_folder_is_one_line(paths: Paths, mounted: Path) -> None:
    with runner(
        paths, "matrix", "small", "--engine", "host", "--filter", "numpy-2", environ={"TMPDIR": str(mounted)}
    ) as it:
        out, err = it.communicate(timeout=120)
    assert it.returncode == 2, out + err
    assert err == (
        f"error: cannot write in {mounted}: No space left on device; make room there, or set TMPDIR to another folder\n"
    )
    assert list(mounted.iterdir()) == []


@as_root
def test_a_guest_that_fills_the_disk_is_told_by_its_log(mounted: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=100k", str(mounted)], check=True)
    reserve(mounted / "log")
    code = (
        "import sys; sys.stderr.write(100_000 * 'x' + '\\n')\n"
        f"open({str(mounted / 'big')!r}, 'wb', buffering=0).write(bytes(10**6))\n"
        f"open({str(mounted / 'more')!r}, 'wb').write(bytes(10**6))"
    )
    processes.watch([sys.executable, "-c", code], env={}, timeout=60, log=mounted / "log", on_line=print)
    assert (mounted / "log").read_text().endswith("No space left on device\n")


@as_root
def test_a_home_that_cannot_be_written_is_one_line(paths: Paths, mounted: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
    environ = {"HOME": str(mounted), "XDG_CACHE_HOME": ""}
    with runner(paths, "cell", "numpy-2", "--engine", "venv", environ=environ) as it:
        out, err = it.communicate(timeout=120)
    assert it.returncode == 2, out + err
    assert err.splitlines()[-1] == (
        f"error: cannot make {mounted}/.cache/matrix-runner/environments: Read-only file system; make room or make it "
        "writable, or set XDG_CACHE_HOME to a folder that is"
    )
    assert "Traceback" not in err
    with runner(paths, "cell", "numpy-2", "--engine", "host", environ=environ) as it:  # which needs no cache
        out, err = it.communicate(timeout=120)
    assert it.returncode == 0, out + err


def test_a_terminal_that_closes_ends_the_guest_and_leaves_no_folder(paths: Paths, tmp_path: Path) -> None:
    suite = paths.matrix / "suites" / "small.toml"
    suite.write_text(suite.read_text().replace("blocks = 3", "blocks = 3, warm_up_seconds = 30.0"))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    ours, theirs = pty.openpty()
    it = runner(
        paths, "matrix", "small", "--engine", "host", "--filter", "numpy-2", environ={"TMPDIR": str(temporary)},
        stdin=theirs, stdout=theirs, stderr=theirs, text=False, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    while b"warm_up" not in seen:
        seen += os.read(ours, 10_000)
    guests = psutil.Process(it.pid).children(recursive=True)
    assert guests
    os.close(ours)
    it.wait(20)
    time.sleep(0.2)
    assert not any(guest.is_running() for guest in guests)
    assert list(temporary.iterdir()) == []
    assert it.returncode != -signal.SIGHUP
