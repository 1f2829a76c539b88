"""The seam between jobs and the machines they run on."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from runner.jobs import Task, Work
from runner.records import Record


class Scheduler(Protocol):
    """Runs tasks somewhere and yields each record as its launch ends; whoever drives it writes them."""

    def records(self, work: Work, tasks: Sequence[Task]) -> Iterator[Record]: ...
