"""What goes into an environment: release, lock and repairs for one device, under a key made of their content."""

import hashlib
import re
from collections.abc import Iterator

import msgspec

from runner.catalog import Catalog, Release, Stack
from runner.cells import Device
from runner.errors import Mistake
from runner.paths import Paths

PINNED = re.compile(r"^[A-Za-z0-9._-]+(\[[A-Za-z0-9,._-]+\])?==\S+")


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that an engine needs to make one environment."""

    release_id: str
    release: Release
    device: Device
    stack: Stack
    lock_name: str
    lock: str

    @property
    def key(self) -> str:
        """Sixteen hex digits of all that decides what is installed: same key, same environment."""
        parts = (
            self.release.python,
            self.device,
            self.lock,
            self.stack.build_constraints,
            self.stack.links,
        )
        return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()[:16]

    @property
    def environment(self) -> dict[str, str]:
        return self.release.environment | self.stack.environment


def recipe_for(catalog: Catalog, paths: Paths, release_id: str, device: Device) -> Recipe:
    """The recipe of a release on a device.

    Raises:
        Mistake: where its lock is missing or damaged.
    """
    release = catalog.release(release_id)
    stack = release.stack(device)
    if stack is None:
        raise Mistake(f"release {release_id!r} has no {device} section in matrix/frameworks/")
    owner = release.stack_of or release_id
    path = paths.locks / f"{owner}-{device}.txt"
    again = f"make it with: python -m runner lock {owner}"
    if not path.is_file():
        raise Mistake(f"{paths.shown(path)} is missing; {again}")
    lock = path.read_text(encoding="utf-8")
    for problem in lock_problems(lock):
        raise Mistake(f"{paths.shown(path)}: {problem}; {again}")
    return Recipe(release_id=release_id, release=release, device=device, stack=stack, lock_name=path.name, lock=lock)


def lock_problems(lock: str) -> Iterator[str]:
    """What keeps this text from being a lock: a line that pins nothing, or a pin without a hash."""
    logical = re.sub(r"\\\n", " ", lock)
    found = 0
    for line in logical.splitlines():
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        found += 1
        if not PINNED.match(text):
            yield f"{text.split()[0]!r} is not a requirement pinned with =="
        elif "--hash=sha256:" not in text:
            yield f"{text.split()[0]!r} has no hash"
    if not found:
        yield "it pins nothing"
