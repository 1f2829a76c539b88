"""Which engine to take when nobody said."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from runner import processes
from runner.catalog import Catalog
from runner.engines import Engine
from runner.engines.docker import DockerEngine, connected
from runner.engines.host import HostEngine
from runner.engines.images import BuildSettings, settings_of
from runner.engines.venv import VenvEngine
from runner.errors import UnsupportedHere
from runner.locks import pip_settings
from runner.paths import Paths
from runner.recipes import Recipe


def chosen_engine(
    name: str,
    recipes: Sequence[Recipe],
    catalog: Catalog,
    paths: Paths,
    environ: Mapping[str, str],
    settings: BuildSettings,
) -> tuple[Engine, str]:
    """The engine of that name, and for `auto` a line that says which was taken and why.

    Raises:
        UnsupportedHere: where docker was asked for and no engine answers.
    """
    match name:
        case "venv":
            return VenvEngine(paths, environ), ""
        case "host":
            return HostEngine(paths, environ), ""
        case "docker":
            connection = connected(environ)
            if connection.client is None:
                raise UnsupportedHere(f"no Docker engine: {connection.remedy}; or use --engine venv")
            return DockerEngine(catalog, paths, connection, settings), ""
        case _:
            return automatic(recipes, catalog, paths, environ, settings)


def automatic(
    recipes: Sequence[Recipe], catalog: Catalog, paths: Paths, environ: Mapping[str, str], settings: BuildSettings
) -> tuple[Engine, str]:
    """Containers where an engine answers and every base can be had, else virtual environments."""
    connection = connected(environ)
    if connection.client is None:
        return VenvEngine(paths, environ), f"engine: venv (no Docker engine: {connection.remedy})"
    engine = DockerEngine(catalog, paths, connection, settings)
    missing = missing_base(engine, recipes)
    if missing:
        return VenvEngine(
            paths, environ
        ), f"engine: venv (Docker {connection.text.partition(',')[0]} answers, but {missing})"
    return engine, f"engine: docker ({connection.text})"


def missing_base(engine: DockerEngine, recipes: Sequence[Recipe]) -> str | None:
    """The first base that neither the engine nor its registry has, and why; but for those that nothing else could run."""
    for recipe in recipes:
        if recipe.reason_against_this_machine is None and engine.reason_against(recipe) is None:
            reason = engine.reason_against_base(recipe)
            if reason:
                return reason
    return None


def build_settings(environ: Mapping[str, str], mirror: str = "", ca_bundle: Path | None = None) -> BuildSettings:
    """This machine's settings for builds, as pip has them."""
    try:
        config = processes.run([sys.executable, "-m", "pip", "config", "list"], env=environ, timeout=60)
    except processes.ProcessFailed:
        config = ""
    return settings_of(pip_settings(config, environ), environ, mirror, ca_bundle)
