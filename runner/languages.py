"""What guests are written in: how one is started, which of its files a job takes along, what locks its packages."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Literal

import msgspec


class Language(msgspec.Struct, frozen=True, kw_only=True):
    """A language that guests and their adapters are written in; paths are below images/guest."""

    name: Literal["python", "julia"]
    title: str
    options: tuple[str, ...] = ()  # of its program, before the guest
    entry: str  # what the program is given
    files: str  # a glob
    adapter: str
    lock: str
    containers_only: bool = False

    def command(self, program: str, guest: str, folder: str) -> list[str]:
        """What starts a guest on a job folder."""
        return [program, *self.options, str(PurePosixPath(guest, self.entry)), folder]

    def guest_files(self, guest: Path) -> Iterator[tuple[str, Path]]:
        """Every file of the guest, with its name below its folder."""
        for path in sorted(guest.glob(self.files)):
            yield path.relative_to(guest).as_posix(), path

    def adapter_file(self, adapter: str) -> str:
        return self.adapter.format(adapter=adapter)

    def lock_file(self, release: str, device: str) -> str:
        return self.lock.format(release=release, device=device)


PYTHON = Language(
    name="python", title="Python", entry="", files="*.py", adapter="on_{adapter}.py", lock="{release}-{device}.txt"
)
JULIA = Language(
    name="julia",
    title="Julia",
    options=("--startup-file=no", "--history-file=no"),
    entry="julia/guest.jl",
    files="julia/*.jl",
    adapter="julia/{adapter}.jl",
    lock="{release}.toml",  # one for all devices: a manifest names every package, and which files of it a device needs
    containers_only=True,
)
