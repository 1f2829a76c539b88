"""The one place that starts processes: always in a group of their own, with a timeout, and gone when we go; and where they take turns."""

import contextlib
import fcntl
import os
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import msgspec

from runner.redaction import redacted, secrets_of

GRACE_SECONDS = 0.5  # between asking a group to end and killing it


@contextlib.contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Of all processes that would do this, one does; the others wait here, and find it done."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class ProcessFailed(Exception):
    """A command ended badly; the text is its most telling line."""


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a process ended; a negative code is the signal that killed it."""

    code: int
    timed_out: bool
    seconds: float


def run(argv: Sequence[str], *, env: Mapping[str, str], timeout: float, log: Path | None = None) -> str:
    """Run to the end and return stdout; with `log`, the command and all its output are appended there, less secrets.

    Raises:
        ProcessFailed: when it cannot start, takes longer than `timeout` seconds or exits with another code than 0.
    """
    lines: list[str] = []
    errors: list[str] = []
    secrets = secrets_of(env)
    with contextlib.ExitStack() as stack:
        sink = stack.enter_context(log.open("a", encoding="utf-8")) if log else None
        if sink:
            sink.write(redacted(f"+ {shlex.join(argv)}\n", secrets))
            sink.flush()
        try:
            process = _start(argv, env, stderr=subprocess.PIPE)
        except OSError as error:
            raise ProcessFailed(f"{argv[0]}: {error.strerror}") from None
        reader = threading.Thread(target=_drain, args=(process.stderr, errors.append), daemon=True)
        reader.start()
        ended = _wait(process, timeout, lines.append)
        reader.join(timeout=5)
        if sink:
            sink.write(redacted("".join(lines + errors), secrets))
    if ended.timed_out:
        raise ProcessFailed(f"{Path(argv[0]).name} took longer than {timeout:.0f} s")
    if ended.code:
        said = telling_line(redacted("".join(errors) or "".join(lines), secrets))
        raise ProcessFailed(said or f"{Path(argv[0]).name} exited with {ended.code}")
    return "".join(lines)


def watch(
    argv: Sequence[str], *, env: Mapping[str, str], timeout: float, log: Path, on_line: Callable[[str], None]
) -> Ended:
    """Run with every line of stdout handed on as it comes and stderr in `log`; never raises for how it ended.

    An interrupt (Ctrl-C) ends the process's whole group before it goes on up.
    """
    with log.open("wb") as sink:
        sink.write(f"+ {shlex.join(argv)}\n".encode())
        sink.flush()
        process = _start(argv, env, stderr=sink)
        return _wait(process, timeout, on_line)


_running: set[int] = set()  # the groups that are alive, for an interrupt that reaches another thread than theirs


def end_all() -> None:
    """End every group that is still running."""
    for group in tuple(_running):
        end_group(group)


def _start(argv: Sequence[str], env: Mapping[str, str], stderr: int | IO[bytes]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        argv, env=dict(env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, start_new_session=True
    )  # fmt: skip


def _wait(process: "subprocess.Popen[bytes]", timeout: float, on_line: Callable[[str], None]) -> Ended:
    start = time.monotonic()
    _running.add(process.pid)
    reader = threading.Thread(target=_drain, args=(process.stdout, on_line), daemon=True)
    reader.start()
    timed_out = False
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        timed_out = True
    finally:
        end_group(process.pid, process.poll)
        process.wait()
        _running.discard(process.pid)
        reader.join(timeout=5)
    return Ended(code=process.returncode, timed_out=timed_out, seconds=time.monotonic() - start)


def _drain(stream: IO[bytes] | None, on_line: Callable[[str], None]) -> None:
    if stream is not None:
        with stream:
            for line in stream:
                on_line(line.decode("utf-8", "replace"))


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
    return (telling or lines or [""])[-1][:300]
