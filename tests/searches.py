"""A search for Pythons on a machine that has one of them."""

from runner.interpreters import numbers


class Only311:
    """Finds Python 3.11 alone, and fetches newer ones than 3.7 where the web can be reached."""

    def __init__(self, *, reachable: bool) -> None:
        self.reachable = reachable
        self.here = {"3.11"}
        self.asked: list[str] = []

    def path(self, version: str) -> str | None:
        return f"/usr/bin/python{version}" if version in self.here else None

    def missing(self, version: str) -> str | None:
        fetchable = numbers(version) >= (3, 8) and version not in self.asked
        return None if version in self.here or fetchable else f"Python {version}, which is not here: `pyenv` brings it"

    def fetch(self, version: str) -> None:
        self.asked.append(version)
        if self.reachable:
            self.here.add(version)
