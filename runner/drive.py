"""Runs a matrix from a choice to its reports: expand, skip with reasons, run what is missing, write each record at once."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from runner.catalog import Catalog
from runner.cells import Device
from runner.engines import Launch
from runner.engines.local import run_guest, this_interpreter
from runner.errors import CellFailed, Stop
from runner.events import Event, Listener
from runner.expand import Job, Skipped, expand
from runner.jobs import Task, Work, answer_to, kept_record, last_line, stored_record, subject_of, task_for
from runner.machine import available_cores
from runner.owners import passing_folder
from runner.paths import Paths
from runner.progress import Lines, Live, Plan
from runner.protocol import Request, Witness
from runner.pythons import fetch_pythons, python_lines
from runner.recipes import Recipe, recipe_for
from runner.records import Group, Record
from runner.references import (
    Reference,
    averages_of,
    forms_of,
    mathematics,
    reference_path,
    reference_request,
    without_averages,
)
from runner.report import write_pages
from runner.schedulers.local import LocalScheduler
from runner.store import Store
from runner.text import in_one_line
from runner.turns import measuring

REFERENCE_SECONDS = 7200.0

Due = tuple[Task, list[int]]  # a task and which of its launches will run


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What a person asked for."""

    suites: tuple[str, ...]
    globs: tuple[str, ...]
    device: Device
    profile: str
    launches: int | None
    dry_run: bool
    again: bool


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """What a run has to do: all that can run here, what of it is due, and what cannot run and why."""

    tasks: list[Task]
    due: list[Due]
    skipped: list[Skipped]
    unready: list[Skipped]  # those of the skipped that could run here, had they been made ready

    @property
    def due_jobs(self) -> list[Job]:
        return [task.job for task, _ in self.due]


def drive(
    catalog: Catalog, paths: Paths, choice: Choice, make_work: Callable[[list[Recipe], Listener], Work], echo: Callable[[str], None]
) -> list[str]:  # fmt: skip
    """Run the choice and write the reports; the ids of the cells that did not end well come back."""
    jobs = expand(catalog, choice.suites, choice.globs, choice.profile, choice.device)
    teller = Teller(echo)
    work = make_work(recipes_of(catalog, paths, jobs), teller.tell)
    planned = planned_run(work, jobs, choice)
    if not choice.dry_run and not fetch_pythons(work, planned.due_jobs, echo):
        planned = planned_run(work, jobs, choice)
    announce(echo, work, planned, dry_run=choice.dry_run)
    if choice.dry_run:
        return []
    keep_verdicts(work, planned.tasks)
    failures = [skip.job.cell.id for skip in planned.unready]
    failures += run(work, planned.due, teller, echo, again=choice.again) if planned.due else []
    keep_skips(work, jobs, planned.skipped)
    for path in write_pages(catalog, paths, work.store):
        echo(f"written: {paths.shown(path)}")
    return failures


def recipes_of(catalog: Catalog, paths: Paths, jobs: Sequence[Job]) -> list[Recipe]:
    releases = {j.cell.release: j.device for j in jobs if catalog.reason_against(j.cell, j.device) is None}
    return [recipe_for(catalog, paths, release, device) for release, device in releases.items()]


def planned_run(work: Work, jobs: Sequence[Job], choice: Choice) -> Planned:
    """Return what of these jobs can run here, what of that is due, and what cannot run and why."""
    able, barred = sorted_out(work, jobs)
    tasks, unready = tasks_of(work, once(able), choice.launches)
    due = [(task, launches) for task in tasks if (launches := due_launches(work, task, again=choice.again))]
    return Planned(tasks=tasks, due=due, skipped=[*barred, *unready], unready=unready)


def sorted_out(work: Work, jobs: Sequence[Job]) -> tuple[list[Job], list[Skipped]]:
    """Return the jobs that can run here, and those that cannot with the reasons."""
    reasons = [(job, reason_against(work, job)) for job in jobs]
    able = [job for job, reason in reasons if reason is None]
    return able, [Skipped(job=job, reason=reason) for job, reason in reasons if reason is not None]


