"""This machine: all environments first, then one launch at a time, the cells taking turns."""

from collections.abc import Iterator, Sequence

from runner.engines import NotBuilt, Prepared
from runner.events import Event
from runner.jobs import Task, Work, kept_record, not_built, run_launch
from runner.recipes import recipe_for
from runner.records import Record


class LocalScheduler:
    """While a job is measured, nothing else of ours runs on the machine."""

    def __init__(self, *, again: bool = False) -> None:
        self.again = again

    def records(self, work: Work, tasks: Sequence[Task]) -> Iterator[Record]:
        due = [(task, launch) for launch, task in turns(tasks) if self.again or kept_record(work, task, launch) is None]
        prepared, failed = prepare_all(work, [task for task, _ in due])
        for task, launch in due:
            release = task.job.cell.release
            if release in failed:
                yield announced(work, task, not_built(work, task, launch, failed[release]))
                continue
            work.tell(Event(subject=task.subject, state="running", detail="starting", launch=launch))
            yield announced(work, task, run_launch(work, task, prepared[release], launch))


def turns(tasks: Sequence[Task]) -> Iterator[tuple[int, Task]]:
    """First launches of all, then second launches, each round from another start, so that drift touches all alike."""
    for launch in range(1, max((task.launches for task in tasks), default=0) + 1):
        shift = (launch - 1) * len(tasks) // 3
        for task in [*tasks[shift:], *tasks[:shift]]:
            if launch <= task.launches:
                yield launch, task


def prepare_all(work: Work, tasks: Sequence[Task]) -> tuple[dict[str, Prepared], dict[str, str]]:
    """The environments of these tasks by release, and the reason for each that could not be made."""
    prepared: dict[str, Prepared] = {}
    failed: dict[str, str] = {}
    for task in tasks:
        release = task.job.cell.release
        if release in prepared or release in failed:
            continue
        work.tell(Event(subject=release, state="preparing"))
        try:
            prepared[release] = work.engine.prepare(recipe_for(work.catalog, work.paths, release, task.job.device))
            work.tell(Event(subject=release, state="prepared"))
        except NotBuilt as reason:
            failed[release] = str(reason)
            work.tell(Event(subject=release, state="prepared", detail=str(reason), ok=False))
    return prepared, failed


def announced(work: Work, task: Task, record: Record) -> Record:
    work.tell(
        Event(subject=task.subject, state="done", detail=outcome(record), launch=record.launch, ok=record.fate == "ok")
    )
    return record


def outcome(record: Record) -> str:
    """One launch in a few words."""
    if record.fate != "ok":
        return f"{record.fate}: {record.reason}"
    times = sorted(record.step_seconds())
    return f"{1000 * times[len(times) // 2]:.1f} ms a step, witness {record.witness_error:.0e}"
