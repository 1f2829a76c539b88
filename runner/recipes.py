"""What goes into an environment: release, lock and repairs for one device, under a key made of their content."""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence

import msgspec

from runner.catalog import Catalog, Release, Stack
from runner.cells import Device
from runner.errors import Mistake
from runner.languages import Language
from runner.locks import tools_file
from runner.manifests import manifest_problems
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
    tools: str = ""  # the lock of what builds those that have no wheel

    @property
    def key(self) -> str:
        """Sixteen hex digits of all that decides what is installed: same key, same environment."""
        parts = (
            self.release.language_version,
            self.device,
            self.lock,
            self.tools,
            self.stack.links,
        )
        return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()[:16]

    @property
    def environment(self) -> dict[str, str]:
        return self.release.environment | self.stack.environment

    @property
    def language(self) -> Language:
        return self.release.language

    @property
    def reason_against_this_machine(self) -> str | None:
        """Why this runs in containers alone, or None."""
        if not self.language.containers_only:
            return None
        return f"{self.release.title} is a package of {self.language.title}'s and runs in containers only; use --engine docker"


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
    path = paths.locks / release.language.lock_file(owner, device)
    again = f"make it with: python -m runner lock {owner}"
    if not path.is_file():
        raise Mistake(f"{paths.shown(path)} is missing; {again}")
    lock = path.read_text(encoding="utf-8")
    for problem in LOCK_PROBLEMS[release.language.name](lock, stack.requirements):
        raise Mistake(f"{paths.shown(path)}: {problem}; {again}")
    return Recipe(
        release_id=release_id, release=release, device=device, stack=stack, lock_name=path.name, lock=lock,
        tools=tools_lock(paths, release.python) if release.python else "",
    )  # fmt: skip


def tools_lock(paths: Paths, python: str) -> str:
    """The lock of the tools that build for this Python.

    Raises:
        Mistake: where it is missing or damaged.
    """
    path = paths.locks / tools_file(python)
    again = "make it with: python -m runner lock --tools"
    if not path.is_file():
        raise Mistake(f"{paths.shown(path)} is missing; {again}")
    lock = path.read_text(encoding="utf-8")
    for problem in lock_problems(lock):
        raise Mistake(f"{paths.shown(path)}: {problem}; {again}")
    return lock


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


LOCK_PROBLEMS: dict[str, Callable[[str, Sequence[str]], Iterator[str]]] = {
    "python": lambda lock, _: lock_problems(lock),
    "julia": manifest_problems,
}
