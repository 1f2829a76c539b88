"""One job, from its request to its record: what is asked, what came back, and what that means."""

import ast
import hashlib
import math
import shutil
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from runner.answers import contradictions
from runner.catalog import Catalog, Profile
from runner.cells import Cell, Device
from runner.datasets import Samples, Size, samples_for
from runner.engines import Engine, Exit, Launch, NotBuilt, Prepared
from runner.errors import Stop
from runner.events import Event, Listener
from runner.expand import Job, workload_of
from runner.files import ANSWER_BYTES, NotPlain, regular_file_bytes
from runner.interpreters import Interpreters
from runner.languages import PYTHON, Language
from runner.layers import forward_flop, training_flop
from runner.machine import Machine
from runner.output import reserve
from runner.owners import no_room, passing_folder
from runner.paths import Paths
from runner.processes import telling_line
from runner.protocol import Answer, GuestEvent, Request, Sample, SampleEvent, StateEvent, Training
from runner.recipes import recipe_for
from runner.records import Fate, Record
from runner.references import Reference, mathematics, reference_for, with_still_averages
from runner.store import Store
from runner.text import in_one_line, one_line
from runner.witness import Tolerances, verdict_on

# Of NVIDIA's libraries: float32 stays float32 on cards that would round the factors of its products to ten bits (TF32).
FLOAT32 = {"NVIDIA_TF32_OVERRIDE": "0"}
SAMPLES_FILE = "samples.npz"
LOG_LINES = 30  # of a failed guest's log are kept in its record
REASON_LENGTH = 600
SAMPLES_SEEN = 10_000  # of the events of a guest that tells of ever more


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What all jobs of a run share."""

    catalog: Catalog
    paths: Paths
    store: Store
    engine: Engine
    machine: Machine
    threads: int
    tell: Listener
    cpuset: str = ""
    data: Literal["auto", "real", "synthetic"] = "auto"
    environ: Mapping[str, str] = {}  # of the user, for the clients that fetch data
    interpreters: Interpreters | None = None  # where cells run under Pythons of this machine

    def profile(self, job: Job) -> Profile:
        return self.catalog.suite(job.suite).profiles[job.profile]


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A job made ready to launch: its request, the truth to hold its witness against, and its fingerprint."""

    job: Job
    request: Request
    samples: Samples | None
    truth: Reference
    environment: dict[str, str]
    fingerprint: str
    launches: int
    timeout_seconds: float
    flop_per_sample: int

    @property
    def subject(self) -> str:
        return subject_of(self.job)

    @property
    def full_step(self) -> float:
        return self.request.workload.optimizer.full_step

    def request_of(self, launch: int) -> Request:
        """What this launch is asked; only the first trains, for another run over the same samples would say nothing new."""
        return self.request if launch == 1 else msgspec.structs.replace(self.request, training=None)


def subject_of(job: Job) -> str:
    """Return how progress names a job: cell and workload, and the suite where that has another name."""
    suite = "" if job.suite == job.workload else f" ({job.suite})"
    return f"{job.cell.id} {job.workload}{suite}"


def task_for(work: Work, job: Job) -> Task:
    """Everything about a job that can be known before it runs."""
    workload, profile = workload_of(work.catalog, job), work.profile(job)
    math = mathematics(job.workload, workload, profile.batch)
    recipe = recipe_for(work.catalog, work.paths, job.cell.release, job.device)
    samples = samples_of(work, job)
    request = Request(
        cell=job.cell.id, adapter=recipe.release.adapter, options=work.catalog.options_on(job.cell, job.device), device=job.device,
        threads=work.threads, seed=workload.seed, workload=math.workload, network=math.network,
        witness_steps=workload.witness_steps, sampling=profile.sampling,
        training=Training(file=SAMPLES_FILE, digest=samples.digest) if samples else None,
    )  # fmt: skip
    environment = cell_environment(work.catalog, work.paths, job.cell, job.device)
    truth = reference_for(work.paths, job.workload, math)
    parts = (
        request,
        environment,
        work.engine.name,
        work.engine.key(recipe),
        guest_digest(work.paths.guest, recipe.language, recipe.release.adapter),
    )
    return Task(
        job=job,
        request=request,
        samples=samples,
        truth=truth if work.catalog.keeps_averages(job.cell) else with_still_averages(truth),
        environment=environment,
        fingerprint=hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()[:16],
        launches=profile.launches,
        timeout_seconds=profile.timeout_seconds,
        flop_per_sample=training_flop(math.layers) if workload.mode == "training" else forward_flop(math.layers),
    )


