"""Commands that only look: list, show, network, doctor."""

import os
from fnmatch import fnmatchcase
from typing import Any

import click

from runner.cells import Device
from runner.cli.options import device_option
from runner.cli.saying import say, warn
from runner.errors import Mistake
from runner.expand import suite_entries
from runner.paths import checkout_paths
from runner.reading import read_catalog


@click.command("list")
@click.argument("globs", nargs=-1)
@device_option
@click.option("--json", "as_json", is_flag=True, help="One JSON array instead of lines.")
def list_cells(globs: tuple[str, ...], device: Device, as_json: bool) -> None:
    """Every cell, the suites that time it, and whether it runs on this kind of device or why not."""
    catalog = read_catalog(checkout_paths())
    suites = {name: {e.cell.id for e in suite_entries(catalog, suite)} for name, suite in catalog.suites.items()}
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
        say(f"{cell.id:{width}}  {', '.join(names) or '-':22}  {reason or 'runs'}")


@click.command()
@click.argument("cell")
@device_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of lines.")
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
    records = [r for r in Store(paths, warn).all() if r.cell == found.id]
    facts: dict[str, Any] = {
        "cell": found.id,
        "release": f"{release.title} ({found.release})",
        "version": release.version,
        release.language.name: release.language_version,
        "adapter": f"images/guest/{release.language.adapter_file(release.adapter)}",
        "lock": f"images/locks/{release.language.lock_file(release.stack_of or found.release, device)}",
        "options": found.options,
        "requirements": list(stack.requirements) if stack else [],
        "cuda": stack.cuda if stack else None,
        "cudnn": stack.cudnn if stack else None,
        "environment": cell_environment(catalog, paths, found, device) if stack else {},
        "cannot_run": catalog.reason_against(found, device),
        "known_faults": [f"{fault.reason} ({', '.join(fault.workloads)})" for fault in catalog.faults(found, device)],
        "records": [
            f"{r.workload} {r.profile} {r.device} {r.engine} #{r.launch}: {r.fate} {r.reason}".strip() for r in records
        ],
    }
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(facts), indent=2).decode())
        return
    for name, value in facts.items():
        for line in value or ["-"] if isinstance(value, list) else [value]:
            say(f"{name.replace('_', ' '):14} {line or '-'}")


@click.command()
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
    forward, both = forward_flop(layers) / 1e9, training_flop(layers) / 1e9
    click.echo(f"{forward:,.2f} GFLOP forward, {both:,.2f} GFLOP forward and backward, a sample")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON array instead of lines.")
def doctor(as_json: bool) -> None:
    """What of this machine is fit for the matrix, what is not, and what to do."""
    import msgspec

    from runner.doctor import findings

    paths = checkout_paths()
    found = findings(read_catalog(paths), paths, os.environ)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(list(found)), indent=1).decode())
        return
    for finding in found:
        say(f"{'ok  ' if finding.fine else 'look'}  {finding.subject:14} {finding.text}")
        if finding.remedy:
            say(f"{'':22}{finding.remedy}")
