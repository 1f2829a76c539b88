"""The venv engine: a virtual environment for each release, made with uv from its lock and shared by content key."""

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from runner import processes
from runner.engines import Exit, Launch, NotBuilt, Prepared
from runner.engines.local import run_guest, this_interpreter
from runner.files import make_folder
from runner.interpreters import interpreter, way_to_get
from runner.locks import PYTHON_2, PYTHON_2_SEED, index_settings
from runner.owners import passing_folder
from runner.paths import Paths
from runner.recipes import Recipe
from runner.turns import one_at_a_time

INSTALL_SECONDS = 1800.0


class VenvEngine:
    """Environments under the user's cache folder; one that is whole has an environment.json, written last."""

    name = "venv"

    def __init__(self, paths: Paths, environ: Mapping[str, str]) -> None:
        import uv

        self.paths = paths
        self.inherited = dict(environ)
        self.uv = uv.find_uv_bin()  # once: it asks sysconfig, whose first answers to several threads can be half made

    def reason_against(self, recipe: Recipe) -> str | None:
        if recipe.reason_against_this_machine:
            return recipe.reason_against_this_machine
        version = recipe.release.python
        if recipe.device == "gpu" and not Path("/dev/nvidiactl").exists():
            return "no NVIDIA GPU on this machine"
        if interpreter(version) is None:
            return f"no Python {version} on this machine; get it with: {way_to_get(version)}"
        missing = [p for p in recipe.stack.programs if shutil.which(p, path=self.inherited.get("PATH")) is None]
        if missing:
            return f"{recipe.release.title} needs {missing[0]} on PATH; on Debian: apt-get install {missing[0]}"
        absent = [target for target in recipe.stack.links.values() if not Path(target).exists()]
        if absent:
            return f"{recipe.release.title} needs {absent[0]}; on Debian: apt-get install {' '.join(recipe.stack.apt)}"
        return None

    def key(self, recipe: Recipe) -> str:
        return recipe.key

    def prepare(self, recipe: Recipe) -> Prepared:
        folder = self.paths.environments / f"{Path(recipe.lock_name).stem}-{recipe.key}"
        make_folder(self.paths.environments)
        with one_at_a_time(folder.with_name(folder.name + ".lock")):
            stamp = folder / "environment.json"
            if not stamp.is_file():
                self.make(recipe, folder)
            facts: dict[str, Any] = msgspec.json.decode(stamp.read_bytes())
        return Prepared(recipe=recipe, place=str(folder / "bin" / "python"), key=recipe.key, facts=facts)

    def make(self, recipe: Recipe, folder: Path) -> None:
        """Make the environment from nothing; what an earlier try left behind goes first."""
        start = time.monotonic()
        log = make_folder(self.paths.logs) / f"{folder.name}.log"
        shutil.rmtree(folder, ignore_errors=True)
        base = interpreter(recipe.release.python)
        python = str(folder / "bin" / "python")
        try:
            with installer_inputs(recipe) as inputs:
                for argv in install_commands(self.uv, recipe, folder, str(base), inputs):
                    processes.run(argv, env=self.install_environment(), timeout=INSTALL_SECONDS, log=log)
            make_links(recipe, folder)
            smoke = self.inherited | recipe.environment | {"HOME": str(folder)}
            processes.run([python, "-c", f"import {recipe.release.module}"], env=smoke, timeout=300, log=log)
        except processes.ProcessFailed as error:
            raise NotBuilt(f"{error} (log: {log})") from None
        facts = {"interpreter": Path(str(base)).name, "seconds": round(time.monotonic() - start, 1)}
        (folder / "environment.json").write_bytes(msgspec.json.encode(facts))

    def install_environment(self) -> dict[str, str]:
        return self.inherited | self.index_settings()

    def index_settings(self) -> dict[str, str]:
        """pip's index settings, from its files and variables, in uv's words."""
        try:
            config = processes.run([this_interpreter(), "-m", "pip", "config", "list"], env=self.inherited, timeout=60)
        except processes.ProcessFailed:  # an environment without pip: uv's own settings stand
            config = ""
        return index_settings(config, self.inherited)

    def run(self, prepared: Prepared, launch: Launch) -> Exit:
        return run_guest(prepared.place, self.paths.guest, launch, self.inherited, prepared.recipe.language)


@contextmanager
def installer_inputs(recipe: Recipe) -> Iterator[Path]:
    """A passing folder with the lock and the build constraints as files, for the installer to read."""
    with passing_folder() as inputs:
        (inputs / "lock.txt").write_text(recipe.lock, encoding="utf-8")
        (inputs / "build-constraints.txt").write_text("\n".join(recipe.stack.build_constraints), encoding="utf-8")
        yield inputs


def install_commands(uv: str, recipe: Recipe, folder: Path, base: str, inputs: Path) -> Iterator[list[str]]:
    """What makes the environment: uv, or virtualenv and pip for Python 2.7, which uv does not know."""
    python = str(folder / "bin" / "python")
    lock, constraints = str(inputs / "lock.txt"), str(inputs / "build-constraints.txt")
    if recipe.release.python == PYTHON_2:
        virtualenv = [uv, "tool", "run", "--from", PYTHON_2_SEED, "virtualenv"]
        yield [*virtualenv, "--quiet", "--python", base, str(folder)]
        yield [python, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "-r", lock]
        return
    yield [uv, "venv", "--quiet", "--no-project", "--python", base, str(folder)]
    yield [
        uv, "pip", "install", "--quiet", "--python", python, "--require-hashes", "--no-deps",
        "--build-constraints", constraints, "-r", lock,
    ]  # fmt: skip


def make_links(recipe: Recipe, folder: Path) -> None:
    """Symbolic links below site-packages to libraries of the system under the names that old wheels want."""
    (site,) = folder.glob("lib/python*/site-packages")
    for link, target in recipe.stack.links.items():
        (site / link).unlink(missing_ok=True)
        (site / link).symlink_to(target)