def samples_of(work: Work, job: Job) -> Samples | None:
    """What the cell trains on, where its profile has it train."""
    workload, profile = workload_of(work.catalog, job), work.profile(job)
    if profile.training is None:
        return None
    size = Size(
        batch=profile.batch, seed=workload.seed,
        epochs=profile.training.epochs, train=profile.training.train, test=profile.training.test,
        augmented=profile.training.augmented,
    )  # fmt: skip
    return samples_for(
        work.paths.cache, workload.dataset, size, environ=work.environ,
        data=profile.training.data if work.data == "auto" else work.data,
        tell=lambda line: work.tell(Event(subject=workload.dataset, state="preparing", detail=line)),
    )  # fmt: skip


def cell_environment(catalog: Catalog, paths: Paths, cell: Cell, device: Device) -> dict[str, str]:
    """The variables that a cell's guest needs before it imports its framework: the recipe's, then its options'."""
    options = catalog.framework_of(cell.release).options
    chosen = [options[name].choice(value) for name, value in catalog.options_on(cell, device).items()]
    environment = recipe_for(catalog, paths, cell.release, device).environment | (FLOAT32 if device == "gpu" else {})
    for value in chosen:
        environment |= value.environment if value else {}
    return environment


def guest_digest(guest: Path, language: Language, adapter: str) -> str:
    """The digest of the guest's core and of what this adapter imports: an edit of another adapter changes nothing.

    Julia's guest has one adapter; its digest is over all its files.
    """
    if language is not PYTHON:
        return hashlib.sha256(b"".join(path.read_bytes() for _, path in language.guest_files(guest))).hexdigest()
    seen: set[str] = set()
    waiting = ["__main__", f"on_{adapter}"]
    while waiting:
        name = waiting.pop()
        if name not in seen and (guest / f"{name}.py").is_file():
            seen.add(name)
            waiting += imported(guest / f"{name}.py")
    content = b"".join((guest / f"{name}.py").read_bytes() for name in sorted(seen))
    return hashlib.sha256(content).hexdigest()


def imported(path: Path) -> list[str]:
    """The modules that a file imports, wherever in it."""
    found = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
    return found


def kept_record(work: Work, task: Task, launch: int) -> Record | None:
    """The record of an earlier run that makes this launch unnecessary, with the verdict that it would be given today.

    It has the same fingerprint and an end that stays.
    """
    found = stored_record(work, task, launch)
    if (
        found is None
        or found.fingerprint != task.fingerprint
        or found.fate not in ("ok", "unsupported", "wrong_witness")
    ):
        return None
    try:
        return judged(found, task.truth, task.full_step)
    except Exception:
        return None  # what cannot be judged proves nothing; its launch runs again


def stored_record(work: Work, task: Task, launch: int) -> Record | None:
    """What an earlier run left of this launch, whatever it was of."""
    job = task.job
    return work.store.find(
        work.machine.id, job.workload, job.cell.id, job.profile, job.device, work.engine.name, launch
    )


def run_launch(work: Work, task: Task, prepared: Prepared, launch: int) -> Record:
    """Run the guest once and judge what it left; an interrupt goes on up and leaves no record.

    Whatever else goes wrong, in the guest, in the engine or in the runner itself, is the fate of this launch.

    Raises:
        Stop: where no launch could run, as in a temporary folder without room.
    """
    started = datetime.now(UTC)
    try:
        return judged_launch(work, task, prepared, launch, started)
    except Stop:
        raise
    except Exception as error:
        blank = blank_record(work, task, prepared.key, launch, started)
        return failed_record(work, blank, error)


