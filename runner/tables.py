"""Records to Markdown: a suite's table in the published form, with proof, interval and reasons."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from math import sqrt
from statistics import median
from typing import get_args

import msgspec

from runner.catalog import Catalog, Number, Suite
from runner.datasets.sources import Source
from runner.expand import Entry, row_label, suite_entries
from runner.machine import Machine
from runner.records import Group, Record
from runner.stats import Estimate, estimate

ACCURACY_BAND = 0.03  # around the median of a table's peers, absolute
ACCURACY_ERRORS = 3  # standard errors, where so few samples are classified that these are more


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a table: its time or the reason why it has none, beside what was published."""

    cell: str
    label: str
    workload: str
    estimate: Estimate | None
    fate: str
    reason: str
    witness_error: float | None
    form: str
    accuracy: float | None
    data: str  # what it was trained on, for the accuracy
    published: Number | None
    ratio: float | None
    base: tuple[str, str] | None = None  # cell and workload of the line that this one is set against


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A suite's rows in one group, with what a reader must know to trust them."""

    group: Group
    batch: int
    rows: tuple[Row, ...]
    tested: int  # samples that were classified for the accuracy; 0 is all there are
    first: datetime
    last: datetime

    def base_of(self, row: Row) -> "Row | None":
        """The line that a row is set against, where both have times to compare."""
        found = next((r for r in self.rows if (r.cell, r.workload) == row.base), None)
        return found if found and found.estimate and row.estimate and found.fate == row.fate == "ok" else None

    def off_its_peers(self, row: Row) -> bool:
        """Whether a row's accuracy is outside the band around the median of those that trained alike."""
        if row.accuracy is None:
            return False
        peers = [
            p.accuracy for p in self.rows if p.accuracy is not None and (p.workload, p.data) == (row.workload, row.data)
        ]
        middle = median(peers)
        error = sqrt(middle * (1 - middle) / self.tested) if self.tested else 0.0
        return abs(row.accuracy - middle) > max(ACCURACY_BAND, ACCURACY_ERRORS * error)


def groups_of(records: Sequence[Record]) -> tuple[Group, ...]:
    """The tables that these records make, each once."""
    groups = {
        Group(suite=r.suite, machine=r.machine, device=r.device, engine=r.engine, profile=r.profile): None for r in records
    }  # fmt: skip
    return tuple(groups)


def table_of(catalog: Catalog, group: Group, records: Sequence[Record], skipped: dict[str, dict[str, str]]) -> Table:
    """The table of a group; `skipped` says by workload and cell why there is no record where there is none."""
    suite = catalog.suite(group.suite)
    where = (group.machine, group.device, group.engine, group.profile)
    mine = [r for r in records if (r.machine, r.device, r.engine, r.profile) == where and r.workload in suite.workloads]
    batch = next(r.batch for r in mine if r.suite == group.suite)
    mine = [r for r in mine if r.batch == batch]  # also those that another suite's run left of the same workload
    rows = tuple(
        row_of(
            catalog,
            group,
            entry,
            [r for r in mine if (r.cell, r.workload) == (entry.cell.id, entry.workload)],
            skipped.get(entry.workload, {}).get(entry.cell.id, ""),
        )
        for entry in suite_entries(catalog, suite, group.profile)
    ) + tuple(absent_row(number) for number in published_numbers(catalog, group.suite) if number.absent)
    started = [r.started for r in mine]
    profile = suite.profiles.get(group.profile)  # records outlive profiles
    training = profile.training if profile else None
    return Table(
        group=group, batch=batch, rows=rows, tested=training.test if training else 0, first=min(started), last=max(started)
    )  # fmt: skip


