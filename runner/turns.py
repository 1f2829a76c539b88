"""Where runners take turns: one makes what several need, one writes a results folder, one measures on a machine."""

import contextlib
import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from runner.errors import Mistake
from runner.files import make_folder, remove_halves
from runner.owners import sweep
from runner.paths import Paths
from runner.text import one_line

HOLDER_BYTES = 4096


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """Who has a turn, as it is written into the file."""

    pid: int
    command: str
    folder: str
    since: str

    @classmethod
    def of_this_process(cls) -> "Holder":
        return cls(
            pid=os.getpid(),
            command=one_line(" ".join(["python -m runner", *sys.argv[1:]])),
            folder=str(Path(__file__).resolve().parent.parent),
            since=time.strftime("%Y-%m-%d %H:%M"),
        )

    @property
    def text(self) -> str:
        return one_line(f"process {self.pid} ({self.command}) in {self.folder}, since {self.since}", 500)


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Of all processes that would do this, one does; the others wait here, and find it done."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with turn(path, lambda _: None):
        yield


@contextmanager
def turn(path: Path, busy: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock on a file, which ends with this process at the latest; `busy` hears who has it before we wait."""
    descriptor = taken(path, busy)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, msgspec.json.encode(Holder.of_this_process()), 0)
        yield
    finally:
        os.close(descriptor)


def taken(path: Path, busy: Callable[[str], None]) -> int:
    """Return the descriptor of the file, locked. A file that was removed while we waited for it counts for nothing."""
    while True:
        descriptor = opened(path)
        try:
            if not locked(descriptor, fcntl.LOCK_NB, path):
                busy(holder_in(descriptor))
                locked(descriptor, 0, path)
            if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def locked(descriptor: int, how: int, path: Path) -> bool:
    """Whether the file is ours now; with LOCK_NB it is not where another process has it.

    Raises:
        Mistake: where the file system knows no locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | how)
    except BlockingIOError:
        return False
    except OSError as error:
        raise Mistake(f"cannot lock {path}: {error.strerror}; use a folder on a file system that has locks") from None
    return True


def opened(path: Path) -> int:
    """Open the file of a lock, which every user may write; a kernel may refuse O_CREAT on another's in a shared folder.

    Raises:
        Mistake: where it can be neither opened nor made.
    """
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        while True:
            with contextlib.suppress(FileNotFoundError):
                return os.open(path, flags)
            with contextlib.suppress(FileExistsError):  # another runner was quicker
                descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)
                os.fchmod(descriptor, 0o666)  # whatever the umask is
                return descriptor
    except OSError as error:
        raise Mistake(
            f"cannot lock {path}: {error.strerror}; make that a file that you may write, or remove it"
        ) from None


def holder_in(descriptor: int) -> str:
    """Return in words who wrote that it has the lock; of what cannot be read, that it is some runner."""
    try:
        return msgspec.json.decode(os.pread(descriptor, HOLDER_BYTES, 0), type=Holder).text
    except msgspec.DecodeError:
        return "another runner"


@contextmanager
def only_writer(paths: Paths) -> Iterator[None]:
    """Be the only runner that fills this results folder.

    Raises:
        Mistake: where another one does; the text says which.
    """

    def refuse(holder: str) -> None:
        raise Mistake(f"{paths.shown(paths.results)} is being filled by {holder}; wait for it or end it")

    make_folder(paths.results, "make the folder writable and run again")
    with turn(paths.results / ".lock", refuse):
        remove_halves(paths.results)
        yield


@contextmanager
def measuring(paths: Paths, say: Callable[[str], None]) -> Iterator[None]:
    """Be the only runner that measures on this machine; another one is waited for. What dead ones left ends first."""
    with turn(paths.turn, lambda holder: say(f"waiting: {holder} measures on this machine")):
        sweep()
        yield
