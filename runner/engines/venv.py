"""The venv engine: a virtual environment for each release, made with uv from its lock and shared by content key."""

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from runner import processes
from runner.engines import Exit, Launch, NotBuilt, Prepared
from runner.engines.local import run_guest, this_interpreter, with_device
from runner.files import make_folder
from runner.hardware import reason_against_gpu
from runner.installers import installer_environment
from runner.interpreters import Interpreters, LocalInterpreters
from runner.locks import PYTHON_2, SEED_FILE, index_settings, python2_commands
from runner.owners import passing_folder
from runner.paths import Paths
from runner.recipes import Recipe
from runner.turns import one_at_a_time

INSTALL_SECONDS = 1800.0


class VenvEngine:
    """Environments under the user's cache folder; one that is whole has an environment.json, written last."""

    name = "venv"

    def __init__(self, paths: Paths, environ: Mapping[str, str], interpreters: Interpreters | None = None) -> None:
        import uv

        self.paths = paths
        self.inherited = dict(environ)
        self.interpreters = interpreters or LocalInterpreters(environ, paths.pythons)
        self.uv = uv.find_uv_bin()  # once: it asks sysconfig, whose first answers to several threads can be half made

    def reason_against(self, recipe: Recipe) -> str | None:
        if recipe.reason_against_this_machine:
            return recipe.reason_against_this_machine
        version = recipe.release.python
        if recipe.device == "gpu" and (reason := reason_against_gpu(self.paths, recipe.stack.cuda)):
            return reason
        if missing_python := self.interpreters.missing(version):
            return f"needs {missing_python}"
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
        base = self.base(recipe.release.python)
        python = str(folder / "bin" / "python")
        try:
            with installer_inputs(recipe, self.paths) as inputs:
                environment = self.install_environment() | {"PYTHONPATH": str(inputs / "tools")}
                for argv in install_commands(self.uv, recipe, folder, base, inputs):
                    processes.run(argv, env=environment, timeout=INSTALL_SECONDS, log=log)
            make_links(recipe, folder)
            smoke = self.smoke_environment(folder) | recipe.environment
            processes.run([python, "-c", f"import {recipe.release.module}"], env=smoke, timeout=300, log=log)
        except processes.ProcessFailed as error:
            raise NotBuilt(f"{error} (log: {log})") from None
        facts = {"interpreter": Path(base).name, "seconds": round(time.monotonic() - start, 1)}
        (folder / "environment.json").write_bytes(msgspec.json.encode(facts))

    def base(self, version: str) -> str:
        """The interpreter to make an environment of; it is fetched where it is not here."""
        if self.interpreters.path(version) is None and self.interpreters.missing(version) is None:
            self.interpreters.fetch(version)
        found = self.interpreters.path(version)
        if found is None:
            raise NotBuilt(f"needs {self.interpreters.missing(version)}")
        return found

    def install_environment(self) -> dict[str, str]:
        return installer_environment(self.inherited) | self.index_settings()

    def smoke_environment(self, folder: Path) -> dict[str, str]:
        """What the first import gets: as little as a guest."""
        path = f"{folder / 'bin'}{os.pathsep}{self.inherited.get('PATH', os.defpath)}"
        return {"PATH": path, "HOME": str(folder), "TMPDIR": str(folder), "LANG": "C.UTF-8"}

    def index_settings(self) -> dict[str, str]:
        """pip's index settings, from its files and variables, in uv's words."""
        installer = installer_environment(self.inherited)
        try:
            config = processes.run([this_interpreter(), "-m", "pip", "config", "list"], env=installer, timeout=60)
        except processes.ProcessFailed:  # an environment without pip: uv's own settings stand
            config = ""
        return index_settings(config, installer)

    def run(self, prepared: Prepared, launch: Launch) -> Exit:
        shown = with_device(launch, prepared.recipe.device)
        return run_guest(prepared.place, self.paths.guest, shown, self.inherited, prepared.recipe.language)


@contextmanager
def installer_inputs(recipe: Recipe, paths: Paths) -> Iterator[Path]:
    """A passing folder with the locks as files, for the installer to read; the tools go there too."""
    with passing_folder() as inputs:
        (inputs / "lock.txt").write_text(recipe.lock, encoding="utf-8")
        (inputs / "tools.txt").write_text(recipe.tools, encoding="utf-8")
        if recipe.release.python == PYTHON_2:
            shutil.copyfile(paths.locks / SEED_FILE, inputs / "seed.txt")
        yield inputs


def install_commands(uv: str, recipe: Recipe, folder: Path, base: str, inputs: Path) -> Iterator[list[str]]:
    """What makes the environment: uv, or virtualenv and pip for Python 2.7, which uv does not know.

    Without build isolation, which would fetch the newest tools under no lock: the locked ones lie on PYTHONPATH.
    """
    python = str(folder / "bin" / "python")
    lock = ["--require-hashes", "--no-deps", "-r", str(inputs / "lock.txt")]
    tools = ["--require-hashes", "--no-deps", "-r", str(inputs / "tools.txt"), "--target", str(inputs / "tools")]
    if recipe.release.python == PYTHON_2:
        yield from python2_commands(uv, inputs / "seed", base, folder, inputs / "seed.txt")
        yield [python, "-m", "pip", "install", "--quiet", *tools]
        yield [python, "-m", "pip", "install", "--quiet", "--no-build-isolation", *lock]
        return
    yield [uv, "venv", "--quiet", "--no-project", "--python", base, str(folder)]
    yield [uv, "pip", "install", "--quiet", "--python", python, *tools]
    yield [uv, "pip", "install", "--quiet", "--python", python, "--no-build-isolation", *lock]


def make_links(recipe: Recipe, folder: Path) -> None:
    """Symbolic links below site-packages to libraries of the system under the names that old wheels want."""
    (site,) = folder.glob("lib/python*/site-packages")
    for link, target in recipe.stack.links.items():
        (site / link).unlink(missing_ok=True)
        (site / link).symlink_to(target)
