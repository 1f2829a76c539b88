"""This machine: all environments first, then one launch at a time, the cells taking turns."""

import queue
import threading
from collections.abc import Iterator, Sequence

from runner.engines import NotBuilt, Prepared
from runner.events import Event
from runner.jobs import Task, Work, kept_record, not_built, run_launch
from runner.recipes import Recipe, recipe_for
from runner.records import Record
from runner.text import in_one_line

PREPARED_AT_ONCE = 3  # downloads wait for the network, builds for one core each


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


def prepare_all(work: Work, tasks: Sequence[Task]) -> tuple[dict[str, Prepared], dict[str, NotBuilt]]:
    """Return the environments of these tasks by release, several made at once, and why each of the others has none."""
    prepared: dict[str, Prepared] = {}
    failed: dict[str, NotBuilt] = {}
    waiting: queue.SimpleQueue[Recipe] = queue.SimpleQueue()
    ended: queue.SimpleQueue[tuple[str, Prepared | NotBuilt]] = queue.SimpleQueue()
    recipes = {
        task.job.cell.release: recipe_for(work.catalog, work.paths, task.job.cell.release, task.job.device)
        for task in tasks
    }
    for recipe in recipes.values():
        waiting.put(recipe)
    for _ in range(min(PREPARED_AT_ONCE, len(recipes))):
        # Daemons: an interrupt must not wait for a build; processes.end_all and the engine end what they started.
        threading.Thread(target=prepare_waiting, args=(work, waiting, ended), daemon=True).start()
    for _ in recipes:
        release, result = ended.get()
        if isinstance(result, NotBuilt):
            failed[release] = result
        else:
            prepared[release] = result
        reason = str(failed.get(release, ""))
        work.tell(Event(subject=release, state="prepared", detail=reason, ok=not reason))
    return prepared, failed


def prepare_waiting(
    work: Work, waiting: "queue.SimpleQueue[Recipe]", ended: "queue.SimpleQueue[tuple[str, Prepared | NotBuilt]]"
) -> None:
    """Prepare one recipe after the other until none waits."""
    while True:
        try:
            recipe = waiting.get_nowait()
        except queue.Empty:
            return
        ended.put((recipe.release_id, prepared_or_not(work, recipe)))


def prepared_or_not(work: Work, recipe: Recipe) -> Prepared | NotBuilt:
    """Return the environment of a recipe, or why there is none: whatever happens to one stops no other."""
    try:
        work.tell(Event(subject=recipe.release_id, state="preparing"))
        return work.engine.prepare(recipe)
    except NotBuilt as reason:
        return reason
    except BaseException as error:  # this thread has nobody above it to tell
        failure = NotBuilt(f"the runner could not prepare it: {in_one_line(error)}")
        failure.__cause__ = error
        return failure


def announced(work: Work, task: Task, record: Record) -> Record:
    work.tell(
        Event(subject=task.subject, state="done", detail=outcome(record), launch=record.launch, ok=record.fate == "ok")
    )
    return record


def outcome(record: Record) -> str:
    """Return one launch in a few words."""
    if record.fate != "ok" or not record.timed or record.witness_error is None:
        return f"{record.fate}: {record.reason}"
    times = sorted(record.step_seconds())
    said = f"{1000 * times[len(times) // 2]:.1f} ms a step, witness {record.witness_error:.0e}"
    if record.training:
        said += f", accuracy {100 * record.training.accuracy:.1f} % ({record.data})"
    return said
