"""Options that several commands share, as one value."""

import math
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import click
import msgspec

from runner.catalog import Catalog
from runner.cells import Cell, Device
from runner.cli.saying import warn
from runner.errors import UnsupportedHere
from runner.events import Listener
from runner.paths import Paths

DEVICES = click.Choice(["cpu", "gpu"])
ENGINES = click.Choice(["auto", "docker", "venv", "host"])
LAUNCHES = click.IntRange(1, 100)
BATCH = click.IntRange(1, 100_000)
THREADS = click.IntRange(1, 4096)
CORES = 4096

device_option = click.option("--device", type=DEVICES, default="cpu", show_default=True, help="What cells run on.")


class Amount(click.FloatRange):
    """A number from nothing to a bound; `nan` lies within no bounds, and click's own range takes it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no amount.", param, ctx)
        return number


def checked_cores(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """A set of cores as Docker writes it, or what is wrong with it."""
    if value and not re.fullmatch(r"\d{1,5}(-\d{1,5})?(,\d{1,5}(-\d{1,5})?)*", value):
        raise click.BadParameter(f"{value!r} is no set of cores; write 0-3 or 0,2", ctx, param)
    for part in filter(None, value.split(",")):
        first, _, last = part.partition("-")
        if int(last or first) < int(first) or int(last or first) >= CORES:
            raise click.BadParameter(f"{part!r} is no range of cores from 0 to {CORES - 1}", ctx, param)
    return value


def checked_mirror(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """The place of a registry's mirror, or what is wrong with it; a user's name and password are Docker's to keep."""
    if value and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*(:\d{1,5})?(/[a-z0-9][a-z0-9._-]*)*/?", value):
        raise click.BadParameter("write HOST[:PORT][/PATH], without scheme, user and password", ctx, param)
    return value


def mirror_option(text: str) -> Callable[[Any], Any]:
    return click.option("--registry-mirror", default="", callback=checked_mirror, help=text)


class Where(msgspec.Struct, frozen=True, kw_only=True):
    """Where and with what cells run."""

    engine: str
    device: Device
    profile: str
    threads: int | None
    cpuset: str
    data: Literal["auto", "real", "synthetic"]
    registry_mirror: str
    ca_bundle: Path | None


def where_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that make a Where, and hand it to the command as `where`."""
    options = (
        click.option("--engine", type=ENGINES, default="auto", show_default=True, help="Where cells run."),
        device_option,
        click.option("--profile", default="quick", show_default=True, help="The suite's sampling protocol."),
        click.option("--threads", type=THREADS, help="Default: as many as usable cores."),
        click.option(
            "--cpuset", default="", callback=checked_cores, help="Keep containers on these cores, as in 0-3 or 0,2."
        ),
        click.option(
            "--data",
            type=click.Choice(["auto", "real", "synthetic"]),
            default="auto",
            show_default=True,
            help="What a training run trains on; auto: real data where they can be had.",
        ),
        mirror_option("Take base images from here: HOST[:PORT][/PATH]."),
        click.option(
            "--ca-bundle",
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            help="Certificates to trust while images are built, and only then. Default: pip's.",
        ),
    )

    def with_where(**values: Any) -> Any:
        return command(where=Where(**{name: values.pop(name) for name in Where.__struct_fields__}), **values)

    with_where.__name__, with_where.__doc__ = command.__name__, command.__doc__
    with_where.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    decorated: Callable[..., Any] = with_where
    for option in reversed(options):
        decorated = option(decorated)
    return decorated


def work_for(catalog: Catalog, paths: Paths, where: Where, recipes: Sequence[Any], tell: Listener) -> Any:
    """What all jobs of a run share; the engine is chosen here, and said where nobody named one."""
    from runner.engines.choice import build_settings, chosen_engine
    from runner.engines.docker import DockerEngine
    from runner.engines.venv import VenvEngine
    from runner.jobs import Work
    from runner.machine import available_cores, this_machine
    from runner.store import Store

    settings = build_settings(os.environ, where.registry_mirror, where.ca_bundle)
    engine, why = chosen_engine(where.engine, recipes, catalog, paths, os.environ, settings)
    if why:
        warn(why)
    if where.cpuset and isinstance(engine, DockerEngine):
        engine.check_cores(where.cpuset)
    return Work(
        catalog=catalog,
        paths=paths,
        store=Store(paths, warn),
        engine=engine,
        machine=this_machine(),
        threads=where.threads or available_cores(),
        cpuset=where.cpuset,
        data=where.data,
        environ=os.environ,
        tell=tell,
        interpreters=engine.interpreters if isinstance(engine, VenvEngine) else None,
    )


def refuse(catalog: Catalog, cell: Cell, device: Device, reason: str | None) -> None:
    """Say in one line why a cell does not run here, and name the nearest that does."""
    if reason is None:
        return
    from runner.expand import nearest_runnable

    near = nearest_runnable(catalog, cell, device)
    hint = f"; the nearest cell that does: python -m runner cell {near}" if near and near != cell.id else ""
    raise UnsupportedHere(f"{cell.id} cannot run on this machine's {device}: {reason}{hint}")
