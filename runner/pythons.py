"""The Pythons that a run needs and this machine lacks: fetches those that can be fetched, tells the way to the others."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from runner.expand import Job, Skipped
from runner.interpreters import Interpreters, numbers
from runner.jobs import Work


def fetch_pythons(work: Work, due: Sequence[Job], echo: Callable[[str], None]) -> bool:
    """Fetch each Python that these jobs need and that is not here; whether all came."""
    if work.interpreters is None:
        return True
    wanted = [version for version in pythons_of(work, due) if is_to_fetch(work.interpreters, version)]
    for version in wanted:
        echo(f"fetching Python {version}")
        work.interpreters.fetch(version)
    return all(work.interpreters.path(version) for version in wanted)


def pythons_of(work: Work, jobs: Iterable[Job]) -> list[str]:
    return sorted({work.catalog.release(job.cell.release).python for job in jobs} - {""}, key=numbers)


def is_to_fetch(interpreters: Interpreters, version: str) -> bool:
    return interpreters.path(version) is None and interpreters.missing(version) is None


def python_lines(work: Work, able: int, due: Sequence[Job], skipped: Sequence[Skipped]) -> dict[str, str]:
    """How many rows need each Python that is not here and the way to it, by the reason that their skips have."""
    if work.interpreters is None:
        return {}
    rows = able + len(skipped)
    skips = Counter(skip.reason for skip in skipped)
    waiting = Counter(work.catalog.release(job.cell.release).python for job in due)
    lines = {}
    for version in pythons_of(work, [*due, *(skip.job for skip in skipped)]):
        missing = work.interpreters.missing(version)
        if count := skips[f"needs {missing}"]:
            lines[f"needs {missing}"] = f"{rows_that_need(count, rows)} {missing}"
        elif waiting[version] and is_to_fetch(work.interpreters, version):
            count = waiting[version]
            lines[version] = f"{rows_that_need(count, rows)} Python {version}, which is not here: a run fetches it"
    return lines


def rows_that_need(count: int, rows: int) -> str:
    return f"{count} of {rows} rows {'needs' if count == 1 else 'need'}"
