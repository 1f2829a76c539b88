"""A record: all that is known of one launch of one job, one file, never changed after it was written."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from runner.cells import NAME, Device
from runner.protocol import Sample, Trained, WarmUp, Witness

# The format of a record. History: 1, the first.
RECORD_SCHEMA = 1

LONGEST = 1e8  # seconds of one sample

Fate = Literal["ok", "unsupported", "not_built", "wrong_witness", "out_of_memory", "timeout", "crashed", "interrupted"]


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """What one table is about: a suite on one machine, device, engine and profile."""

    suite: str
    machine: str
    device: Device
    engine: str
    profile: str


class Skips(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """<workload>/<profile>-<device>-<engine>-skipped.json: which cells this machine could not run, and why."""

    schema: int = RECORD_SCHEMA
    suite: str
    reasons: dict[str, str]


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """reports/results/<machine>/<workload>/<cell>/<profile>-<device>-<engine>-<launch>.json; docs/design.md explains each field."""

    schema: int = RECORD_SCHEMA
    cell: str
    release: str
    options: dict[str, str]
    suite: str
    workload: str
    profile: str
    batch: Annotated[int, msgspec.Meta(ge=1, le=10**9)]
    device: Device
    engine: str
    machine: str
    launch: Annotated[int, msgspec.Meta(ge=1, le=10**9)]
    threads: int
    fingerprint: str
    environment: str
    started: Annotated[datetime, msgspec.Meta(tz=True)]
    seconds: float
    fate: Fate
    reason: str = ""
    log: str = ""
    flop_per_sample: int = 0
    costs_seconds: dict[str, float] = {}
    warm_up: WarmUp | None = None
    samples: Annotated[list[Sample], msgspec.Meta(max_length=10_000)] = []
    training: Trained | None = None
    data: str = ""  # what it was trained on: a data set, or "synthetic"
    witness: Witness | None = None
    form: str = ""  # which form of the workload it agrees with, where that has several
    witness_error: float | None = None
    update_error: float | None = None
    peak_memory_bytes: int = 0
    facts: dict[str, Any] = {}

    @property
    def timed(self) -> bool:
        """Whether there is a time to show, be it struck out."""
        return bool(self.samples)

    def step_seconds(self) -> list[float]:
        """Seconds a step, one for each sample."""
        return [sample.seconds / sample.steps for sample in self.samples]

    def flaw(self) -> str:
        """Return what of this record cannot be though it fits its types, or nothing."""
        if wrong := next((n for n in (self.suite, self.release) if not NAME.fullmatch(n)), None):
            return f"{wrong!r} is no name"
        if any(sample.steps < 1 or not 0 < sample.seconds < LONGEST for sample in self.samples):
            return "a sample has no step or no time"
        if self.training and not 0 <= self.training.accuracy <= 1:
            return f"an accuracy of {self.training.accuracy:g}"
        return ""
