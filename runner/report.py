"""Records to files: a page a suite, the blocks for a README, and whether what is committed is current."""

from pathlib import Path

from runner.catalog import Catalog
from runner.paths import Paths
from runner.store import Store
from runner.tables import Table, groups_of, notes, page, section, table_of


def tables_by_suite(catalog: Catalog, store: Store) -> dict[str, list[Table]]:
    """Every table that the records make, by suite, the suites in the catalogue's order; records of unknown suites are left."""
    records = list(store.all())
    found: dict[str, list[Table]] = {}
    for group in sorted(groups_of(records), key=lambda g: (g.device, g.machine, g.profile, g.engine)):
        if group.suite in catalog.suites:
            skipped = {name: store.skips(group, name) for name in catalog.suite(group.suite).workloads}
            found.setdefault(group.suite, []).append(table_of(catalog, group, records, skipped))
    return {name: found[name] for name in catalog.suites if name in found}


def pages(catalog: Catalog, paths: Paths, store: Store) -> dict[Path, str]:
    """The text of every page, by its path."""
    machines = store.machines()
    tables = tables_by_suite(catalog, store)
    return {paths.reports / f"{name}.md": page(catalog, name, found, machines) for name, found in tables.items()}


def blocks(catalog: Catalog, store: Store) -> dict[str, str]:
    """What stands between a README's markers, by suite: the suite's newest table and the notes."""
    machines = store.machines()
    return {
        name: "\n".join(
            [
                *section(catalog, max(found, key=lambda t: t.last), machines, level="###"),
                "",
                *notes(catalog, catalog.suite(name)),
            ]
        )
        for name, found in tables_by_suite(catalog, store).items()
    }


def write_pages(catalog: Catalog, paths: Paths, store: Store) -> tuple[Path, ...]:
    """Write the pages that changed; the paths of all."""
    written = pages(catalog, paths, store)
    for path, text in written.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            store.write_file(path, text.rstrip("\n").encode())
    return tuple(written)
