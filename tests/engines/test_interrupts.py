"""Signals at any moment: whatever ends a runner, no guest outlives it and no folder stays."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner import owners, processes
from runner.interrupts import ENDING, interrupt, interrupts_deferred, pass_over

AT_ONCE = 4  # more than there are cores, so that a signal lands anywhere

# One short launch after the other, each in a folder of its own; the guest's own child leaves the group and hears nothing.
RUNNER = """
import contextlib, sys
from runner import processes
from runner.interrupts import interrupt_on_signals
from runner.owners import passing_folder
GUEST = '''
import subprocess, sys, time
subprocess.Popen([sys.executable, "-S", "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"],
                 start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
time.sleep(0.05)
'''
interrupt_on_signals()
print("ready", flush=True)
with contextlib.suppress(KeyboardInterrupt):
    while True:
        with passing_folder() as folder:
            (folder / "some").mkdir()
            for name in range(50):
                (folder / "some" / str(name)).touch()
            processes.watch([sys.executable, "-S", "-c", GUEST], env={"PATH": "/usr/bin:/bin"}, timeout=60,
                            log=folder / "log", on_line=print)
"""


def ended_at_random(temporary: Path, number: signal.Signals, times: int) -> list[int]:
    """Start runners, send each the signal at a random moment, and return their process ids once they are gone."""
    moment = random.Random(int(number))
    pids = []
    for _ in range(times // AT_ONCE):
        runners = [
            subprocess.Popen(
                [sys.executable, "-c", RUNNER], env=os.environ | {"TMPDIR": str(temporary)}, stdout=subprocess.PIPE
            )
            for _ in range(AT_ONCE)
        ]
        for runner in runners:
            assert runner.stdout
            assert runner.stdout.readline() == b"ready\n"
        for runner in runners:
            time.sleep(moment.uniform(0.0, 0.3))
            runner.send_signal(number)
        for runner in runners:
            runner.communicate(timeout=60)
            assert runner.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 0)
            pids.append(runner.pid)
    return pids


def survivors(runners: list[int]) -> list[int]:
    """The processes that these runners started and that still run."""
    found = [(pid, owners.owner_in(mark.partition("#")[0])) for pid, mark in owners.marked_processes()]
    return [pid for pid, owner in found if owner and owner.pid in runners]


@pytest.mark.parametrize(("number", "times"), [(signal.SIGINT, 32), (signal.SIGHUP, 8), (signal.SIGQUIT, 8)])
def test_a_signal_at_any_moment_leaves_no_guest_and_no_folder(
    tmp_path: Path, number: signal.Signals, times: int
) -> None:
    runners = ended_at_random(tmp_path, number, times)
    assert survivors(runners) == []
    assert list(tmp_path.iterdir()) == []


def test_the_next_runner_ends_and_removes_what_a_killed_one_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runners = ended_at_random(tmp_path, signal.SIGKILL, 20)
    assert survivors(runners), "nothing was left behind, so this shows nothing"
    assert list(tmp_path.iterdir()), "nothing was left behind, so this shows nothing"
    for folder in tmp_path.iterdir():  # killed before they were marked: empty, and here as old as it takes
        if not any(folder.iterdir()):
            os.utime(folder, (0, 0))
    strangers = [tmp_path / "matrix-runner-a-person's", tmp_path / "another"]
    for stranger in strangers:
        stranger.mkdir()
        (stranger / "file").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with owners.passing_folder() as living:
        owners.sweep()
        assert survivors(runners) == []
        assert sorted(tmp_path.iterdir()) == sorted([*strangers, living])


def interrupted(action: Callable[[], None]) -> bool:
    try:
        action()
    except KeyboardInterrupt:
        return True
    return False


def with_a_signal(action: Callable[..., Any], made: list[Any], *, first: bool = False) -> Callable[..., Any]:
    """The same action, with Ctrl-C at the moment after it, or before it."""

    def acting(*arguments: Any, **named: Any) -> Any:
        if first:
            signal.raise_signal(signal.SIGINT)
        made.append(action(*arguments, **named))
        if not first:
            signal.raise_signal(signal.SIGINT)
        return made[-1]

    return acting


def test_a_signal_between_the_start_of_a_process_and_the_note_of_it_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[subprocess.Popen[bytes]] = []
    monkeypatch.setattr(processes, "_start", with_a_signal(processes._start, made))
    argv = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
    with pytest.raises(KeyboardInterrupt):
        processes.watch(argv, env={}, timeout=60, log=tmp_path / "log", on_line=print)
    assert made[0].returncode is not None


@pytest.mark.parametrize(("name", "first"), [("mkdtemp", False), ("remove_tree", True)])
def test_a_signal_while_a_folder_is_made_or_removed_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, first: bool
) -> None:
    place = tempfile if name == "mkdtemp" else owners
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(place, name, with_a_signal(getattr(place, name), [], first=first))
    with pytest.raises(KeyboardInterrupt), owners.passing_folder() as folder:
        (folder / "file").touch()
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def handlers() -> None:
    """Signals as a command handles them; tests/conftest.py brings back what was before."""
    for number in ENDING:
        signal.signal(number, interrupt)


@pytest.mark.parametrize("number", ENDING, ids=lambda number: number.name)
def test_a_deferred_signal_waits_for_the_outermost_end_and_takes_effect_once(
    handlers: None, number: signal.Signals
) -> None:
    done = []

    def lines() -> None:
        with interrupts_deferred():
            with interrupts_deferred():
                signal.raise_signal(number)
                done.append("inner")
            signal.raise_signal(signal.SIGTERM)
            done.append("outer")
        done.append("after")

    assert interrupted(lines)
    assert done == ["inner", "outer"]
    assert not interrupted(lambda: signal.raise_signal(number)), "a second signal would break off the clean-up"
    assert signal.getsignal(number) is pass_over


def test_a_signal_that_the_caller_had_ignored_stays_ignored() -> None:
    code = "import os, signal\nfrom runner.interrupts import *\ninterrupt_on_signals()\nsignal.raise_signal(1)\nprint('on')\nsignal.raise_signal(15)"
    done = subprocess.run(
        ["env", "--ignore-signal=HUP", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "on\n"
    assert "KeyboardInterrupt" in done.stderr
