"""Finds the Python that a release needs among those on this machine."""

import os
import shutil
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from findpython import PythonVersion


@cache
def interpreter(version: str) -> str | None:
    """The path of a CPython of this major.minor version, newest patch first, or None."""
    major, minor = (int(part) for part in version.split("."))
    fitting = [p for p in interpreters() if (p.major, p.minor) == (major, minor)]
    # A shim runs whatever its configuration says at that moment; the interpreter itself stays what it is.
    best = max(
        fitting, key=lambda p: (p.version, "shims" not in p.executable.parts, -len(str(p.executable))), default=None
    )
    return str(best.executable) if best else python2(version)


@cache
def interpreters() -> list["PythonVersion"]:
    """Every released CPython 3 on this machine; each is run to tell its version, so they are looked for once."""
    from findpython import Finder
    from findpython.providers.pyenv import PyenvProvider

    finder = Finder()
    for root in pyenv_roots():
        finder.add_provider(PyenvProvider(root))
    return [p for p in finder.find_all() if p.implementation.lower() == "cpython"]


def pyenv_roots() -> list[Path]:
    """Where pyenv keeps its versions: as told, at home, or around its command where the environment tells nothing."""
    command = shutil.which("pyenv")
    told = os.environ.get("PYENV_ROOT")
    roots = [Path(told)] if told else []
    roots += [Path.home() / ".pyenv", *([Path(command).resolve().parent.parent] if command else [])]
    return [root for root in dict.fromkeys(roots) if (root / "versions").is_dir()]


def python2(version: str) -> str | None:
    """A Python 2, which findpython no longer understands, by its name on PATH or in a folder of pyenv."""
    if not version.startswith("2."):
        return None
    found = [path for root in pyenv_roots() for path in sorted(root.glob(f"versions/{version}.*/bin/python{version}"))]
    return str(found[-1]) if found else shutil.which(f"python{version}")


def way_to_get(version: str) -> str:
    """One line on how to get that Python."""
    if tuple(int(part) for part in version.split(".")) >= (3, 8):
        return f"uv python install {version}"
    return f"pyenv install {version}"
