"""The seam between what is to be run and where: docker, venv or host."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from runner.protocol import GuestEvent
from runner.recipes import Recipe


class NotBuilt(Exception):
    """An environment could not be made; the text is the root cause in one line and where the log lies."""


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """An environment that is ready: where, under which key, and what is known of it."""

    recipe: Recipe
    place: str  # an interpreter's path, or an image's tag
    key: str
    facts: dict[str, Any] = {}


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """How a guest ended. The answer itself lies in the job folder, if the guest came so far."""

    code: int  # negative: the signal that killed it
    timed_out: bool
    seconds: float
    out_of_memory: bool = False
    error: str = ""  # what the engine itself could not do
    facts: dict[str, Any] = {}


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the guest: its folder with request.json and what that speaks of, and what surrounds it."""

    folder: Path
    log: Path
    environment: Mapping[str, str]
    threads: int
    timeout_seconds: float
    cpuset: str = ""
    on_event: Callable[[GuestEvent], None]
    on_note: Callable[[str], None] = lambda _: None  # what the engine itself has to say, for a person


class Engine(Protocol):
    """Where jobs run."""

    name: str

    def reason_against(self, recipe: Recipe) -> str | None:
        """Why this engine cannot run the recipe on this machine, with the way to change that; None if it can."""

    def key(self, recipe: Recipe) -> str:
        """The content key of the environment that `prepare` would give."""

    def prepare(self, recipe: Recipe) -> Prepared:
        """Make the environment, or reuse it by its key; NotBuilt when that fails."""

    def run(self, prepared: Prepared, launch: Launch) -> Exit:
        """Run the guest on the job folder and wait for it; an interrupt ends it and goes on up."""


def thread_variables(threads: int) -> dict[str, str]:
    """What tells the usual thread pools how many threads to use."""
    return {
        name: str(threads)
        for name in (
            "OMP_NUM_THREADS",
            "OPENBLAS_NUM_THREADS",
            "MKL_NUM_THREADS",
            "NUMEXPR_NUM_THREADS",
            "JULIA_NUM_THREADS",
        )
    }