def row_of(catalog: Catalog, group: Group, entry: Entry, records: Sequence[Record], skipped: str) -> Row:
    suite = catalog.suite(group.suite)
    number = published_number(catalog, suite, group, entry)
    timed = [r for r in records if r.timed]
    worst = next((r for r in records if r.fate != "ok"), None)
    found = estimate([r.step_seconds() for r in timed]) if timed else None
    errors = [r.witness_error for r in records if r.witness_error is not None]
    reason = (
        worst.reason
        if worst
        else ""
        if records
        else skipped or catalog.reason_against(entry.cell, group.device) or "not run yet"
    )
    trained = [r for r in records if r.training]
    return Row(
        cell=entry.cell.id,
        label=row_label(catalog, suite, entry),
        workload=entry.workload,
        estimate=found,
        fate=worst.fate if worst else "ok" if records else "skipped",
        reason=reason,
        witness_error=max(errors, default=None),
        form=records[0].form if records else "",
        accuracy=median(r.training.accuracy for r in trained if r.training) if trained else None,
        data=trained[0].data if trained else "",
        published=number,
        ratio=found.median / records[0].batch / number.seconds_per_sample if found and number else None,
        base=entry.base,
    )


def absent_row(number: Number) -> Row:
    """A published row that no cell of ours stands beside, with the reason."""
    return Row(
        cell="", label=number.label, workload=number.workload, estimate=None, fate="skipped", reason=number.absent,
        witness_error=None, form="", accuracy=None, data="", published=number, ratio=None,
    )  # fmt: skip


def published_numbers(catalog: Catalog, suite: str) -> list[Number]:
    source = catalog.published.get(catalog.suite(suite).published)
    return [n for n in (source.numbers if source else ()) if n.suite == suite]


def published_number(catalog: Catalog, suite: Suite, group: Group, entry: Entry) -> Number | None:
    """What was published for this line, of the same kind of device where there is a choice."""
    asked = (entry.cell.id, entry.workload)
    numbers = [n for n in published_numbers(catalog, group.suite) if (n.cell, n.workload or suite.workload) == asked]
    return min(numbers, key=lambda n: n.device != group.device, default=None)


def page(catalog: Catalog, suite_name: str, tables: Sequence[Table], machines: dict[str, Machine]) -> str:
    """reports/<suite>.md."""
    suite = catalog.suite(suite_name)
    lines = [f"# {suite.title}", "", " ".join(suite.about.split()), ""]
    for table in tables:
        lines += [*section(catalog, table, machines, level="##"), ""]
    lines += elsewhere(catalog, suite_name)
    return "\n".join([*lines, *notes(catalog, suite)]).rstrip() + "\n"


def elsewhere(catalog: Catalog, suite_name: str) -> Iterator[str]:
    """What was published of these networks on other machines and days, a column a source."""
    sources = [catalog.published[name] for name in catalog.suite(suite_name).published_elsewhere]
    if not sources:
        return
    rows: dict[str, dict[str, str]] = {}
    for source in sources:
        for number in source.numbers:
            if number.suite == suite_name:
                rows.setdefault(number.label, {})[source.column] = published_text(number)
    columns = [source.column for source in sources]
    yield "## Published elsewhere"
    yield ""
    yield "Times of other people's programs, which nobody proved to compute one network."
    yield ""
    yield from table_lines([{"Framework": label} | {c: row.get(c, "") for c in columns} for label, row in rows.items()])
    yield ""
    for source in sources:
        yield f"- {source.column}: {source.title} ({source.source}): {source.hardware}; {source.versions}."
    yield ""


def section(catalog: Catalog, table: Table, machines: dict[str, Machine], level: str) -> Iterator[str]:
    """A table with its heading and its provenance."""
    suite = catalog.suite(table.group.suite)
    machine = machines.get(table.group.machine)
    yield f"{level} {suite.title}, {table.group.device.upper()}, batch {table.batch}, {table.group.engine}"
    yield ""
    yield from table_lines([cells_of(suite, table, row) for row in table.rows])
    yield ""
    profile = suite.profiles.get(table.group.profile)
    about = f" ({profile.about})" if profile else ""
    yield (
        f"Measured {days(table)} on {machine.in_words() if machine else table.group.machine}, engine `{table.group.engine}`, "
        f"profile `{table.group.profile}`{about}. Every record: {places(suite, table.group.machine)}."
    )


def places(suite: Suite, machine: str) -> str:
    return ", ".join(f"`reports/results/{machine}/{workload}/`" for workload in suite.workloads)


def days(table: Table) -> str:
    first, last = table.first.date().isoformat(), table.last.date().isoformat()
    return first if first == last else f"{first} to {last}"


