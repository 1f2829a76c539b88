"""Finds the Python that a release needs among those on this machine."""

from functools import cache


@cache
def interpreter(version: str) -> str | None:
    """The path of a CPython of this major.minor version, newest patch first, or None."""
    import findpython

    major, minor = (int(part) for part in version.split("."))
    found = [p for p in findpython.find_all(major, minor) if p.implementation.lower() == "cpython"]
    best = max(found, key=lambda p: (p.version, -len(str(p.executable))), default=None)
    return str(best.executable) if best else None


def way_to_get(version: str) -> str:
    """One line on how to get that Python."""
    if tuple(int(part) for part in version.split(".")) >= (3, 8):
        return f"uv python install {version}"
    return f"pyenv install {version}"
