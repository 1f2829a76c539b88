"""The command line: the only room that reads the process environment, catches mistakes and decides exit codes."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from runner.catalog import Catalog, read_catalog
from runner.cells import Cell, Device
from runner.errors import CellFailed, Mistake, Stop, UnsupportedHere
from runner.paths import Paths, checkout_paths

INTERRUPTED = 130
DEVICES = click.Choice(["cpu", "gpu"])
ENGINES = click.Choice(["auto", "docker", "venv", "host"])


class Commands(click.Group):
    """Turns what a person or this machine cannot do into one line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Stop as stop:
            click.echo(f"error: {stop}", err=True)
            ctx.exit(stop.exit_code)
        except (KeyboardInterrupt, click.Abort):
            click.echo("interrupted; finished launches are kept, the same command goes on from there", err=True)
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            # Whoever read our output went away (head, less): no fault, and nothing to say to anybody.
            sys.stdout = None
            ctx.exit(0)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Time deep-learning frameworks against each other, with proof that all compute the same network."""
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))


def engine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    command = click.option("--engine", type=ENGINES, default="auto", show_default=True, help="Where cells run.")(
        command
    )
    command = click.option("--device", type=DEVICES, default="cpu", show_default=True, help="What they run on.")(
        command
    )
    return click.option("--profile", default="quick", show_default=True, help="The suite's sampling protocol.")(command)


@main.command("list")
@click.argument("globs", nargs=-1)
@click.option("--device", type=DEVICES, default="cpu", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON array instead of lines.")
def list_(globs: tuple[str, ...], device: Device, as_json: bool) -> None:
    """Every cell, the suites that time it, and whether it runs on this kind of device or why not."""
    from fnmatch import fnmatchcase

    from runner.expand import suite_cells

    catalog = read_catalog(checkout_paths())
    suites = {name: {c.id for c in suite_cells(catalog, suite)} for name, suite in catalog.suites.items()}
    cells = [c for c in catalog.cells() if not globs or any(fnmatchcase(c.id, g) for g in globs)]
    if not cells:
        raise Mistake(f"no cell matches {', '.join(globs)!r}; see: python -m runner list")
    rows = [(c, [n for n, ids in suites.items() if c.id in ids], catalog.reason_against(c, device)) for c in cells]
    if as_json:
        import msgspec

        told = [
            {"cell": c.id, "release": c.release, "options": c.options, "suites": s, "reason_against": r}
            for c, s, r in rows
        ]
        click.echo(msgspec.json.encode(told).decode())
        return
    width = max(len(c.id) for c in cells)
    for cell, names, reason in rows:
        click.echo(f"{cell.id:{width}}  {', '.join(names) or '-':22}  {reason or 'runs'}")


@main.command()
@click.argument("cell")
@click.option("--device", type=DEVICES, default="cpu", show_default=True)
@click.option("--json", "as_json", is_flag=True)
def show(cell: str, device: Device, as_json: bool) -> None:
    """All that is known of one cell: its stack, its options, and what was measured."""
    import msgspec

    from runner.jobs import cell_environment
    from runner.store import Store

    paths = checkout_paths()
    catalog = read_catalog(paths)
    found = catalog.cell(cell)
    release = catalog.release(found.release)
    stack = release.stack(device)
    records = [r for r in Store(paths).all() if r.cell == found.id]
    facts: dict[str, Any] = {
        "cell": found.id,
        "release": f"{release.title} ({found.release})",
        "version": release.version,
        "python": release.python,
        "adapter": f"images/guest/on_{release.adapter}.py",
        "lock": f"images/locks/{found.release}-{device}.txt",
        "options": found.options,
        "requirements": list(stack.requirements) if stack else [],
        "cuda": stack.cuda if stack else None,
        "cudnn": stack.cudnn if stack else None,
        "environment": cell_environment(catalog, paths, found, device) if stack else {},
        "cannot_run": catalog.reason_against(found, device),
        "known_fault": catalog.known_fault(found, device),
        "records": [
            f"{r.workload} {r.profile} {r.device} {r.engine} #{r.launch}: {r.fate} {r.reason}" for r in records
        ],
    }
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(facts), indent=2).decode())
        return
    for name, value in facts.items():
        for line in value or ["-"] if isinstance(value, list) else [value]:
            click.echo(f"{name.replace('_', ' '):14} {line or '-'}")


@main.command()
@click.argument("name")
def network(name: str) -> None:
    """A network's layers with shapes, parameters and FLOP; needs no framework."""
    import math

    from runner.layers import forward_flop, lower, parameter_count, training_flop, walk
    from runner.networks import network_named

    layers = lower(network_named(name))
    for layer in walk(layers):
        count = sum(math.prod(p.shape) for p in layer.parameters)
        shapes = f"{'x'.join(map(str, layer.in_shape))} -> {'x'.join(map(str, layer.out_shape))}"
        click.echo(f"{layer.name:18} {shapes:28} {count:>13,} parameters {layer.flop / 1e6:>12,.2f} MFLOP")
    kept = parameter_count(layers, trainable=False)
    click.echo(f"{parameter_count(layers):,} parameters learn" + (f", {kept:,} are kept" if kept else ""))
    click.echo(
        f"{forward_flop(layers) / 1e9:,.2f} GFLOP forward, {training_flop(layers) / 1e9:,.2f} GFLOP forward and backward, an image"
    )


