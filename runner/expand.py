"""Suites to jobs: rows x releases x options, each cell once, in the order of the table."""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import product

import msgspec

from runner.catalog import Catalog, Profile, Rows, Suite, Workload
from runner.cells import Cell, Device, cell_of
from runner.errors import Mistake, nearest


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """cell x workload x device under a suite's profile: what is run and what a record is about."""

    cell: Cell
    suite: str
    workload: str
    profile: str
    device: Device

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.cell.id, self.suite, self.workload, self.device


class Skipped(msgspec.Struct, frozen=True, kw_only=True):
    """A job that cannot run here, and why."""

    job: Job
    reason: str


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a suite's table: a cell, what it computes, and the line (cell, workload) that it is set against."""

    cell: Cell
    workload: str
    base: tuple[str, str] | None = None

    @property
    def line(self) -> tuple[str, str]:
        return self.cell.id, self.workload


def suite_entries(catalog: Catalog, suite: Suite, profile: str | None = None) -> tuple[Entry, ...]:
    """The lines of a suite under a profile, or under any, in the order of its rows, each once."""
    entries: dict[tuple[str, str], Entry] = {}
    for row in suite.rows:
        if profile and row.profiles and profile not in row.profiles:
            continue
        workload = row.workload or suite.workload
        cells = tuple(_row_cells(catalog, row))
        for cell in cells:
            entry = Entry(cell=cell, workload=workload, base=_base(catalog, suite, row, cell, cells))
            entries.setdefault((cell.id, workload), entry)
    return tuple(entries.values())


def _base(catalog: Catalog, suite: Suite, row: Rows, cell: Cell, cells: Sequence[Cell]) -> tuple[str, str] | None:
    """The line that a cell's is set against, or None where it is that line itself."""
    base = cell.id, row.workload or suite.workload
    match row.against:
        case "options":
            base = next(c.id for c in cells if c.release == cell.release), base[1]
        case "releases":
            framework = catalog.framework_of(cell.release)
            base = next(c.id for c in cells if c.release in framework.releases), base[1]
        case "workload":
            base = cell.id, suite.workload
    return None if base == (cell.id, row.workload or suite.workload) else base


def _row_cells(catalog: Catalog, row: Rows) -> Iterator[Cell]:
    for glob in row.releases:
        for id_ in catalog.release_ids():
            if fnmatchcase(id_, glob):
                framework = catalog.framework_of(id_)
                options = framework.options_of(framework.releases[id_])
                axes = {
                    name: [v for v in values if options[name].choice(v)]
                    for name, values in row.options.items()
                    if name in options
                }
                for chosen in product(*axes.values()):
                    yield cell_of(id_, options, dict(zip(axes, chosen, strict=True)))


def row_label(catalog: Catalog, suite: Suite, entry: Entry) -> str:
    """How a table names a line: the release's title and the labels of what the suite varies, options and workload."""
    cell = entry.cell
    framework = catalog.framework_of(cell.release)
    varied = {name for row in suite.rows for name in row.options}
    labels = [
        choice.label
        for name, option in framework.options_of(framework.releases[cell.release]).items()
        if name in varied and (choice := option.choice(cell.options[name])) and choice.label
    ]
    workload = catalog.workloads[entry.workload].label if len(suite.workloads) > 1 else ""
    return " ".join([framework.releases[cell.release].title, *labels, *([workload] if workload else [])])


def expand(
    catalog: Catalog, suites: Sequence[str], globs: Sequence[str], profile: str, device: Device
) -> tuple[Job, ...]:
    """The jobs of these suites (all when none is named) whose cell matches one of the globs.

    Raises:
        Mistake: for an unknown suite or profile, or globs that match no cell.
    """
    jobs = []
    for name in suites or [name for name, suite in catalog.suites.items() if not suite.by_name_only]:
        suite = catalog.suite(name)
        suite_profile(suite, name, profile)
        jobs += [
            Job(cell=entry.cell, suite=name, workload=entry.workload, profile=profile, device=device)
            for entry in suite_entries(catalog, suite, profile)
        ]
    chosen = tuple(job for job in jobs if not globs or any(fnmatchcase(job.cell.id, glob) for glob in globs))
    if not chosen:
        near = nearest(globs[0] if globs else "", [job.cell.id for job in jobs])
        raise Mistake(f"no cell matches {', '.join(globs)!r}{near}; see: python -m runner list")
    return chosen


def suite_profile(suite: Suite, name: str, profile: str) -> Profile:
    if profile not in suite.profiles:
        offered = ", ".join(suite.profiles)
        raise Mistake(
            f"suite {name!r} has no profile {profile!r}{nearest(profile, suite.profiles)}; there are: {offered}"
        )
    return suite.profiles[profile]


def job_for_cell(catalog: Catalog, cell: Cell, workload: str | None, profile: str, device: Device) -> Job:
    """The job of one cell: of the suite that times `workload`, or of the first suite that has the cell, else the first."""
    suites = {n: s for n, s in catalog.suites.items() if workload in (None, n, *s.workloads)}
    if not suites:
        raise Mistake(
            f"no workload {workload!r}{nearest(workload or '', catalog.workloads)}; there are: {', '.join(catalog.workloads)}"
        )
    having = [n for n, s in suites.items() if cell.id in {e.cell.id for e in suite_entries(catalog, s)}]
    name = next(iter(having or suites))
    suite_profile(suites[name], name, profile)
    timed = workload if workload in suites[name].workloads else suites[name].workload
    return Job(cell=cell, suite=name, workload=timed, profile=profile, device=device)


def workload_of(catalog: Catalog, job: Job) -> Workload:
    return catalog.workloads[job.workload]


def nearest_runnable(catalog: Catalog, cell: Cell, device: Device) -> str | None:
    """The cell of the same framework that runs on this kind of device and shares most with the given one."""

    def unlike(other: Cell) -> tuple[int, int]:
        differing = sum(other.options.get(k) != v for k, v in cell.options.items())
        return (other.release != cell.release, differing)

    framework = catalog.framework_of(cell.release)
    able = [c for c in catalog.cells() if c.release in framework.releases and catalog.reason_against(c, device) is None]
    return min(able, key=unlike).id if able else None
