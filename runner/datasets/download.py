"""Fetches files: what was cut is resumed, and only what has the published checksum gets its name."""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from runner.datasets.sources import File

if TYPE_CHECKING:
    from requests import Response

CHUNK_BYTES = 1 << 18
CONNECT_SECONDS, READ_SECONDS = 10, 60
ATTEMPTS = 20  # of one address, as long as each brings the file further
TOLD_EVERY_SECONDS, TOLD_AT_MOST_EVERY_SECONDS = 5, 1


class NotFetched(Exception):
    """A file cannot be had; the text names it and says what every address answered."""


class Cut(Exception):
    """The connection ended before the file did."""


def fetched(file: File, folder: Path, tell: Callable[[str], None]) -> Path:
    """The path of the file in this folder, whole; fetched where it is missing or damaged.

    Raises:
        NotFetched: when no address gives it.
    """
    path = folder / file.name
    if path.is_file():
        if sha256_of(path) == file.sha256:
            return path
        tell(f"{path} is damaged and is fetched anew")
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    reasons = []
    for url in file.urls:
        try:
            complete(url, part, file.sha256, tell)
        except NotFetched as error:
            reasons.append(f"{urlsplit(url).hostname} {error}")
        else:
            part.replace(path)
            return path
    raise NotFetched(f"{file.name}: {', '.join(reasons)}")


def complete(url: str, part: Path, sha256: str, tell: Callable[[str], None]) -> None:
    """Make the part the whole file, from where it ends.

    Raises:
        NotFetched: when this address does not give it; the text is what it did instead.
    """
    from requests import RequestException
    from urllib3.exceptions import HTTPError

    for _ in range(ATTEMPTS):
        had = size_of(part)
        if had and sha256_of(part) == sha256:
            return
        try:
            resume(url, part, had, tell)
        except (RequestException, HTTPError, Cut) as error:
            if size_of(part) <= had:
                raise NotFetched(reason_of(error)) from None
            continue
        if sha256_of(part) == sha256:
            return
        part.unlink()
        if not had:  # else what was resumed may have been the beginning of another file
            raise NotFetched("gave a file with another checksum than the published one")
    raise NotFetched("cut the connection again and again")


def resume(url: str, part: Path, had: int, tell: Callable[[str], None]) -> None:
    """Add to the part what follows its first `had` bytes, or write it from the start where the server cannot resume."""
    import requests

    # As it lies there: some servers declare a .gz to be a transfer encoding, which requests would then undo.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={had}-"} if had else {})
    with requests.get(url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS)) as answer:
        if answer.status_code == requests.codes.requested_range_not_satisfiable:
            part.write_bytes(b"")
            return
        answer.raise_for_status()
        resumed = answer.status_code == requests.codes.partial_content
        progress = Progress(url, had if resumed else 0, length_of(answer), tell)
        with part.open("ab" if resumed else "wb") as file:
            for chunk in answer.raw.stream(CHUNK_BYTES, decode_content=False):
                file.write(chunk)
                progress.add(len(chunk))
    progress.end()


class Progress:
    """Tells how far a download is: every tenth and every few seconds, but no more than once a second."""

    def __init__(self, url: str, had: int, follows: int | None, tell: Callable[[str], None]) -> None:
        parts = urlsplit(url)
        self.name = parts.path.rpartition("/")[2]
        self.done, self.told_bytes, self.tell = had, had, tell
        self.whole = had + follows if follows else None
        self.told_at = time.monotonic()
        size = f" ({megabytes(self.whole)})" if self.whole else ""
        tell(
            f"{self.name}: fetched from {parts.hostname}{size}"
            + (f", the first {megabytes(had)} are here" if had else "")
        )

    def add(self, count: int) -> None:
        self.done += count
        seconds = time.monotonic() - self.told_at
        tenth = self.whole and self.done - self.told_bytes >= self.whole / 10
        if seconds >= TOLD_EVERY_SECONDS or (tenth and seconds >= TOLD_AT_MOST_EVERY_SECONDS):
            self.told_bytes, self.told_at = self.done, time.monotonic()
            of = f" of {megabytes(self.whole)}, {self.done / self.whole:.0%}" if self.whole else ""
            self.tell(f"{self.name}: {megabytes(self.done)}{of}")

    def end(self) -> None:
        """What follows the end of a stream.

        Raises:
            Cut: when the server said that more would come; not every urllib3 sees that by itself.
        """
        if self.whole and self.done < self.whole:
            raise Cut


def megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def reason_of(error: Exception) -> str:
    """What an address did instead of giving the file, in a few words."""
    from requests import exceptions

    match error:
        case exceptions.HTTPError():
            return f"answered {error.response.status_code}"
        case exceptions.SSLError():
            return "has a certificate that is not trusted here (REQUESTS_CA_BUNDLE names those that are)"
        case exceptions.ProxyError():
            return "cannot be reached through the proxy"
        case exceptions.Timeout():
            return "did not answer in time"
        case exceptions.ConnectionError():
            return "cannot be reached"
        case _:
            return "cut the connection"


def length_of(answer: "Response") -> int | None:
    """How many bytes the server says will follow."""
    length = answer.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None


def size_of(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