@main.command()
@click.argument("cell")
@click.option("--workload", help="Default: the first whose suite has the cell.")
@click.option("--threads", type=click.IntRange(min=1), help="Default: all cores that this process may use.")
@click.option("--json", "as_json", is_flag=True, help="The record instead of a line.")
@engine_options
def cell(
    cell: str, workload: str | None, engine: str, device: Device, profile: str, threads: int | None, as_json: bool
) -> None:
    """Run one launch of one cell, now, whatever was measured before; it is kept beside no table."""
    import msgspec

    from runner.engines import NotBuilt
    from runner.expand import job_for_cell
    from runner.jobs import run_launch, task_for
    from runner.recipes import recipe_for
    from runner.schedulers.local import outcome

    paths = checkout_paths()
    catalog = read_catalog(paths)
    found = catalog.cell(cell)
    job = job_for_cell(catalog, found, workload, profile, device)
    recipe = able(catalog, paths, found, device)
    work = work_for(catalog, paths, engine, [recipe], threads, plain_teller(quiet=as_json))
    refuse(catalog, found, device, work.engine.reason_against(recipe), engine_too=True)
    task = task_for(work, job)
    try:
        prepared = work.engine.prepare(recipe_for(catalog, paths, found.release, device))
    except NotBuilt as reason:
        raise CellFailed(f"{found.id}: not built: {reason}") from None
    record = run_launch(work, task, prepared, 1)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(record), indent=1).decode())
    else:
        click.echo(f"{found.id} {job.workload} {device} {work.engine.name}: {outcome(record)}")
    if record.fate == "unsupported":
        raise UnsupportedHere(f"{found.id}: {record.reason}")
    if record.fate != "ok":
        log = work.paths.logs / f"{found.id}.log"
        work.store.write_file(log, record.log.encode())
        fault = catalog.known_fault(found, device)
        raise CellFailed(
            f"{found.id}: {record.fate}: {record.reason}" + (f" (known: {fault})" if fault else f" (log: {log})")
        )


@main.command()
@click.argument("suites", nargs=-1)
@click.option("--filter", "globs", multiple=True, help="Only cells that match this glob; can be given again.")
@click.option("--launches", type=click.IntRange(min=1), help="Default: the profile's.")
@click.option("--threads", type=click.IntRange(min=1), help="Default: all cores that this process may use.")
@click.option("--dry-run", is_flag=True, help="Say what would run, and what not, and why.")
@click.option("--again", is_flag=True, help="Run also what is there and current.")
@engine_options
def matrix(
    suites: tuple[str, ...], globs: tuple[str, ...], engine: str, device: Device, profile: str,
    launches: int | None, threads: int | None, dry_run: bool, again: bool,
) -> None:  # fmt: skip
    """Run what is missing or stale of these suites (default: all), then write the reports."""
    from runner.drive import Choice, drive

    paths = checkout_paths()
    catalog = read_catalog(paths)
    choice = Choice(
        suites=suites, globs=globs, device=device, profile=profile, launches=launches, dry_run=dry_run, again=again
    )
    failures = drive(
        catalog,
        paths,
        choice,
        lambda recipes, tell: work_for(catalog, paths, engine, recipes, threads, tell),
        click.echo,
    )
    if failures:
        raise CellFailed(
            f"{len(failures)} of the cells did not end well: {', '.join(failures[:5])}{' …' if len(failures) > 5 else ''}; the reasons stand in reports/"
        )


@main.command()
def report() -> None:
    """Write reports/<suite>.md from the records."""
    from runner.report import write_pages
    from runner.store import Store

    paths = checkout_paths()
    for path in write_pages(read_catalog(paths), paths, Store(paths), {}):
        click.echo(paths.shown(path))


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--check", is_flag=True, help="Write nothing; exit 4 when the file is not current.")
def publish(file: Path, check: bool) -> None:
    """Fill the blocks between <!-- matrix:SUITE --> and <!-- /matrix:SUITE --> of a file with the newest tables."""
    from runner.publish import published, read_text
    from runner.report import blocks
    from runner.store import Store

    paths = checkout_paths()
    store = Store(paths)
    text = read_text(file)
    fresh = published(text, blocks(read_catalog(paths), store, {}), str(file))
    if fresh == text:
        click.echo(f"{file} is current")
    elif check:
        raise CellFailed(f"{file} is not current; run: python -m runner publish {file}")
    else:
        store.write_file(file, fresh.rstrip("\n").encode())
        click.echo(f"{file} written")


