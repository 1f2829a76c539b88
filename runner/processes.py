"""The one place that starts processes: always in a group of their own, with a timeout, and gone when we go."""

import contextlib
import errno
import itertools
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

import msgspec

from runner.interrupts import interrupts_deferred
from runner.output import Excerpt, LineReader, pieces
from runner.owners import VARIABLE, Owner, end_marked
from runner.redaction import redacted, secrets_of
from runner.text import one_line

GRACE_SECONDS = 0.5  # between asking a group to end and killing it
DEATH_SECONDS = 10.0  # for a killed process to go; one that hangs in a driver is left behind then
STDOUT_BYTES = 2**24  # of a command's stdout are returned

# Runs as the process itself before it becomes the command: it asks the kernel to kill it when the thread that started it
# ends, goes at once where that has happened already, and undoes what Python does to its environment in the C locale.
LAUNCHER = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)
parent, ctype, *argv = sys.argv[1:]
if os.getppid() != int(parent):
    sys.exit(1)
os.environ.pop("LC_CTYPE", None)
if ctype:
    os.environ["LC_CTYPE"] = ctype
os.execvp(argv[0], argv)
"""


class ProcessFailed(Exception):
    """A command ended badly; the text is its most telling line."""


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a process ended; a negative code is the signal that killed it."""

    code: int
    timed_out: bool
    seconds: float


def run(argv: Sequence[str], *, env: Mapping[str, str], timeout: float, log: Path | None = None) -> str:
    """Run to the end and return stdout; with `log`, the command and its output are appended there, less secrets.

    Of a long output the log has the beginning and the end, and the returned text the beginning.

    Raises:
        ProcessFailed: when it cannot start, takes longer than `timeout` seconds or exits with another code than 0.
    """
    printed, errors, stdout = Excerpt(), Excerpt(), Excerpt(head=STDOUT_BYTES, tail=0)
    secrets = secrets_of(env)

    def keep(piece: bytes) -> None:
        printed.write(piece)
        stdout.write(piece)

    try:
        ended = _ended(argv, env, timeout, keep, errors.write)
    except OSError as error:
        raise ProcessFailed(f"{argv[0]}: {error.strerror}") from None
    finally:
        if log:
            text = f"+ {shlex.join(argv)}\n{printed.text}{errors.text}"
            with (
                contextlib.suppress(OSError),
                log.open("a", encoding="utf-8") as sink,
            ):  # a full disk is the command's to tell
                sink.write(redacted(text, secrets))
    name = Path(argv[0]).name
    if ended.timed_out:
        raise ProcessFailed(f"{name} took longer than {timeout:.0f} s")
    if ended.code:
        said = telling_line(redacted(errors.text or printed.text, secrets))
        raise ProcessFailed(said or f"{name} exited with {ended.code}")
    return bytes(stdout.head).decode("utf-8", "replace")


def watch(
    argv: Sequence[str], *, env: Mapping[str, str], timeout: float, log: Path, on_line: Callable[[str], None]
) -> Ended:
    """Run with every line of stdout handed on as it comes and stderr in `log`; never raises for how it ended.

    An over-long line is cut, and a long log loses its middle. What `on_line` raises goes into the log, too: the process
    is read to its end in any case. An interrupt (Ctrl-C) ends the process's whole group before it goes on up.
    """
    errors = Excerpt()
    errors.write(f"+ {shlex.join(argv)}\n".encode())
    handing_on = LineReader(on_line, errors)
    try:
        ended = _ended(argv, env, timeout, handing_on.read, errors.write)
        handing_on.finish()
        return ended
    finally:
        errors.save(log)


class _Groups:
    """The process groups that are alive, for an interrupt that reaches another thread than theirs."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.alive: set[int] = set()
        self.closed = False

    def start(self, argv: Sequence[str], env: Mapping[str, str], mark: str) -> "subprocess.Popen[bytes]":
        with self.lock:
            if self.closed:
                raise InterruptedError(errno.EINTR, "the runner is ending")
            process = _start(argv, env, mark)
            self.alive.add(process.pid)
        return process

    def end(self, *, for_good: bool) -> None:
        with self.lock:
            self.closed = self.closed or for_good
        for group in tuple(self.alive):
            end_group(group)


_groups = _Groups()
_numbers = itertools.count(1)


def end_all(*, for_good: bool = False) -> None:
    """End every group that is still running; with `for_good`, start no other: a thread may still try while the runner ends."""
    _groups.end(for_good=for_good)


def _start(argv: Sequence[str], env: Mapping[str, str], mark: str) -> "subprocess.Popen[bytes]":
    if shutil.which(argv[0], path=env.get("PATH", os.defpath)) is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    launcher = [sys.executable, "-I", "-S", "-c", LAUNCHER, str(os.getpid()), env.get("LC_CTYPE", "")]
    return subprocess.Popen(
        [*launcher, *argv], env={**env, VARIABLE: mark}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def _ended(
    argv: Sequence[str],
    env: Mapping[str, str],
    timeout: float,
    on_stdout: Callable[[bytes], None],
    on_stderr: Callable[[bytes], None],
) -> Ended:
    """Run a process to its end or to its timeout, each of its two streams read by a thread; what it started ends, too."""
    start = time.monotonic()
    mark = f"{Owner.of_this_process().text}#{next(_numbers)}"
    process: subprocess.Popen[bytes] | None = None
    readers: list[threading.Thread] = []
    timed_out = False
    try:
        with interrupts_deferred():
            process = _groups.start(argv, env, mark)
            readers = [_reader(process.stdout, on_stdout), _reader(process.stderr, on_stderr)]
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        timed_out = True
    finally:
        with interrupts_deferred():
            if process is not None:
                _end(process, mark)
            for reader in readers:
                reader.join(timeout=5)
    code = process.returncode if process else None
    return Ended(code=-signal.SIGKILL if code is None else code, timed_out=timed_out, seconds=time.monotonic() - start)


def _end(process: "subprocess.Popen[bytes]", mark: str) -> None:
    """End the process's group, and what left the group but still has its mark."""
    end_group(process.pid, process.poll)
    end_marked(lambda found: found == mark)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(DEATH_SECONDS)
    _groups.alive.discard(process.pid)


def _reader(stream: IO[bytes] | None, keep: Callable[[bytes], None]) -> threading.Thread:
    thread = threading.Thread(target=_drain, args=(stream, keep), daemon=True)
    thread.start()
    return thread


def _drain(stream: IO[bytes] | None, keep: Callable[[bytes], None]) -> None:
    if stream is not None:
        with stream:
            for piece in pieces(stream):
                keep(piece)


def end_group(group: int, reap: Callable[[], object] = lambda: None) -> None:
    """End every process of the group: ask, wait a moment, kill. `reap` buries the leader, where it is our child."""
    for request in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(group, request)
        except (ProcessLookupError, PermissionError):
            return
        _await_group(group, reap, GRACE_SECONDS)


def _await_group(group: int, reap: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        reap()
        try:
            os.killpg(group, 0)
        except (ProcessLookupError, PermissionError):
            return
        time.sleep(0.01)


def telling_line(text: str) -> str:
    """The line of a log that says most: the last that speaks of an error, or else the last one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if "error" in line.lower() or "fatal" in line.lower()]
    return one_line((telling or lines or [""])[-1])
