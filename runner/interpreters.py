"""Finds the Python that a release needs among those on this machine."""

import shutil
from functools import cache
from pathlib import Path


@cache
def interpreter(version: str) -> str | None:
    """The path of a CPython of this major.minor version, newest patch first, or None."""
    import findpython

    major, minor = (int(part) for part in version.split("."))
    found = [p for p in findpython.find_all(major, minor) if p.implementation.lower() == "cpython"]
    # A shim runs whatever its configuration says at that moment; the interpreter itself stays what it is.
    best = max(
        found, key=lambda p: (p.version, "shims" not in p.executable.parts, -len(str(p.executable))), default=None
    )
    return str(best.executable) if best else python2(version)


def python2(version: str) -> str | None:
    """A Python 2, which findpython no longer understands, by its name on PATH or in pyenv's folder."""
    if not version.startswith("2."):
        return None
    pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"))
    return str(pyenv[-1]) if pyenv else shutil.which(f"python{version}")


def way_to_get(version: str) -> str:
    """One line on how to get that Python."""
    if tuple(int(part) for part in version.split(".")) >= (3, 8):
        return f"uv python install {version}"
    return f"pyenv install {version}"
