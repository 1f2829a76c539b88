"""Commands that run: cell, matrix, image, clean."""

import os
from contextlib import nullcontext
from typing import Any

import click

from runner.cli.options import LAUNCHES, Amount, Where, refuse, where_options, work_for
from runner.cli.saying import say, warn
from runner.errors import CellFailed, UnsupportedHere
from runner.paths import checkout_paths
from runner.reading import read_catalog


@click.command()
@click.argument("cell")
@click.option("--workload", help="Default: the first whose suite has the cell.")
@click.option("--json", "as_json", is_flag=True, help="The record instead of a line.")
@where_options
def cell(cell: str, workload: str | None, as_json: bool, where: Where) -> None:
    """Run one launch of one cell, now, whatever was measured before; no table takes it up."""
    import msgspec

    from runner.engines import NotBuilt
    from runner.events import ignore
    from runner.expand import job_for_cell
    from runner.jobs import run_launch, task_for
    from runner.recipes import recipe_for
    from runner.schedulers.local import outcome
    from runner.turns import measuring

    paths = checkout_paths(os.environ)
    catalog = read_catalog(paths)
    found = catalog.cell(cell)
    job = job_for_cell(catalog, found, workload, where.profile, where.device)
    refuse(catalog, found, where.device, catalog.reason_against(found, where.device))
    recipe = recipe_for(catalog, paths, found.release, where.device)
    work = work_for(catalog, paths, where, [recipe], ignore if as_json else told)
    if reason := work.engine.reason_against(recipe):
        raise UnsupportedHere(f"{found.id} cannot run here: {reason}")
    task = task_for(work, job)
    with measuring(paths, warn):
        try:
            prepared = work.engine.prepare(recipe)
        except NotBuilt as reason:
            raise CellFailed(f"{found.id}: not built: {reason}") from None
        record = run_launch(work, task, prepared, 1)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(record), indent=1).decode())
    else:
        say(f"{found.id} {job.workload} {where.device} {work.engine.name}: {outcome(record)}")
    if record.fate == "unsupported":
        raise UnsupportedHere(f"{found.id}: {record.reason}")
    if record.fate != "ok":
        log = paths.logs / f"{found.id}.log"
        work.store.write_file(log, record.log.encode())
        fault = catalog.known_fault(found, where.device, job.workload)
        behind = f"known: {fault}" if fault else f"log: {log}"
        raise CellFailed(f"{found.id}: {record.fate}: {record.reason} ({behind})")


def told(event: Any) -> None:
    """Progress of a single cell: a word for each step, on stderr."""
    warn(f"  {event.subject}: {event.detail or event.state}")


@click.command()
@click.argument("suites", nargs=-1)
@click.option("--filter", "globs", multiple=True, help="Only cells that match this glob; can be given again.")
@click.option("--launches", type=LAUNCHES, help="Default: the profile's.")
@click.option("--dry-run", is_flag=True, help="Say what would run, and what not, and why.")
@click.option("--again", is_flag=True, help="Run also what is there and current.")
@where_options
def matrix(
    suites: tuple[str, ...], globs: tuple[str, ...], launches: int | None, dry_run: bool, again: bool, where: Where
) -> None:
    """Run what is missing or stale of these suites (default: all), then write the reports."""
    from runner.drive import Choice, drive
    from runner.turns import only_writer

    paths = checkout_paths(os.environ)
    catalog = read_catalog(paths)
    choice = Choice(
        suites=suites, globs=globs, device=where.device, profile=where.profile,
        launches=launches, dry_run=dry_run, again=again,
    )  # fmt: skip
    with nullcontext() if dry_run else only_writer(paths):
        failures = drive(
            catalog, paths, choice, lambda recipes, tell: work_for(catalog, paths, where, recipes, tell), say
        )
    if failures:
        some = ", ".join(failures[:5]) + (" …" if len(failures) > 5 else "")
        raise CellFailed(f"{len(failures)} cells did not end well: {some}; the reasons stand in reports/")


@click.command()
@click.argument("cell")
@click.option("--print", "only_print", is_flag=True, help="Show the Dockerfile and build nothing.")
@where_options
def image(cell: str, only_print: bool, where: Where) -> None:
    """Build the container image of a cell's release, or show its Dockerfile."""
    from runner.dockerfiles import dockerfile, read_bases
    from runner.engines import NotBuilt
    from runner.events import ignore
    from runner.recipes import recipe_for

    paths = checkout_paths()
    catalog = read_catalog(paths)
    found = catalog.cell(cell)
    recipe = recipe_for(catalog, paths, found.release, where.device)
    bases = read_bases(paths)
    base = next(bases.fitting(recipe), None)
    if base is None:
        raise UnsupportedHere(f"{found.release} on {where.device}: {bases.why_none(recipe)}")
    file = dockerfile(paths, recipe, catalog.framework_of(found.release).framework, base)
    if only_print:
        click.echo(file.text, nl=False)
        return
    engine = work_for(catalog, paths, under(where, "docker"), [recipe], ignore).engine
    try:
        prepared = engine.prepare(recipe)
    except NotBuilt as reason:
        raise CellFailed(f"{file.tag}: not built: {reason}") from None
    say(f"{prepared.place} {prepared.facts['image']}")


def under(where: Where, engine: str) -> Where:
    import msgspec

    return msgspec.structs.replace(where, engine=engine)


@click.command()
@click.option("--older", "days", type=Amount(0, 100_000), default=0.0, help="Only what is older than so many days.")
@click.option("--larger", "megabytes", type=Amount(0, 1e9), default=0.0, help="Only what is larger, in MB.")
@click.option("--yes", is_flag=True, help="Free it without asking.")
def clean(days: float, megabytes: float, yes: bool) -> None:
    """Show what our images, environments and dead containers take, and free it. Nothing else is touched."""
    from runner.cleaning import free, ours

    found = [
        part for part in ours(checkout_paths(), os.environ) if part.older(days) and part.size_bytes >= megabytes * 1e6
    ]
    for part in found:
        say(f"{part.kind:12} {part.size_bytes / 1e6:8.0f} MB  {part.age_days:5.1f} days  {part.name}")
    if not found:
        click.echo("nothing to free")
    elif yes or click.confirm(f"free {sum(part.size_bytes for part in found) / 1e6:.0f} MB?"):
        for part in found:
            free(part, os.environ)


@click.command()
@click.argument("cells", nargs=-1, required=True)
@click.option("--workload", required=True)
@click.option("--launches", type=LAUNCHES, default=4, show_default=True, help="Of each cell under each engine.")
@where_options
def agree(cells: tuple[str, ...], workload: str, launches: int, where: Where) -> None:
    """Time the same cells in containers and in virtual environments, in turns, and compare."""
    from runner.agreement import in_markdown, pairs
    from runner.events import ignore
    from runner.expand import job_for_cell
    from runner.recipes import recipe_for
    from runner.turns import measuring

    paths = checkout_paths(os.environ)
    catalog = read_catalog(paths)
    jobs = [job_for_cell(catalog, catalog.cell(id_), workload, where.profile, where.device) for id_ in cells]
    recipes = [recipe_for(catalog, paths, job.cell.release, job.device) for job in jobs]
    names = ("docker", "venv")
    works = [work_for(catalog, paths, under(where, name), recipes, ignore) for name in names]
    engines = (works[0].engine, works[1].engine)
    with measuring(paths, warn):
        found = pairs(works[0], engines, jobs, launches, warn)
    click.echo(in_markdown(found, names))
