"""What of ours takes room: environments, data, images and dead containers; nothing without our mark is touched."""

import shutil
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from runner.engines.containers import IMAGE, orphans
from runner.engines.docker import connected
from runner.owners import Owner
from runner.paths import Paths


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that can be freed."""

    kind: Literal["environment", "data", "image", "container"]
    name: str
    size_bytes: int
    age_days: float

    def older(self, days: float) -> bool:
        return self.age_days >= days


def ours(paths: Paths, environ: Mapping[str, str]) -> list[Part]:
    """Everything that `free` may take away, largest first."""
    client = connected(environ).client
    parts = [
        *environments(paths),
        *data(paths),
        *(images(client) if client else ()),
        *(dead_containers(client) if client else ()),
    ]
    return sorted(parts, key=lambda part: -part.size_bytes)


def environments(paths: Paths) -> Iterator[Part]:
    for folder in sorted(paths.environments.glob("*")):
        if folder.is_dir():
            size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file() and not f.is_symlink())
            age = (time.time() - folder.stat().st_mtime) / 86400
            yield Part(kind="environment", name=str(folder), size_bytes=size, age_days=age)


def data(paths: Paths) -> Iterator[Part]:
    """Fetched data sets and the samples made of them."""
    for folder in ("datasets", "samples"):
        for path in sorted((paths.cache / folder).rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                age = (time.time() - path.stat().st_mtime) / 86400
                yield Part(kind="data", name=str(path), size_bytes=path.stat().st_size, age_days=age)


def images(client: Any) -> Iterator[Part]:
    for image in client.images.list(filters={"label": IMAGE}):
        made = datetime.fromisoformat(image.attrs["Created"][:19] + "+00:00").timestamp()
        for tag in image.tags:
            yield Part(kind="image", name=tag, size_bytes=image.attrs["Size"], age_days=(time.time() - made) / 86400)


def dead_containers(client: Any) -> Iterator[Part]:
    for container in orphans(client, Owner.of_this_process()):
        yield Part(kind="container", name=container.id, size_bytes=0, age_days=0.0)


def free(part: Part, environ: Mapping[str, str]) -> None:
    """Take one part away."""
    match part.kind:
        case "environment":
            shutil.rmtree(part.name)
        case "data":
            Path(part.name).unlink()
        case "image":
            connected(environ).client.images.remove(part.name)  # type: ignore[union-attr]
        case "container":
            connected(environ).client.containers.get(part.name).remove(force=True, v=True)  # type: ignore[union-attr]
