"""Makes locks anew: requirements through uv, base images through the registry."""

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from runner import processes
from runner.catalog import Release
from runner.cells import Device
from runner.dockerfiles import read_bases
from runner.engines.containers import remedy_for
from runner.engines.docker import connected
from runner.engines.images import mirrored
from runner.errors import UnsupportedHere
from runner.installers import installer_environment
from runner.interpreters import LocalInterpreters
from runner.locks import index_settings, write_lock, write_tools_locks
from runner.manifests import way_to_lock
from runner.paths import Paths


def lock_release(paths: Paths, id_: str, release: Release, device: Device, environ: Mapping[str, str]) -> Path:
    """Write images/locks/<release>-<device>.txt; its path.

    Raises:
        UnsupportedHere: where another tool makes the lock, with the way to do it.
    """
    import uv

    path = paths.locks / release.language.lock_file(id_, device)
    stack = release.stack(device)
    if release.julia and stack:
        raise UnsupportedHere(way_to_lock(id_, release.julia, stack.requirements, path.name))
    base = LocalInterpreters(environ, paths.pythons).path(release.python)
    write_lock(
        id_, release, device, path, run=processes.run, uv=uv.find_uv_bin(), env=locking_environment(environ),
        interpreter=Path(base) if base else None,
    )  # fmt: skip
    return path


def lock_tools(paths: Paths, environ: Mapping[str, str]) -> Iterator[Path]:
    """Write the locks of what installs and builds: images/locks/tools-<python>.txt, and virtualenv's; their paths."""
    import uv

    yield from write_tools_locks(paths.locks, run=processes.run, uv=uv.find_uv_bin(), env=locking_environment(environ))


def locking_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What uv gets to make a lock: the caller's settings, pip's among them."""
    installer = installer_environment(environ)
    config = processes.run([sys.executable, "-m", "pip", "config", "list"], env=installer, timeout=60)
    return installer | index_settings(config, installer)


def lock_bases(paths: Paths, environ: Mapping[str, str], mirror: str) -> Iterator[str]:
    """Write the digest of every base image that the registry has into images/bases.toml; a line for each image.

    A digest that the registry does not confirm stays as it was: none is ever invented.
    """
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    connection = connected(environ)
    if connection.client is None:
        raise UnsupportedHere(f"digests are asked through a Docker engine: {connection.remedy}")
    path = paths.images / "bases.toml"
    for base in read_bases(paths).bases:
        try:
            digest = connection.client.images.get_registry_data(mirrored(base.image, mirror)).id
        except (DockerException, RequestException) as error:
            yield f"{base.image}: not resolved: {remedy_for(str(error))}"
            continue
        path.write_text(with_digest(path.read_text(encoding="utf-8"), base.image, digest), encoding="utf-8")
        yield f"{base.image}: {digest}"


def with_digest(text: str, image: str, digest: str) -> str:
    """The TOML with this digest on the line after every line that names the image."""
    line = re.compile(rf'^(image = "{re.escape(image)}")\n(?:digest = "[^"]*"\n)?', re.MULTILINE)
    return line.sub(rf'\1\ndigest = "{digest}"\n', text)
