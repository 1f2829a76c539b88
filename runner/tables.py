"""Records to Markdown: a suite's table in the published form, with proof, interval and reasons."""

from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec

from runner.catalog import Catalog, Number, Suite
from runner.cells import Cell
from runner.expand import row_label, suite_cells
from runner.machine import Machine
from runner.records import Group, Record
from runner.stats import Estimate, estimate

STRUCK = ("wrong_witness",)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One cell of a table: its time or the reason why it has none, beside what was published."""

    cell: str
    label: str
    estimate: Estimate | None
    fate: str
    reason: str
    witness_error: float | None
    published: Number | None
    ratio: float | None


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A suite's rows in one group, with what a reader must know to trust them."""

    group: Group
    batch: int
    rows: tuple[Row, ...]
    first: datetime
    last: datetime


def groups_of(records: Sequence[Record]) -> tuple[Group, ...]:
    """The tables that these records make, each once."""
    groups = {
        Group(suite=r.suite, machine=r.machine, device=r.device, engine=r.engine, profile=r.profile): None for r in records
    }  # fmt: skip
    return tuple(groups)


def table_of(catalog: Catalog, group: Group, records: Sequence[Record], skipped: dict[str, str]) -> Table:
    """The table of a group; `skipped` says by cell why there is no record where there is none."""
    suite = catalog.suite(group.suite)
    mine = [r for r in records if (r.suite, r.machine, r.device, r.engine, r.profile) == msgspec.structs.astuple(group)]
    rows = tuple(
        row_of(catalog, group, cell, [r for r in mine if r.cell == cell.id], skipped.get(cell.id, ""), mine[0].batch)
        for cell in suite_cells(catalog, suite)
    )
    started = [r.started for r in mine]
    return Table(group=group, batch=mine[0].batch, rows=rows, first=min(started), last=max(started))


def row_of(catalog: Catalog, group: Group, cell: Cell, records: Sequence[Record], skipped: str, batch: int) -> Row:
    suite = catalog.suite(group.suite)
    number = published_number(catalog, suite, group.suite, cell)
    timed = [r for r in records if r.timed]
    worst = next((r for r in records if r.fate != "ok"), None)
    found = estimate([r.step_seconds() for r in timed]) if timed else None
    errors = [r.witness_error for r in records if r.witness_error is not None]
    reason = (
        worst.reason
        if worst
        else ""
        if records
        else skipped or catalog.reason_against(cell, group.device) or "not run yet"
    )
    return Row(
        cell=cell.id,
        label=row_label(catalog, suite, cell),
        estimate=found,
        fate=worst.fate if worst else "ok" if records else "skipped",
        reason=reason,
        witness_error=max(errors, default=None),
        published=number,
        ratio=(found.median / batch) / (number.milliseconds / 1000 / number.batch) if found and number else None,
    )


def published_number(catalog: Catalog, suite: Suite, name: str, cell: Cell) -> Number | None:
    source = catalog.published.get(suite.published)
    numbers = source.numbers if source else ()
    return next((n for n in numbers if n.suite == name and n.cell == cell.id), None)


def page(catalog: Catalog, suite_name: str, tables: Sequence[Table], machines: dict[str, Machine]) -> str:
    """reports/<suite>.md."""
    suite = catalog.suite(suite_name)
    lines = [f"# {suite.title}", "", " ".join(suite.about.split()), ""]
    for table in tables:
        lines += [*section(catalog, table, machines, level="##"), ""]
    return "\n".join([*lines, *notes(catalog, suite)]).rstrip() + "\n"


def section(catalog: Catalog, table: Table, machines: dict[str, Machine], level: str) -> Iterator[str]:
    """A table with its heading and its provenance."""
    suite = catalog.suite(table.group.suite)
    machine = machines.get(table.group.machine)
    yield f"{level} {suite.title}, {table.group.device.upper()}, batch {table.batch}"
    yield ""
    yield from markdown(table)
    yield ""
    profile = suite.profiles.get(table.group.profile)
    about = f" ({profile.about})" if profile else ""
    yield (
        f"Measured {days(table)} on {machine.in_words() if machine else table.group.machine}, engine `{table.group.engine}`, "
        f"profile `{table.group.profile}`{about}. Every record: `reports/results/{table.group.machine}/{suite.workload}/`."
    )


def days(table: Table) -> str:
    first, last = table.first.date().isoformat(), table.last.date().isoformat()
    return first if first == last else f"{first} to {last}"


def markdown(table: Table) -> list[str]:
    """The rows as a GitHub table."""
    import pandas as pd

    frame = pd.DataFrame([cells_of(row) for row in table.rows])
    aligned = ("left", "left", "right", "right", "left", "right", "right")
    return str(frame.to_markdown(index=False, colalign=aligned, disable_numparse=True)).splitlines()


def cells_of(row: Row) -> dict[str, str]:
    """A row as text, by column."""
    found = row.estimate
    return {
        "Framework": row.label,
        "Cell": f"`{row.cell}`",
        "Time": time_text(row),
        "95 % interval": f"{1000 * found.low:.0f} – {1000 * found.high:.0f} ms" if found else "",
        "Witness": witness_text(row),
        "Published": f"{row.published.milliseconds:.3f} ms" if row.published else "",
        "Ratio an image": f"{row.ratio:.2f}" if row.ratio is not None and row.fate == "ok" else "",
    }


def time_text(row: Row) -> str:
    if row.estimate is None:
        return "–"
    text = f"{1000 * row.estimate.median:.1f} ms"
    if row.fate in STRUCK:
        return f"~~{text}~~"
    return f"{text} ±" if row.estimate.noisy else text


def witness_text(row: Row) -> str:
    """Agreement with its size, or why not; a missing number's reason stands here too."""
    if row.fate == "ok" and row.witness_error is not None:
        return f"✓ {row.witness_error:.0e}"
    mark = {"wrong_witness": "✗ another network: "}.get(
        row.fate, "" if row.fate == "skipped" else f"{row.fate.replace('_', ' ')}: "
    )
    return (mark + row.reason).replace("|", "\\|")


def notes(catalog: Catalog, suite: Suite) -> list[str]:
    """What stands under a suite's tables."""
    source = catalog.published.get(suite.published)
    lines = [f"{n}. {note}" for n, note in enumerate(suite.notes, start=1)]
    if source:
        lines.append(
            f"{len(lines) + 1}. Published in {source.title} ({source.source}): {source.hardware}; {source.versions}."
        )
    lines.append(
        f"{len(lines) + 1}. Ratio an image: our time for one image over the published time for one image. "
        "The machines differ, so compare ratios with each other, not with one."
    )
    lines.append(
        f"{len(lines) + 1}. Witness: the largest relative difference from a float64 reference over the first outputs and the losses of the "
        "first three steps; the norm of every parameter's first update agrees within 1 %. "
        "✗ and a struck-out time: this cell computed another network. "
        "±: the middle half of the samples spreads over more than 10 % of the median; run it again on a quieter machine."
    )
    return lines
