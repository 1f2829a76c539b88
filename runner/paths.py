"""Where everything lies, named once."""

from collections.abc import Mapping
from pathlib import Path

import msgspec
import platformdirs

from runner.redaction import redacted

APP = "matrix-runner"
TURN = Path("/tmp/matrix-runner.lock")  # noqa: S108 - one for all users, whatever their TMPDIR is
TURN_VARIABLE = "MATRIX_RUNNER_TURN"


class Paths(msgspec.Struct, frozen=True, kw_only=True):
    """The folders of a checkout and the user's cache."""

    root: Path
    cache: Path
    turn: Path = TURN  # the file by which runners of a machine measure one after the other

    @property
    def matrix(self) -> Path:
        return self.root / "matrix"

    @property
    def references(self) -> Path:
        return self.matrix / "references"

    @property
    def images(self) -> Path:
        return self.root / "images"

    @property
    def locks(self) -> Path:
        return self.images / "locks"

    @property
    def guest(self) -> Path:
        return self.images / "guest"

    @property
    def reports(self) -> Path:
        return self.root / "reports"

    @property
    def results(self) -> Path:
        return self.reports / "results"

    @property
    def environments(self) -> Path:
        return self.cache / "environments"

    @property
    def pythons(self) -> Path:
        return self.cache / "pythons"

    @property
    def logs(self) -> Path:
        return self.cache / "logs"

    def impersonal(self, text: str, launch: Path | None = None) -> str:
        """The text as a record that is published may keep it: without where on this machine things lie, and without secrets."""
        places = {self.environments: "<environments>", self.cache: "<cache>", self.root: "<checkout>", Path.home(): "~"}
        if launch:
            places = {launch: "<launch>"} | places
        for place, name in places.items():
            if place != Path(place.anchor):  # as the home of a user without one is
                text = text.replace(str(place), name)
        return redacted(text)

    def shown(self, path: Path) -> str:
        """The path as a person in the checkout would type it."""
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)


def checkout_paths(environ: Mapping[str, str] = {}) -> Paths:
    """The folders around this very package; a variable names another file to take turns by, as one that containers share."""
    return Paths(
        root=Path(__file__).resolve().parent.parent,
        cache=Path(platformdirs.user_cache_dir(APP)),
        turn=Path(environ.get(TURN_VARIABLE) or TURN),
    )