def reason_against(work: Work, job: Job) -> str | None:
    """Return why a job cannot run here, or None. What keeps the runner from telling is a reason as well.

    Raises:
        Stop: for a mistake in the checkout, which no other job would be free of.
    """
    if reason := work.catalog.reason_against(job.cell, job.device):
        return reason
    try:
        return work.engine.reason_against(recipe_for(work.catalog, work.paths, job.cell.release, job.device))
    except Stop:
        raise
    except Exception as error:
        return f"the runner could not tell whether it runs here: {in_one_line(error)}"


def tasks_of(work: Work, jobs: Sequence[Job], launches: int | None) -> tuple[list[Task], list[Skipped]]:
    """Return the jobs as tasks, and those that could not be made ready with the reasons.

    Raises:
        Stop: for a mistake in the checkout, such as a reference that is missing.
    """
    tasks: list[Task] = []
    skipped: list[Skipped] = []
    for job in jobs:
        try:
            tasks.append(with_launches(task_for(work, job), launches))
        except Stop:
            raise
        except Exception as error:
            skipped.append(Skipped(job=job, reason=f"it could not be made ready: {in_one_line(error)}"))
    return tasks, skipped


def keep_skips(work: Work, jobs: Sequence[Job], skipped: Sequence[Skipped]) -> None:
    """Keep why this machine could not run a job; what the catalogue itself says needs no keeping."""
    reasons = {s.job.key: s.reason for s in skipped if work.catalog.reason_against(s.job.cell, s.job.device) is None}
    for job in {(job.suite, job.workload): job for job in jobs}.values():
        group = Group(
            suite=job.suite, machine=work.machine.id, device=job.device, engine=work.engine.name, profile=job.profile
        )  # fmt: skip
        asked = {other.cell.id for other in jobs if (other.suite, other.workload) == (job.suite, job.workload)}
        before = work.store.skips(group, job.workload)
        after = {cell: reason for cell, reason in before.items() if cell not in asked}
        after |= {cell: reason for (cell, *of, _), reason in reasons.items() if of == [job.suite, job.workload]}
        if after != before:
            work.store.write_skips(group, job.workload, after)


def once(jobs: Sequence[Job]) -> list[Job]:
    """Two suites may time one cell on one workload alike; it is run for the first of them, and both show it."""
    return list({(job.cell.id, job.workload, job.profile, job.device): job for job in reversed(jobs)}.values())[::-1]


def keep_verdicts(work: Work, tasks: Sequence[Task]) -> None:
    """Write those records anew of which the judge or the reference says otherwise today."""
    for task in tasks:
        for launch in range(1, task.launches + 1):
            today = kept_record(work, task, launch)
            if today is not None and today != stored_record(work, task, launch):
                work.store.write(today)


def with_launches(task: Task, launches: int | None) -> Task:
    return task if launches is None else msgspec.structs.replace(task, launches=launches)


def due_launches(work: Work, task: Task, *, again: bool) -> list[int]:
    """Return which launches of a task will run: those that no record makes unnecessary, or all of them again."""
    return [n for n in range(1, task.launches + 1) if again or kept_record(work, task, n) is None]


def announce(echo: Callable[[str], None], work: Work, planned: Planned, *, dry_run: bool) -> None:
    """Say what will run, what is there already, and what cannot run and why."""
    due, skipped = planned.due, planned.skipped
    wanting = python_lines(work, len(planned.tasks), planned.due_jobs, skipped)
    for skip in skipped:
        if skip.reason not in wanting:
            echo(f"skipped {subject_of(skip.job)}: {skip.reason}")
    for line in wanting.values():
        echo(line)
    launches = sum(len(numbers) for _, numbers in due)
    current = len(planned.tasks) - len(due)
    echo(f"{len(due)} jobs to run ({launches} launches), {current} current, {len(skipped)} cannot run here")
    if dry_run:
        for task, numbers in due:
            echo(f"would run {task.subject}: launches {', '.join(map(str, numbers))}")


