"""Finds the Python that a release needs among those on this machine, and fetches it where that is possible."""

import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from runner import processes
from runner.turns import one_at_a_time

if TYPE_CHECKING:
    from findpython import PythonVersion

OLDEST_TO_FETCH = (3, 8)  # of those that uv offers
FETCH_SECONDS = 300.0
CONDA_ROOTS = ("miniconda3", "anaconda3", "miniforge3", "mambaforge", "micromamba", ".local/share/mamba", ".conda")
PASSED_ON = re.compile(r"UV_\w+|(?i:https?|all|no)_proxy|PATH|HOME|XDG_\w+|TMPDIR|SSL_CERT_\w+")


class Interpreters(Protocol):
    """Where Pythons are looked for; a version is major.minor."""

    def path(self, version: str) -> str | None:
        """The path of a CPython of this version on this machine, or None."""

    def missing(self, version: str) -> str | None:
        """`Python X.Y, which is not here: ...` with the way to get it; None where it is here or can be fetched."""

    def fetch(self, version: str) -> None:
        """Try to bring it here; `path` and `missing` say afterwards what came of it."""


class LocalInterpreters:
    """The Pythons of PATH, pyenv, asdf, uv, rye and conda, and those that uv fetched into `folder`."""

    def __init__(self, environ: Mapping[str, str], folder: Path, container: str = "") -> None:
        self.environ = dict(environ)
        self.folder = folder
        self.container = container  # the command that lets cells run in containers, which need no Python here
        self.found: list[PythonVersion] | None = None
        self.in_vain: dict[str, str] = {}  # why a version could not be fetched

    def path(self, version: str) -> str | None:
        if version.startswith("2."):
            return python2(version, self.folders())
        if self.found is None:
            self.found = pythons_in(self.folders())
        fitting = [python for python in self.found if f"{python.major}.{python.minor}" == version]
        best = max(fitting, key=lambda p: (p.version, -len(str(p.executable))), default=None)
        return str(best.executable) if best else None

    def missing(self, version: str) -> str | None:
        if self.path(version) or self.fetchable(version):
            return None
        failure = self.in_vain.get(version)
        said = f" and which uv cannot fetch ({failure})" if failure else ""
        return f"Python {version}, which is not here{said}: {self.way_to_get(version)}"

    def fetchable(self, version: str) -> bool:
        return numbers(version) >= OLDEST_TO_FETCH and version not in self.in_vain

    def fetch(self, version: str) -> None:
        import uv

        argv = [uv.find_uv_bin(), "python", "install", "--no-config", "--no-bin", version]
        with one_at_a_time(self.folder.with_suffix(".lock")):
            try:
                processes.run(argv, env=self.fetch_environment(), timeout=FETCH_SECONDS)
            except processes.ProcessFailed as error:
                self.in_vain[version] = cause(str(error))
                return
        self.found = [*(self.found or []), *pythons_in(self.folder.glob("*/bin"))]
        if not self.path(version):
            self.in_vain.setdefault(version, "it came without an interpreter")

    def fetch_environment(self) -> dict[str, str]:
        """uv's settings as this person has them; where nothing answers, it says so within seconds."""
        patience = {"UV_HTTP_RETRIES": "0", "UV_HTTP_CONNECT_TIMEOUT": "5", "UV_HTTP_TIMEOUT": "15"}
        certificates = {"UV_SYSTEM_CERTS": "1"}
        asked = {name: value for name, value in self.environ.items() if PASSED_ON.fullmatch(name)}
        return patience | certificates | asked | {"UV_PYTHON_INSTALL_DIR": str(self.folder)}

    def folders(self) -> list[Path]:
        return [*interpreter_folders(self.environ), *sorted(self.folder.glob("*/bin"))]

    def way_to_get(self, version: str) -> str:
        """One command that brings this Python, of those that work on this machine."""
        if self.container:
            return f"`{self.container}` gives containers that have it"
        path = self.environ.get("PATH")
        name = f"python-{version}"
        if shutil.which("pyenv", path=path):
            return f"`pyenv install {version}` brings it"
        for conda in ("mamba", "conda"):
            if shutil.which(conda, path=path):
                return f"`{conda} create -y -n {name} python={version}` brings it"
        if shutil.which("micromamba", path=path):
            return f"`micromamba create -y -n {name} -c conda-forge python={version}` brings it"
        if shutil.which("apt-get", path=path) and not shutil.which("docker", path=path):
            return "`sudo apt-get install docker.io` gives containers that have it"
        return "pyenv or conda brings it, once one of them is installed"


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def cause(error: str) -> str:
    """What lies at the root of uv's failure, without the address that it tried."""
    return re.sub(r"`?\w+://\S+", "an address", error).removeprefix("cause: ").removeprefix("error: ")


