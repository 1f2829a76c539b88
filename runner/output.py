"""What a process prints, in bounded memory: its lines, each up to a limit, and the beginning and the end of its log."""

import contextlib
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

LINE_BYTES = 2**16  # the rest of a longer line is dropped
HEAD_BYTES = TAIL_BYTES = 2**18  # kept of a log
CHUNK_BYTES = 2**16
RESERVED_BYTES = 2**14  # of a log: what it has room for even where a guest has filled the disk


def reserve(log: Path) -> None:
    """Take room for a log while there is some."""
    log.write_bytes(bytes(RESERVED_BYTES))


class Splitter:
    """Splits what comes in pieces into lines."""

    def __init__(self, limit: int = LINE_BYTES) -> None:
        self.limit = limit
        self.pending = bytearray()

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Yield the lines that end in this piece, each with its newline."""
        first, *others = piece.split(b"\n")
        self.add(first)
        for part in others:
            yield bytes(self.pending) + b"\n"
            self.pending.clear()
            self.add(part)

    def add(self, part: bytes) -> None:
        self.pending += part[: self.limit - len(self.pending)]

    def rest(self) -> Iterator[bytes]:
        """Yield the last line where it has no newline."""
        if self.pending:
            yield bytes(self.pending)
            self.pending.clear()


class Excerpt:
    """Keeps the beginning and the end of a stream of bytes, and counts what it leaves out between them."""

    def __init__(self, head: int = HEAD_BYTES, tail: int = TAIL_BYTES) -> None:
        self.head_limit, self.tail_limit = head, tail
        self.head = bytearray()
        self.tail = bytearray()
        self.left_out = 0
        self.lock = threading.Lock()  # the two streams of a process have a thread each

    def write(self, piece: bytes) -> None:
        with self.lock:
            room = self.head_limit - len(self.head)
            self.head += piece[:room]
            self.tail += piece[room:]
            if len(self.tail) > 2 * self.tail_limit:  # so that bytes are seldom moved
                self.trim()

    def trim(self) -> None:
        excess = max(0, len(self.tail) - self.tail_limit)
        self.left_out += excess
        del self.tail[:excess]

    @property
    def content(self) -> bytes:
        with self.lock:
            self.trim()
        between = f"\n... {self.left_out} bytes left out ...\n".encode() if self.left_out else b""
        return bytes(self.head) + between + bytes(self.tail)

    def save(self, path: Path) -> None:
        """Write it into a file, or where the disk is full by now its end, which has the room that `reserve` took."""
        with contextlib.suppress(OSError):  # where a stranger has put something else there: a log is no result
            path.unlink(missing_ok=True)
            try:
                path.write_bytes(self.content)
            except OSError:
                path.write_bytes(self.content[-RESERVED_BYTES:])

    @property
    def text(self) -> str:
        return self.content.decode("utf-8", "replace")


class LineReader:
    """Hands the lines of a stream on to a listener, and outlives whatever that raises: a traceback goes into the log."""

    def __init__(self, on_line: Callable[[str], None], log: Excerpt) -> None:
        self.on_line, self.log = on_line, log
        self.splitter = Splitter()

    def read(self, piece: bytes) -> None:
        for line in self.splitter.feed(piece):
            self.hand_on(line)

    def finish(self) -> None:
        for line in self.splitter.rest():
            self.hand_on(line)

    def hand_on(self, line: bytes) -> None:
        try:
            self.on_line(line.decode("utf-8", "replace"))
        except Exception:
            self.log.write(traceback.format_exc().encode("utf-8", "replace"))


def pieces(stream: IO[bytes]) -> Iterator[bytes]:
    """Yield what a pipe brings, as it comes, to its end."""
    while piece := stream.read1(CHUNK_BYTES):  # type: ignore[attr-defined]
        yield piece