def failed_record(work: Work, blank: Record, error: Exception) -> Record:
    """Return the record of a launch that the runner itself could not carry through, with the traceback as its log."""
    lines = "".join(traceback.format_exception(error)).splitlines()
    return msgspec.structs.replace(
        blank,
        fate="crashed",
        reason=work.paths.impersonal(f"the runner could not carry it through: {in_one_line(error)}"),
        log=work.paths.impersonal("\n".join(lines[-LOG_LINES:])),
    )


def judged_launch(work: Work, task: Task, prepared: Prepared, launch: int, started: datetime) -> Record:
    """Run the guest once in a job folder of its own and return its record."""
    with passing_folder() as around:
        folder, log = around / "job", around / "guest.log"
        fill(folder, task, launch, log)
        seen: list[Sample] = []
        ended = work.engine.run(
            prepared,
            Launch(
                folder=folder, log=log, environment=task.environment, threads=work.threads, timeout_seconds=task.timeout_seconds, cpuset=work.cpuset,
                on_event=progress_of(work.tell, task.subject, launch, seen),
                on_note=lambda text: work.tell(Event(subject=task.subject, state="note", detail=text, launch=launch)),
            ),
        )  # fmt: skip
        return record_of(work, task, prepared, launch, started, ended, folder, log, seen)


def fill(folder: Path, task: Task, launch: int, log: Path) -> None:
    """Make the job folder and lay the request into it, and beside it the samples that the guest trains on.

    The log gets its room first.

    Raises:
        Mistake: where the folder has no room for them.
    """
    request = task.request_of(launch)
    try:
        reserve(log)
        folder.mkdir()
        (folder / "request.json").write_bytes(msgspec.json.encode(request))
        if request.training and task.samples:
            shutil.copyfile(task.samples.path, folder / SAMPLES_FILE)
    except OSError as error:
        raise no_room(error) from None


def progress_of(tell: Listener, subject: str, launch: int, seen: list[Sample]) -> Callable[[GuestEvent], None]:
    """Return what tells the guest's own events as ours; its samples are kept in `seen`, in case it dies before it answers."""

    def on_event(event: GuestEvent) -> None:
        match event:
            case StateEvent():
                detail = event.state
            case SampleEvent():
                if len(seen) < SAMPLES_SEEN:
                    seen.append(Sample(steps=event.steps, seconds=event.seconds))
                detail = f"{1000 * event.seconds / event.steps:.1f} ms a step"
        tell(Event(subject=subject, state="running", detail=detail, launch=launch))

    return on_event


def record_of(
    work: Work, task: Task, prepared: Prepared, launch: int, started: datetime, ended: Exit, folder: Path, log: Path, seen: list[Sample]
) -> Record:  # fmt: skip
    answer, damage = answer_to(task.request_of(launch), folder, ended.seconds)
    log_text = work.paths.impersonal(log.read_text(encoding="utf-8", errors="replace"), folder) if log.is_file() else ""
    fate, reason = fate_of(ended, answer, damage, log_text, task.timeout_seconds)
    record = msgspec.structs.replace(
        blank_record(work, task, prepared.key, launch, started),
        seconds=round(ended.seconds, 3),
        fate=fate,
        reason=one_line(work.paths.impersonal(reason, folder), limit=REASON_LENGTH),
        log=""
        if fate == "ok"
        else "\n".join([line for line in log_text.splitlines() if not line.startswith("+ ")][-LOG_LINES:]),
        samples=seen,
        facts={"guest": answer.facts if answer else {}, "environment": prepared.facts, "exit": ended.facts},
    )
    return judged(with_answer(record, answer) if answer else record, task.truth, task.full_step)


def with_answer(record: Record, answer: Answer) -> Record:
    """The record with what the guest found, as far as it came."""
    return msgspec.structs.replace(
        record,
        costs_seconds=answer.costs_seconds,
        warm_up=answer.warm_up,
        samples=answer.samples,
        training=answer.training,
        witness=answer.witness,
        peak_memory_bytes=answer.peak_memory_bytes,
    )


