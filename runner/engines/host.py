"""The host engine: this very interpreter, which has the framework already; nothing is installed."""

import importlib.metadata
import importlib.util
import platform
from collections.abc import Mapping
from pathlib import Path

from runner.engines import Exit, Launch, Prepared
from runner.engines.local import run_guest, this_interpreter, with_device
from runner.hardware import reason_against_gpu
from runner.paths import Paths
from runner.recipes import Recipe


class HostEngine:
    """Runs guests under the runner's own interpreter."""

    name = "host"

    def __init__(self, paths: Paths, environ: Mapping[str, str]) -> None:
        self.paths = paths
        self.inherited = dict(environ)

    def reason_against(self, recipe: Recipe) -> str | None:
        if recipe.reason_against_this_machine:
            return recipe.reason_against_this_machine
        module, wanted = recipe.release.module, recipe.release.version
        if recipe.device == "gpu" and (reason := reason_against_gpu(self.paths, recipe.stack.cuda)):
            return reason
        if importlib.util.find_spec(module.partition(".")[0]) is None:
            return f"this interpreter has no {module}; use --engine venv"
        found = installed_version(recipe)
        if not (found + ".").startswith(wanted + ".") and not wanted_is_prefix(found, wanted):
            return f"this interpreter has {module} {found}, not {wanted}; use --engine venv"
        return None

    def key(self, recipe: Recipe) -> str:
        return f"host-{platform.python_version()}-{recipe.release.module}-{installed_version(recipe)}"

    def prepare(self, recipe: Recipe) -> Prepared:
        return Prepared(
            recipe=recipe,
            place=this_interpreter(),
            key=self.key(recipe),
            facts={"interpreter": Path(this_interpreter()).name},
        )

    def run(self, prepared: Prepared, launch: Launch) -> Exit:
        shown = with_device(launch, prepared.recipe.device)
        return run_guest(prepared.place, self.paths.guest, shown, self.inherited, prepared.recipe.language)


def installed_version(recipe: Recipe) -> str:
    """The version that this interpreter has of the release's first requirement."""
    name = recipe.stack.requirements[0].partition("==")[0].partition("[")[0]
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def wanted_is_prefix(found: str, wanted: str) -> bool:
    """A local version such as 2.13.0+cpu is the release 2.13.0."""
    return found.partition("+")[0] == wanted