def pythons_in(folders: Iterable[Path]) -> list["PythonVersion"]:
    """Every CPython 3 in these folders; each is run to tell its version."""
    from findpython import Finder
    from findpython.providers.path import PathProvider

    finder = Finder(selected_providers=[], no_same_file=True)
    finder.add_provider(PathProvider(list(folders)))
    return [python for python in finder.find_all() if python.implementation == "cpython"]


def python2(version: str, folders: Iterable[Path]) -> str | None:
    """A Python 2, which findpython no longer understands, by its name."""
    return next((str(f / f"python{version}") for f in folders if os.access(f / f"python{version}", os.X_OK)), None)


def interpreter_folders(environ: Mapping[str, str]) -> list[Path]:
    """The folders that may hold interpreters, each once; no shims, which run what their configuration says just then."""
    home = home_of(environ)
    data = Path(environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    asdf = Path(environ.get("ASDF_DATA_DIR") or home / ".asdf")
    managed = Path(environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv" / "python")
    found = [
        *(folder for folder in path_folders(environ) if folder.name != "shims"),
        Path(sys.base_prefix) / "bin",
        *(folder for root in pyenv_roots(environ) for folder in newest_first(root, "versions/*/bin")),
        *newest_first(asdf, "installs/python/*/bin"),
        *newest_first(managed, "*/bin"),
        *newest_first(Path(environ.get("RYE_HOME") or home / ".rye") / "py", "**/bin"),
        *(prefix / "bin" for prefix in conda_prefixes(environ)),
    ]
    return [folder for folder in dict.fromkeys(found) if folder.is_dir()]


def home_of(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("HOME") or Path.home())


def path_folders(environ: Mapping[str, str]) -> list[Path]:
    return [Path(part) for part in environ.get("PATH", "").split(os.pathsep) if part]


def newest_first(root: Path, pattern: str) -> list[Path]:
    return sorted(root.glob(pattern), key=lambda path: [int(n) for n in re.findall(r"\d+", str(path))], reverse=True)


def pyenv_roots(environ: Mapping[str, str]) -> list[Path]:
    """Where pyenv keeps its versions: as told, at home, or around its command or its shims."""
    command = shutil.which("pyenv", path=environ.get("PATH"))
    told = environ.get("PYENV_ROOT")
    roots = [Path(told)] if told else []
    roots += [home_of(environ) / ".pyenv", *([Path(command).resolve().parent.parent] if command else [])]
    roots += [folder.parent for folder in path_folders(environ) if folder.name == "shims"]
    return [root for root in dict.fromkeys(roots) if (root / "versions").is_dir()]


def conda_prefixes(environ: Mapping[str, str]) -> Iterator[Path]:
    """The environments of conda, mamba and micromamba: those in conda's own list, and those below every known root."""
    home = home_of(environ)
    known = home / ".conda" / "environments.txt"
    if known.is_file():
        yield from (Path(line) for line in known.read_text(encoding="utf-8", errors="replace").split("\n") if line)
    told = [environ[name] for name in ("MAMBA_ROOT_PREFIX", "CONDA_PREFIX", "CONDA_ROOT") if environ.get(name)]
    commands = [shutil.which(name, path=environ.get("PATH")) for name in ("conda", "mamba")]
    commands += [environ.get("CONDA_EXE")]
    around = [Path(command).resolve().parent.parent for command in commands if command]
    for root in [*map(Path, told), *around, *(home / name for name in CONDA_ROOTS), Path("/opt/conda")]:
        yield root
        yield from newest_first(root, "envs/*")
