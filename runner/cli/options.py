"""Options that several commands share, as one value."""

import os
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

device_option = click.option("--device", type=DEVICES, default="cpu", show_default=True, help="What cells run on.")


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
        click.option("--threads", type=click.IntRange(min=1), help="Default: as many as usable cores."),
        click.option("--cpuset", default="", help="Keep containers on these cores, as in 0-3 or 0,2."),
        click.option(
            "--data",
            type=click.Choice(["auto", "real", "synthetic"]),
            default="auto",
            show_default=True,
            help="What a training run trains on; auto: real data where they can be had.",
        ),
        click.option("--registry-mirror", default="", help="Take base images from here: HOST[:PORT][/PATH]."),
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
    from runner.jobs import Work
    from runner.machine import available_cores, this_machine
    from runner.store import Store

    settings = build_settings(os.environ, where.registry_mirror, where.ca_bundle)
    engine, why = chosen_engine(where.engine, recipes, catalog, paths, os.environ, settings)
    if why:
        warn(why)
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
    )


def refuse(catalog: Catalog, cell: Cell, device: Device, reason: str | None) -> None:
    """Say in one line why a cell does not run here, and name the nearest that does."""
    if reason is None:
        return
    from runner.expand import nearest_runnable

    near = nearest_runnable(catalog, cell, device)
    hint = f"; the nearest cell that does: python -m runner cell {near}" if near and near != cell.id else ""
    raise UnsupportedHere(f"{cell.id} cannot run on this machine's {device}: {reason}{hint}")
