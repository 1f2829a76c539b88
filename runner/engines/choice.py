"""Which engine to take when nobody said."""

from collections.abc import Mapping, Sequence

from runner.engines import Engine
from runner.engines.host import HostEngine
from runner.engines.venv import VenvEngine
from runner.paths import Paths
from runner.recipes import Recipe


def chosen_engine(name: str, recipes: Sequence[Recipe], paths: Paths, environ: Mapping[str, str]) -> tuple[Engine, str]:
    """The engine of that name, and for `auto` a line that says which was taken and why."""
    match name:
        case "venv":
            return VenvEngine(paths, environ), ""
        case "host":
            return HostEngine(paths.guest, environ), ""
        case _:
            return VenvEngine(paths, environ), "engine: venv"
