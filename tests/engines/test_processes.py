"""Real processes: what we start is gone when we say so, grandchildren too."""

import sys
import time
from pathlib import Path

import psutil
import pytest

from runner import processes

ENV = {"PATH": "/usr/bin:/bin"}
FAMILY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


def test_a_timeout_ends_the_whole_group_even_one_that_ignores_being_asked(tmp_path: Path) -> None:
    lines: list[str] = []
    start = time.monotonic()
    ended = processes.watch(
        [sys.executable, "-c", FAMILY], env=ENV, timeout=1.5, log=tmp_path / "log", on_line=lines.append
    )
    assert ended.timed_out
    assert time.monotonic() - start < 1.5 + 2
    assert not psutil.pid_exists(int(lines[0])) or psutil.Process(int(lines[0])).status() == psutil.STATUS_ZOMBIE


def test_what_a_process_leaves_running_is_ended_with_it(tmp_path: Path) -> None:
    lines: list[str] = []
    code = FAMILY.rsplit("time.sleep", 1)[0]
    ended = processes.watch(
        [sys.executable, "-c", code], env=ENV, timeout=20, log=tmp_path / "log", on_line=lines.append
    )
    assert (ended.code, ended.timed_out) == (0, False)
    assert not psutil.pid_exists(int(lines[0])) or psutil.Process(int(lines[0])).status() == psutil.STATUS_ZOMBIE


def test_a_killed_process_says_by_which_signal(tmp_path: Path) -> None:
    code = "import os; os.kill(os.getpid(), 6)"
    ended = processes.watch(
        [sys.executable, "-c", code], env=ENV, timeout=20, log=tmp_path / "log", on_line=lambda line: None
    )
    assert ended.code == -6


def test_stderr_and_the_command_are_in_the_log_and_stdout_comes_line_by_line(tmp_path: Path) -> None:
    lines: list[str] = []
    code = "import sys; print('a'); print('b'); sys.stderr.write('c\\n')"
    processes.watch([sys.executable, "-c", code], env=ENV, timeout=20, log=tmp_path / "log", on_line=lines.append)
    assert lines == ["a\n", "b\n"]
    log = (tmp_path / "log").read_text()
    assert log.startswith("+ ")
    assert log.endswith("c\n")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import sys; sys.exit('ERROR: no matching distribution')", "ERROR: no matching distribution"),
        ("import time; time.sleep(60)", "took longer than 1 s"),
    ],
)
def test_a_command_that_fails_says_its_most_telling_line(tmp_path: Path, code: str, said: str) -> None:
    with pytest.raises(processes.ProcessFailed, match=said):
        processes.run([sys.executable, "-c", code], env=ENV, timeout=1, log=tmp_path / "log")
    with pytest.raises(processes.ProcessFailed, match="No such file"):
        processes.run(["/no/such/program"], env=ENV, timeout=1)