class Teller:
    """Hands events to whoever shows them. A display that fails is left out: it must not end what it shows."""

    def __init__(self, echo: Callable[[str], None]) -> None:
        self.echo = echo
        self.listener: Listener | None = None

    def tell(self, event: Event) -> None:
        if self.listener is None:
            return
        try:
            self.listener(event)
        except Exception as error:
            self.listener = None
            self.echo(f"progress is no longer shown: {in_one_line(error)}")


def run(work: Work, due: Sequence[Due], teller: Teller, echo: Callable[[str], None], *, again: bool) -> list[str]:
    """Run launch after launch, alone on this machine; each record is on disk before the next launch starts."""
    tasks = [task for task, _ in due]
    plan = Plan([task.subject for task in tasks], sum(len(n) for _, n in due), expected_seconds(work, tasks))
    failures: dict[str, None] = {}
    work.store.check_writable()
    with measuring(work.paths, echo), progress_for(plan, echo) as shown:
        work.store.write_machine(work.machine)
        teller.listener = shown.tell
        for record in LocalScheduler(again=again).records(work, tasks):
            work.store.write(record)
            if failed(work.catalog, record):
                failures[record.cell] = None
    return list(failures)


def failed(catalog: Catalog, record: Record) -> bool:
    """A known fault of a framework is a finding, not a failure of the run."""
    if record.fate in ("wrong_witness", "crashed"):
        return catalog.known_fault(catalog.cell(record.cell), record.device, record.workload) is None
    return record.fate not in ("ok", "unsupported")


def expected_seconds(work: Work, tasks: Sequence[Task]) -> dict[str, float]:
    """What each job's first launch took here before, whatever its fingerprint was."""
    found = {}
    for task in tasks:
        record = stored_record(work, task, 1)
        if record and record.seconds:
            found[task.subject] = record.seconds
    return found


def progress_for(plan: Plan, echo: Callable[[str], None]) -> Lines | Live:
    if not sys.stdout.isatty():
        return Lines(plan, echo)
    from rich.console import Console

    return Live(plan, Console())


def compute_reference(catalog: Catalog, paths: Paths, name: str, batch: int, environ: Mapping[str, str]) -> Path:
    """Run the numpy adapter in float64 under this interpreter and keep its witness, of every form of the workload."""
    wanted = mathematics(name, catalog.workloads[name], batch)
    threads = available_cores()
    forms = {f: computed(paths, reference_request(asked, threads), environ) for f, asked in forms_of(wanted).items()}
    others = {form: without_averages(witness) for form, witness in forms.items()}
    reference = Reference(
        workload=name, batch=batch, key=wanted.key, witness=others.pop(""), others=others, averages=averages_of(forms[""])
    )  # fmt: skip
    path = reference_path(paths, name, batch)
    Store(paths).write_file(path, msgspec.json.format(msgspec.json.encode(reference), indent=1))
    return path


def computed(paths: Paths, asked: Request, environ: Mapping[str, str]) -> Witness:
    """The witness of the numpy adapter."""
    with passing_folder() as folder:
        (folder / "request.json").write_bytes(msgspec.json.encode(asked))
        log = folder / "guest.log"
        launch = Launch(
            folder=folder, log=log, environment={}, threads=asked.threads, timeout_seconds=REFERENCE_SECONDS, on_event=lambda _: None
        )  # fmt: skip
        ended = run_guest(this_interpreter(), paths.guest, launch, dict(environ))
        answer, damage = answer_to(asked, folder, ended.seconds)
        if answer is None or answer.witness is None:
            raise CellFailed(
                f"the reference of {asked.workload.name} was not computed: {answer.reason if answer else damage}: {last_line(log.read_text())}"
            )
        return answer.witness
