"""Commands that write files of the checkout: report, publish, reference, lock."""

import os
from pathlib import Path

import click

from runner.cells import Device
from runner.cli.options import BATCH, DEVICES, mirror_option
from runner.cli.saying import say, warn
from runner.errors import CellFailed, Mistake, nearest
from runner.paths import checkout_paths
from runner.reading import read_catalog


@click.command()
def report() -> None:
    """Write reports/<suite>.md from the records."""
    from runner.report import write_pages
    from runner.store import Store

    paths = checkout_paths()
    for path in write_pages(read_catalog(paths), paths, Store(paths, warn)):
        say(paths.shown(path))


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--check", is_flag=True, help="Write nothing; exit 4 when the file is not current.")
def publish(file: Path, check: bool) -> None:
    """Fill the blocks between <!-- matrix:SUITE --> and <!-- /matrix:SUITE --> of a file with the fullest tables."""
    from runner.publish import published, read_text
    from runner.report import blocks
    from runner.store import Store

    paths = checkout_paths()
    store = Store(paths, warn)
    text = read_text(file)
    fresh = published(text, blocks(read_catalog(paths), store), str(file))
    if fresh == text:
        say(f"{file} is current")
    elif check:
        raise CellFailed(f"{file} is not current; run: python -m runner publish {file}")
    else:
        store.write_file(file, fresh.rstrip("\n").encode())
        say(f"{file} written")


@click.command()
@click.argument("workload")
@click.option("--batch", type=BATCH, multiple=True, help="Default: those of the suites' profiles.")
def reference(workload: str, batch: tuple[int, ...]) -> None:
    """Compute the float64 witness that cells of a workload are judged by; VGG16 takes minutes."""
    from runner.drive import compute_reference

    paths = checkout_paths()
    catalog = read_catalog(paths)
    if workload not in catalog.workloads:
        near = nearest(workload, catalog.workloads)
        raise Mistake(f"no workload {workload!r}{near}; there are: {', '.join(catalog.workloads)}")
    suites = [suite for suite in catalog.suites.values() if workload in suite.workloads]
    for size in batch or sorted({profile.batch for suite in suites for profile in suite.profiles.values()}):
        say(paths.shown(compute_reference(catalog, paths, workload, size, os.environ)))


@click.command()
@click.argument("releases", nargs=-1)
@click.option("--device", "devices", type=DEVICES, multiple=True, help="Default: every device the release has.")
@click.option("--tools", is_flag=True, help="Lock pip, setuptools and wheel of every Python, too.")
@click.option("--bases", is_flag=True, help="Ask the registry for the digests of all base images, too.")
@mirror_option("Ask this registry: HOST[:PORT][/PATH].")
def lock(
    releases: tuple[str, ...], devices: tuple[Device, ...], tools: bool, bases: bool, registry_mirror: str
) -> None:  # fmt: skip
    """Make the locks of these releases anew: every requirement with its hash."""
    from runner import processes
    from runner.locking import lock_bases, lock_release, lock_tools

    paths = checkout_paths()
    catalog = read_catalog(paths)
    if not releases and not bases and not tools:
        raise Mistake("name a release, --tools or --bases; see: python -m runner list")
    if tools:
        try:
            for path in lock_tools(paths, os.environ):
                say(paths.shown(path))
        except processes.ProcessFailed as error:
            raise Mistake(f"tools: {error}") from None
    for id_ in releases:
        release = catalog.release(id_)
        if release.stack_of:
            raise Mistake(
                f"{id_} is installed from the lock of {release.stack_of}; make that: python -m runner lock {release.stack_of}"
            )
        for device in devices or tuple(d for d in ("cpu", "gpu") if release.stack(d)):
            try:
                say(paths.shown(lock_release(paths, id_, release, device, os.environ)))
            except (processes.ProcessFailed, ValueError) as error:
                raise Mistake(f"{id_} on {device}: {error}") from None
    if bases:
        for line in lock_bases(paths, os.environ, registry_mirror):
            say(line)
