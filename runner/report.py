"""Records to files: a page a suite, the blocks for a README, and whether what is committed is current."""

from collections.abc import Sequence
from pathlib import Path

from runner.catalog import Catalog
from runner.machine import Machine
from runner.paths import Paths
from runner.records import Record
from runner.store import Store
from runner.tables import Table, groups_of, notes, page, reason_to_leave, section, table_of


def tables_by_suite(catalog: Catalog, store: Store) -> dict[str, list[Table]]:
    """Return every table that the records make, by suite, the suites in the catalogue's order."""
    records = shown_records(catalog, store)
    found: dict[str, list[Table]] = {}
    for group in sorted(groups_of(catalog, records), key=lambda g: (g.device, g.machine, g.profile, g.engine)):
        skipped = {name: store.skips(group, name) for name in catalog.suite(group.suite).workloads}
        found.setdefault(group.suite, []).append(table_of(catalog, group, records, skipped))
    return {name: found[name] for name in catalog.suites if name in found}


def shown_records(catalog: Catalog, store: Store) -> list[Record]:
    """Return the records that a table of the catalogue can show; the others are left out, and the store says so."""
    cells = {cell.id for cell in catalog.cells()}
    shown = []
    for record in store.all():
        if reason := reason_to_leave(catalog, record, cells):
            store.leave_out(store.path_of(record), f"{reason}; delete it, or bring that back")
        else:
            shown.append(record)
    return shown


def pages(catalog: Catalog, paths: Paths, store: Store) -> dict[Path, str]:
    """The text of every page, by its path."""
    machines = store.machines()
    tables = tables_by_suite(catalog, store)
    return {paths.reports / f"{name}.md": page(catalog, name, found, machines) for name, found in tables.items()}


def blocks(catalog: Catalog, store: Store) -> dict[str, str]:
    """Return what stands between a README's markers, by suite: the suite's fullest table and the notes."""
    machines = store.machines()
    return {name: block(catalog, found, machines) for name, found in tables_by_suite(catalog, store).items()}


def block(catalog: Catalog, tables: Sequence[Table], machines: dict[str, Machine]) -> str:
    """Return the table with the most times, the newest where several have as many, and its notes."""
    fullest = max(tables, key=lambda table: (table.times, table.last))
    under = notes(catalog, catalog.suite(fullest.group.suite), [fullest])
    return "\n".join([*section(catalog, fullest, machines, level="###"), "", *under])


def write_pages(catalog: Catalog, paths: Paths, store: Store) -> tuple[Path, ...]:
    """Write the pages that changed; the paths of all."""
    written = pages(catalog, paths, store)
    for path, text in written.items():
        if not path.is_file() or path.read_bytes() != text.encode():
            store.write_file(path, text.rstrip("\n").encode())
    return tuple(written)
