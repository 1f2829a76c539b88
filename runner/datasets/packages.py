"""Fetches packages of data through the clients of their registries, as the user has set those up."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from runner.datasets.download import NotFetched, sha256_of
from runner.datasets.sources import Package
from runner.installers import installer_environment
from runner.processes import ProcessFailed, run

TIMEOUT_SECONDS = 600


def fetched_package(package: Package, folder: Path, environ: Mapping[str, str], tell: Callable[[str], None]) -> Path:
    """The path of the package in this folder, whole; fetched where it is missing or damaged.

    Raises:
        NotFetched: when its client is not there, does not get it, or gets another file.
    """
    path = folder / package.file
    if path.is_file() and sha256_of(path) == package.sha256:
        return path
    folder.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # pip keeps a file that has the name
    tell(f"{package.file}: fetched by {package.client}")
    try:
        run(command(package, folder), env=installer_environment(environ), timeout=TIMEOUT_SECONDS)
    except ProcessFailed as error:
        raise NotFetched(f"{package.file}: {package.client} says: {error}") from None
    if not path.is_file() or sha256_of(path) != package.sha256:
        raise NotFetched(f"{package.file}: {package.client} got another file than the known one")
    return path


def command(package: Package, folder: Path) -> list[str]:
    """What has the client put the package there, as the registry has it and with nothing that it depends on."""
    match package.client:
        case "pip":
            return [
                *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"),
                *("--only-binary", ":all:", "--dest", str(folder), f"{package.name}=={package.version}"),
            ]
        case "npm":
            return ["npm", "pack", "--silent", "--pack-destination", str(folder), f"{package.name}@{package.version}"]
