"""Which engine to take when nobody said."""

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from runner import processes
from runner.catalog import Catalog
from runner.engines import Engine
from runner.engines.docker import Connection, DockerEngine, connected
from runner.engines.host import HostEngine
from runner.engines.images import BuildSettings, settings_of
from runner.engines.venv import VenvEngine
from runner.errors import UnsupportedHere
from runner.interpreters import LocalInterpreters
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
            return environments(paths, environ, "--engine docker" if docker_is_installed(environ) else ""), ""
        case "host":
            return HostEngine(paths, environ), ""
        case "docker":
            connection = connected(environ)
            if connection.client is None:
                raise UnsupportedHere(f"no Docker engine: {way_to_docker(connection, environ)}; or use --engine venv")
            return DockerEngine(catalog, paths, connection, settings), ""
        case _:
            return automatic(recipes, catalog, paths, environ, settings)


def automatic(
    recipes: Sequence[Recipe], catalog: Catalog, paths: Paths, environ: Mapping[str, str], settings: BuildSettings
) -> tuple[Engine, str]:
    """Containers where an engine answers and every base can be had, else virtual environments."""
    connection = connected(environ)
    if connection.client is None:
        way = start_command(connection.remedy, environ) if docker_is_installed(environ) else ""
        return environments(
            paths, environ, way
        ), f"engine: venv (no Docker engine: {way_to_docker(connection, environ)})"
    engine = DockerEngine(catalog, paths, connection, settings)
    missing = missing_base(engine, recipes)
    if missing:
        return environments(
            paths, environ
        ), f"engine: venv (Docker {connection.text.partition(',')[0]} answers, but {missing})"
    return engine, f"engine: docker ({connection.text})"


def environments(paths: Paths, environ: Mapping[str, str], container: str = "") -> VenvEngine:
    """The venv engine; `container` is what a person can do to have containers, which need no Python of this machine."""
    return VenvEngine(paths, environ, LocalInterpreters(environ, paths.pythons, container))


def way_to_docker(connection: Connection, environ: Mapping[str, str], root: Path = Path("/")) -> str:
    """Why no engine answers, with what changes it."""
    if not docker_is_installed(environ, root):
        return "Docker is not installed"
    way = start_command(connection.remedy, environ, root)
    return f"Docker is installed and does not answer; start it first: {way}" if way else connection.remedy


def docker_is_installed(environ: Mapping[str, str], root: Path = Path("/")) -> bool:
    return bool(shutil.which("docker", path=environ.get("PATH"))) or (root / "var/run/docker.sock").exists()


def start_command(remedy: str, environ: Mapping[str, str], root: Path = Path("/")) -> str:
    """The command after which an installed Docker answers; nothing where no one command does it."""
    if "add it to the group docker" in remedy:
        return "sudo usermod -aG docker $USER && newgrp docker"
    if "start Docker" not in remedy or environ.get("DOCKER_HOST"):
        return ""
    return "sudo systemctl start docker" if (root / "run/systemd/system").is_dir() else "sudo service docker start"


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
