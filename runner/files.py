"""Files that must be whole and files that nobody vouches for: how they are written and how they are read."""

import contextlib
import os
import stat
import uuid
from pathlib import Path

from runner.errors import Mistake

ANSWER_BYTES = 2**24  # of a guest's answer


class NotPlain(Exception):
    """A file that is no plain file, or is too large; the text says which."""


def regular_file_bytes(path: Path, limit: int) -> bytes:
    """Return the content of a file that a stranger left: of a regular file with one name and at most `limit` bytes.

    Raises:
        FileNotFoundError: where nothing is there.
        NotPlain: where anything else is there: a link of either kind, a folder, a device, or too much.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:  # a symbolic link, a socket, a device without a driver
        raise NotPlain(f"it is no plain file: {error.strerror}") from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise NotPlain("it is no plain file")
        if found.st_nlink != 1:
            raise NotPlain("it is a hard link")
        with os.fdopen(os.dup(descriptor), "rb") as file:
            content = file.read(limit + 1)
    finally:
        os.close(descriptor)
    if len(content) > limit:
        raise NotPlain(f"it has more than {limit / 2**20:.0f} MiB")
    return content


def write_durably(path: Path, content: bytes) -> None:
    """Write a file so that it is there, whole, even after a power cut; until then what stood there before stays.

    The bytes go to a file beside, to the disk, and then in place; the folders whose entries changed follow.
    """
    missing = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    for folder in [path.parent, *(folder.parent for folder in missing)]:
        flush_folder(folder)


def remove_halves(folder: Path) -> None:
    """Remove what writers that were killed left of files below a folder that nobody else writes now."""
    for half in folder.rglob(".*.json.[0-9]*"):
        half.unlink(missing_ok=True)


def flush_folder(folder: Path) -> None:
    """Bring a folder's entries to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(
    folder: Path, remedy: str = "make room or make it writable, or set XDG_CACHE_HOME to a folder that is"
) -> Path:
    """Make a folder with those above it, and return it.

    Raises:
        Mistake: where that cannot be done; the text ends with the remedy.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Mistake(f"cannot make {folder}: {error.strerror}; {remedy}") from None
    return folder


def remove_tree(folder: Path, last: str = "") -> None:
    """Remove a folder with all that is in it, what a stranger made read-only, too; the entry named `last` goes last.

    Every folder below moves up before it is emptied, so that none lies too deep.
    """
    waiting = [folder]
    while waiting:
        current = waiting.pop()
        with contextlib.suppress(OSError):
            waiting += emptied(current, folder, last)
            current.rmdir()
    with contextlib.suppress(OSError):
        if last:
            (folder / last).unlink()
        folder.rmdir()


def emptied(folder: Path, top: Path, last: str) -> list[Path]:
    """Remove the files of a folder, move its folders up to the top, and return where they are now."""
    folder.chmod(0o700)
    moved = []
    for path in list(folder.iterdir()):
        with contextlib.suppress(OSError):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o700)  # to be moved, it must be writable
                moved.append(path.rename(top / uuid.uuid4().hex))
            elif (folder, path.name) != (top, last):
                path.unlink()
    return moved
