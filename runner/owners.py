"""Whose processes and folders these are, and the end of those whose runner is dead."""

import contextlib
import hashlib
import os
import platform
import signal
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from runner.errors import Mistake
from runner.files import remove_tree
from runner.interrupts import interrupts_deferred

VARIABLE = "MATRIX_RUNNER_OWNER"  # of every process that we start: its owner and its number
FOLDER = "matrix-runner-"  # how the names of our passing folders begin
MARK = ".owner"  # in such a folder, a link to nowhere whose text says whose it is: a link is made whole in one step
UNMARKED_SECONDS = 60.0  # an empty folder without a mark is older when its runner was killed before it could mark it


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """A runner: on which machine, in which boot and process namespace, which process, and when that started.

    The start is in ticks since the boot, which no change of the clock moves. A mark of another form, as an older or a
    newer runner leaves it, does not decode and is left alone.
    """

    machine: str
    boot: str
    namespace: str
    pid: int
    ticks: int

    @classmethod
    def of_this_process(cls) -> "Owner":
        return cls(
            machine=machine_digest(),
            boot=Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip(),
            namespace=str(Path("/proc/self/ns/pid").readlink()),
            pid=os.getpid(),
            ticks=start_ticks(os.getpid()) or 0,
        )

    @property
    def text(self) -> str:
        return msgspec.json.encode(self).decode()

    def dead(self, me: "Owner") -> bool:
        """Whether this runner is known to have ended, as seen by `me`; another machine's or namespace's is not."""
        if self.machine != me.machine:
            return False
        if self.boot != me.boot:
            return True
        return self.namespace == me.namespace and start_ticks(self.pid) != self.ticks


def owner_in(text: str) -> Owner | None:
    """Return the owner that a mark names; None for what is no mark of this form."""
    try:
        return msgspec.json.decode(text, type=Owner)
    except (msgspec.DecodeError, UnicodeError):
        return None


def start_ticks(pid: int) -> int | None:
    """Return when a process started, in ticks since the boot; None where none of that number runs."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *fields = text.rpartition(")")[2].split()
    return None if state in "ZX" else int(fields[18])  # field 22 of proc(5)


def machine_digest() -> str:
    """Six hex digits that stay with this installation of the system."""
    try:
        identity = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except OSError:
        identity = ""
    return hashlib.sha256(f"{identity} {platform.node()}".encode()).hexdigest()[:6]


@contextlib.contextmanager
def passing_folder() -> Iterator[Path]:
    """Make a folder that goes when we do; where we are killed, the next runner finds our mark in it and removes it.

    Raises:
        Mistake: where the system's temporary folder takes none.
    """
    folder: Path | None = None
    try:
        with interrupts_deferred():
            try:
                folder = Path(tempfile.mkdtemp(prefix=FOLDER))
                (folder / MARK).symlink_to(Owner.of_this_process().text)
            except OSError as error:
                raise no_room(error) from None
        yield folder
    finally:
        with interrupts_deferred():
            if folder is not None:
                remove_tree(folder, last=MARK)


def no_room(error: OSError) -> Mistake:
    """Return what to tell a person whose temporary folder takes no file."""
    return Mistake(
        f"cannot write in {temporary_folder()}: {error.strerror}; make room there, or set TMPDIR to another folder"
    )


def temporary_folder() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:  # none of the usual ones can be written
        return "any temporary folder"


def sweep() -> None:
    """End what runners that are dead left running as this user, and remove their passing folders."""
    me = Owner.of_this_process()
    end_marked(lambda mark: (owner := owner_in(mark.partition("#")[0])) is not None and owner.dead(me))
    for folder in Path(temporary_folder()).glob(f"{FOLDER}*"):
        with contextlib.suppress(OSError):
            if left_behind(folder, me):
                remove_tree(folder, last=MARK)


def left_behind(folder: Path, me: Owner) -> bool:
    """Whether a folder of this user's carries the mark of a dead runner, or is empty and was never marked."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        return False
    try:
        owner = owner_in(str((folder / MARK).readlink()))
    except FileNotFoundError:
        return not any(folder.iterdir()) and time.time() - found.st_mtime > UNMARKED_SECONDS
    return owner is not None and owner.dead(me)


def end_marked(wanted: Callable[[str], bool]) -> None:
    """Kill this user's processes whose mark is wanted, until none is left: each may have started another meanwhile."""
    deadline = time.monotonic() + 2.0
    while found := [pid for pid, mark in marked_processes() if wanted(mark)]:
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            return
        time.sleep(0.01)


def marked_processes() -> Iterator[tuple[int, str]]:
    """Yield the living processes of this user that a runner started, with the mark that it gave them."""
    prefix = f"{VARIABLE}=".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if folder.stat().st_uid != os.getuid():
                continue
            variables = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        mark = next((variable for variable in variables if variable.startswith(prefix)), None)
        if mark is not None and int(folder.name) != os.getpid() and start_ticks(int(folder.name)) is not None:
            yield int(folder.name), mark[len(prefix) :].decode("utf-8", "replace")