LEFT = ("Framework", "Cell", "Witness", "Against")


def table_lines(rows: Sequence[dict[str, str]]) -> list[str]:
    """Rows of the same columns as a GitHub table."""
    from tabulate import tabulate

    aligned = ["left" if column in LEFT else "right" for column in rows[0]]
    return tabulate(rows, headers="keys", tablefmt="pipe", colalign=aligned, disable_numparse=True).splitlines()


def cells_of(suite: Suite, table: Table, row: Row) -> dict[str, str]:
    """A row as text, by column; throughput and accuracy stand only in the tables that have them."""
    found, number = row.estimate, row.published
    texts = {
        "Framework": row.label,
        "Cell": f"`{row.cell}`" if row.cell else "",
        "Time": time_text(row),
        "95 % interval": f"{milliseconds(found.low)} – {milliseconds(found.high)} ms" if found else "",
    }
    if suite.throughput:
        rate = f"{float(f'{table.batch / found.median:.3g}'):g}" if found and row.fate == "ok" else ""
        texts[f"{suite.throughput.capitalize()}/s"] = rate
    if any(r.accuracy is not None for r in table.rows):
        texts["Accuracy"] = accuracy_text(table, row)
    texts |= {"Witness": witness_text(row), "Published": published_text(number) if number else ""}
    if any(r.published and r.published.accuracy for r in table.rows):
        texts["Published accuracy"] = f"{100 * number.accuracy:.0f} %" if number and number.accuracy else ""
    for column in dict.fromkeys(c for r in table.rows if r.published for c in r.published.columns):
        texts[column] = number.columns.get(column, "") if number else ""
    if any(r.base for r in table.rows):
        texts["Against"] = against_text(table, row)
    texts["Ratio a sample"] = f"{row.ratio:.2f}" if row.ratio is not None and row.fate == "ok" else ""
    return texts


def against_text(table: Table, row: Row) -> str:
    """The time as a multiple of that of its base, which another workload or another cell names."""
    base = table.base_of(row)
    if base is None or base.estimate is None or row.estimate is None:
        return ""
    name = f"`{base.cell}`" if base.cell != row.cell else f"`{base.workload}`"
    return f"{row.estimate.median / base.estimate.median:.2f} × {name}"


def published_text(number: Number) -> str:
    """As it was published, in its own unit."""
    match number.unit:
        case "ms":
            return f"{number.value:.3f} ms"
        case unit:
            return f"{number.value:g} {unit}"


def accuracy_text(table: Table, row: Row) -> str:
    if row.accuracy is None:
        return ""
    mark = " ✗" if table.off_its_peers(row) else ""
    other = "" if row.data in get_args(Source) else f" ({row.data})"
    return f"{100 * row.accuracy:.1f} %{other}{mark}"


def milliseconds(seconds: float) -> str:
    value = 1000 * seconds
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3f}"


def time_text(row: Row) -> str:
    if row.estimate is None:
        return "–"
    value = 1000 * row.estimate.median
    text = f"{value:.1f} ms" if value >= 10 else f"{value:.3f} ms"
    if row.fate != "ok":  # no time that its witness did not prove
        return f"~~{text}~~"
    return f"{text} ±" if row.estimate.noisy else text


def witness_text(row: Row) -> str:
    """Agreement with its size, or why not; a missing number's reason stands here too."""
    if row.fate == "ok" and row.witness_error is not None:
        return f"✓ {row.witness_error:.0e}{f', {row.form}' if row.form else ''}"
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
    if any(row.against for row in suite.rows):
        lines.append(f"{len(lines) + 1}. Against: this time over that of the line of this table that it names.")
    lines.append(
        f"{len(lines) + 1}. Ratio a sample: our time for one sample over the published time for one sample. "
        "The machines differ, so compare ratios with each other, not with one."
    )
    lines.append(
        f"{len(lines) + 1}. Witness: the largest relative difference from a float64 reference over the first outputs and the losses of the "
        "first three steps; the norm of every parameter's first update agrees within 1 %. "
        "✗ and a struck-out time: this cell computed another network. "
        "±: the middle half of the samples spreads over more than 10 % of the median; run it again on a quieter machine."
    )
    return lines