def judged(record: Record, truth: Reference, full_step: float = 0.0) -> Record:
    """The record with the verdict on its witness, and on whether a GPU that was asked for was used.

    The verdict follows from what the record holds, so an old one is judged again without being measured again.
    """
    if record.witness is None or record.fate not in ("ok", "wrong_witness"):
        return record
    verdict = verdict_on(record.witness, truth.forms, truth.averages, Tolerances(full_step=full_step))
    found = verdict.disagreements
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    fate: Fate = "wrong_witness" if found else "ok"
    reason = "; ".join(found[:3]) + more
    if record.device == "gpu" and record.facts["guest"].get("framework", {}).get("device") == "cpu":
        fate, reason = "crashed", "the framework ran on the CPU though the GPU was asked for"
    return msgspec.structs.replace(
        record,
        fate=fate,
        reason=reason,
        form=verdict.form,
        witness_error=verdict.error if math.isfinite(verdict.error) else None,
        update_error=verdict.update_error if math.isfinite(verdict.update_error) else None,
    )


def not_built(work: Work, task: Task, launch: int, reason: NotBuilt) -> Record:
    """Return the record of a launch whose environment could not be made; its log has the traceback, where there is one."""
    blank = blank_record(work, task, "", launch, datetime.now(UTC))
    cause = reason.__cause__
    log = failed_record(work, blank, cause).log if isinstance(cause, Exception) else ""
    return msgspec.structs.replace(blank, fate="not_built", reason=work.paths.impersonal(str(reason)), log=log)


def blank_record(work: Work, task: Task, environment: str, launch: int, started: datetime) -> Record:
    job = task.job
    return Record(
        cell=job.cell.id, release=job.cell.release, options=job.cell.options, suite=job.suite, workload=job.workload, profile=job.profile,
        batch=task.request.workload.batch, device=job.device, engine=work.engine.name, machine=work.machine.id, launch=launch,
        threads=work.threads, fingerprint=task.fingerprint, environment=environment, started=started, seconds=0.0, fate="interrupted",
        flop_per_sample=task.flop_per_sample, data=task.samples.source if task.samples and launch == 1 else "",
    )  # fmt: skip


def answer_to(request: Request, folder: Path, seconds: float) -> tuple[Answer | None, str]:
    """The guest's answer, or none and what is wrong with what a launch of so many seconds left."""
    answer, damage = answer_in(folder)
    strange = next(contradictions(answer, request, seconds), "") if answer else ""
    return (None, f"left an answer that cannot be: {strange}") if strange else (answer, damage)


def answer_in(folder: Path) -> tuple[Answer | None, str]:
    """The answer that a guest left, or none and why it cannot be read."""
    try:
        return msgspec.json.decode(regular_file_bytes(folder / "answer.json", ANSWER_BYTES), type=Answer), ""
    except FileNotFoundError:
        return None, "left no answer"
    except (NotPlain, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return None, f"left an answer that cannot be read ({error})"


def fate_of(ended: Exit, answer: Answer | None, damage: str, log: str, timeout_seconds: float) -> tuple[Fate, str]:
    """What became of a launch: what its answer says, but "ok" of a guest that then ended well alone; else the way it ended."""
    well = not (ended.error or ended.timed_out or ended.out_of_memory or ended.code)
    if answer is not None and (well or answer.status != "ok"):
        return answer.status, answer.reason
    answered = ", having answered" if answer else ""
    if ended.error:
        return "crashed", ended.error
    if ended.timed_out:
        return "timeout", f"not done after {timeout_seconds:.0f} s{answered}"
    if ended.out_of_memory:
        return "out_of_memory", f"killed for want of memory{answered}"
    if ended.code < 0:
        return "crashed", f"killed by signal {-ended.code}{answered}: {last_line(log)}"
    return "crashed", f"exit {ended.code}, {damage or 'having answered'}: {last_line(log)}"


def last_line(log: str) -> str:
    """The telling line of a guest's log, whose own first line is the command."""
    return (
        telling_line("\n".join(line for line in log.splitlines() if not line.startswith("+ "))) or "it printed nothing"
    )