@main.command()
@click.argument("releases", nargs=-1, required=True)
@click.option("--device", "devices", type=DEVICES, multiple=True, help="Default: every device the release has.")
def lock(releases: tuple[str, ...], devices: tuple[Device, ...]) -> None:
    """Make the locks of these releases anew: every requirement with its hash."""
    import uv

    from runner import processes
    from runner.interpreters import interpreter
    from runner.locks import index_settings, write_lock

    paths = checkout_paths()
    catalog = read_catalog(paths)
    config = processes.run([sys.executable, "-m", "pip", "config", "list"], env=os.environ, timeout=60)
    env = dict(os.environ) | index_settings(config, os.environ)
    for id_ in releases:
        release = catalog.release(id_)
        for device in devices or tuple(d for d in ("cpu", "gpu") if release.stack(d)):
            path = paths.locks / f"{id_}-{device}.txt"
            base = interpreter(release.python)
            try:
                write_lock(
                    id_,
                    release,
                    device,
                    path,
                    run=processes.run,
                    uv=uv.find_uv_bin(),
                    env=env,
                    interpreter=Path(base) if base else None,
                )
            except (processes.ProcessFailed, ValueError) as error:
                raise Mistake(f"{id_} on {device}: {error}") from None
            click.echo(paths.shown(path))


@main.command()
@click.argument("workload")
@click.option("--batch", type=click.IntRange(min=1), multiple=True, help="Default: those of the suites' profiles.")
def reference(workload: str, batch: tuple[int, ...]) -> None:
    """Compute the float64 witness that cells of a workload are judged by; VGG16 takes minutes."""
    from runner.drive import compute_reference

    paths = checkout_paths()
    catalog = read_catalog(paths)
    if workload not in catalog.workloads:
        from runner.errors import nearest

        raise Mistake(
            f"no workload {workload!r}{nearest(workload, catalog.workloads)}; there are: {', '.join(catalog.workloads)}"
        )
    wanted = batch or sorted(
        {p.batch for s in catalog.suites.values() if s.workload == workload for p in s.profiles.values()}
    )
    for size in wanted:
        click.echo(paths.shown(compute_reference(catalog, paths, workload, size, os.environ)))


@main.command()
@click.option("--json", "as_json", is_flag=True)
def doctor(as_json: bool) -> None:
    """What of this machine is fit for the matrix, what is not, and what to do."""
    import msgspec

    from runner.doctor import findings

    paths = checkout_paths()
    found = findings(read_catalog(paths), paths, os.environ)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=1).decode())
        return
    for finding in found:
        click.echo(f"{'ok  ' if finding.fine else 'look'}  {finding.subject:14} {finding.text}")
        if finding.remedy:
            click.echo(f"{'':22}{finding.remedy}")


def able(catalog: Catalog, paths: Paths, found: Cell, device: Device) -> Any:
    """The recipe of a cell that can run on this kind of device at all."""
    from runner.recipes import recipe_for

    refuse(catalog, found, device, catalog.reason_against(found, device), engine_too=False)
    return recipe_for(catalog, paths, found.release, device)


def refuse(catalog: Catalog, found: Cell, device: Device, reason: str | None, *, engine_too: bool) -> None:
    """Say in one line why a cell does not run here, and name the nearest that does."""
    if reason is None:
        return
    from runner.expand import nearest_runnable

    near = None if engine_too else nearest_runnable(catalog, found, device)
    hint = f"; the nearest cell that does: python -m runner cell {near}" if near else ""
    raise UnsupportedHere(f"{found.id} cannot run on this machine's {device}: {reason}{hint}")


def work_for(catalog: Catalog, paths: Paths, engine: str, recipes: list[Any], threads: int | None, tell: Any) -> Any:
    """What all jobs of this run share; the engine is chosen here."""
    from runner.engines.choice import chosen_engine
    from runner.jobs import Work
    from runner.machine import available_cores, this_machine
    from runner.store import Store

    chosen, why = chosen_engine(engine, recipes, paths, os.environ)
    if why:
        click.echo(why, err=True)
    return Work(
        catalog=catalog, paths=paths, store=Store(paths), engine=chosen, machine=this_machine(), threads=threads or available_cores(), tell=tell
    )  # fmt: skip


def plain_teller(*, quiet: bool) -> Any:
    """Progress of a single cell: a word for each step, on stderr."""
    from runner.events import ignore

    if quiet:
        return ignore
    return lambda event: click.echo(f"  {event.subject}: {event.detail or event.state}", err=True)
