"""Does it matter where a cell runs? The same cells under two engines, launches taking turns, and the ratio of their times."""

from collections.abc import Callable, Sequence

import msgspec

from runner.engines import Engine, Prepared
from runner.errors import CellFailed
from runner.expand import Job
from runner.jobs import Task, Work, run_launch, task_for
from runner.recipes import recipe_for
from runner.stats import Estimate, estimate


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """One cell under two engines: the times, and first over second."""

    cell: str
    first: Estimate
    second: Estimate

    @property
    def ratio(self) -> float:
        return self.first.median / self.second.median


def pairs(
    work: Work, engines: tuple[Engine, Engine], jobs: Sequence[Job], launches: int, echo: Callable[[str], None]
) -> list[Pair]:
    """Launch each job in turns under both engines, A B B A A B ..., and estimate each one's time.

    Raises:
        CellFailed: as soon as a launch does not end well, for then there is nothing to compare.
    """
    return [pair(work, engines, job, launches, echo) for job in jobs]


def pair(work: Work, engines: tuple[Engine, Engine], job: Job, launches: int, echo: Callable[[str], None]) -> Pair:
    works = [msgspec.structs.replace(work, engine=engine) for engine in engines]
    tasks = [task_for(one, job) for one in works]
    prepared = [one.engine.prepare(recipe_for(one.catalog, one.paths, job.cell.release, job.device)) for one in works]
    times: tuple[list[list[float]], list[list[float]]] = ([], [])
    for launch in range(launches):
        for side in (0, 1) if launch % 2 == 0 else (1, 0):
            times[side].append(timed(works[side], tasks[side], prepared[side], launch))
    found = Pair(cell=job.cell.id, first=estimate(times[0]), second=estimate(times[1]))
    echo(
        f"{found.cell}: {1000 * found.first.median:.1f} ms and {1000 * found.second.median:.1f} ms, ratio {found.ratio:.3f}"
    )
    return found


def timed(work: Work, task: Task, prepared: Prepared, launch: int) -> list[float]:
    record = run_launch(work, task, prepared, launch + 1)
    if record.fate != "ok":
        raise CellFailed(f"{record.cell} under {record.engine}: {record.fate}: {record.reason}")
    return record.step_seconds()


def in_markdown(found: Sequence[Pair], names: tuple[str, str]) -> str:
    """The pairs as a table, the median ratio last."""
    import statistics

    lines = [f"| Cell | `{names[0]}` | `{names[1]}` | Ratio |", "| --- | ---: | ---: | ---: |"]
    lines += [
        f"| `{p.cell}` | {1000 * p.first.median:.1f} ms | {1000 * p.second.median:.1f} ms | {p.ratio:.3f} |"
        for p in found
    ]
    lines.append(f"| median | | | {statistics.median(p.ratio for p in found):.3f} |")
    return "\n".join(lines)
