"""Records to Markdown: a suite's table in the published form, with proof, interval and reasons.

What a record or a TOML file says reaches a page through `for_markdown` alone.
"""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from math import sqrt
from statistics import median
from typing import get_args

import msgspec

from runner.catalog import Catalog, Number, Published, Suite
from runner.cells import Device
from runner.datasets.sources import Source
from runner.expand import Entry, row_label, suite_entries
from runner.machine import Machine
from runner.records import Group, Record
from runner.stats import Estimate, estimate
from runner.text import for_markdown

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
    published: tuple[Number, ...]
    ratio: float | None  # our time over the published one, where it is of the same kind of device and the same batch
    base: tuple[str, str] | None = None  # cell and workload of the line that this one is set against


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A suite's rows in one group, with what a reader must know to trust them."""

    group: Group
    batch: int
    rows: tuple[Row, ...]
    tested: int  # samples that were classified for the accuracy; 0 is all there are
    first: datetime
    last: datetime

    @property
    def devices(self) -> tuple[Device, ...]:
        """The kinds of device of its published numbers, its own first."""
        found = {number.device for row in self.rows for number in row.published}
        return tuple(sorted(found, key=lambda device: (device != self.group.device, device)))

    @property
    def times(self) -> int:
        """How many rows have a time that their witness proved."""
        return sum(row.estimate is not None and row.fate == "ok" for row in self.rows)

    @property
    def has_ratios(self) -> bool:
        return any(row.ratio is not None and row.fate == "ok" for row in self.rows)

    def published_batches(self, device: Device) -> set[int]:
        return {number.batch for row in self.rows for number in row.published if number.device == device}

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


def groups_of(catalog: Catalog, records: Sequence[Record]) -> tuple[Group, ...]:
    """Return the tables that these records make, each once."""
    groups = {
        Group(suite=r.suite, machine=r.machine, device=r.device, engine=r.engine, profile=r.profile): None
        for r in records
        if can_show(catalog, r.suite, r)
    }
    return tuple(groups)


def can_show(catalog: Catalog, name: str, record: Record) -> bool:
    """Whether a suite, if there is one of that name, times what the record is of."""
    suite = catalog.suites.get(name)
    return suite is not None and record.workload in suite.workloads and record.profile in suite.profiles


def reason_to_leave(catalog: Catalog, record: Record, cells: Collection[str]) -> str:
    """Return why no table of the catalogue can show a whole record, or nothing; `cells` are the catalogue's."""
    if record.cell not in cells:
        return f"no cell is named {record.cell!r} any more"
    if any(can_show(catalog, name, record) for name in catalog.suites):
        return ""
    suite = catalog.suites.get(record.suite)
    if suite is None:
        return f"no suite is named {record.suite!r} any more"
    if record.workload not in suite.workloads:
        return f"suite {record.suite!r} does not time {record.workload!r} any more"
    return f"suite {record.suite!r} has no profile {record.profile!r} any more"


def table_of(catalog: Catalog, group: Group, records: Sequence[Record], skipped: dict[str, dict[str, str]]) -> Table:
    """Return the table of a group; `skipped` says by workload and cell why there is no record where there is none."""
    suite = catalog.suite(group.suite)
    profile = suite.profiles[group.profile]
    where = (group.machine, group.device, group.engine, group.profile)
    mine = [r for r in records if (r.machine, r.device, r.engine, r.profile) == where and r.workload in suite.workloads]
    # The profile's batch, or where it has another now and nothing was run since, the last one.
    own = [r for r in mine if r.suite == group.suite]
    batch = max(own, key=lambda r: (r.batch == profile.batch, r.started)).batch
    mine = [r for r in mine if r.batch == batch]  # also those that another suite's run left of the same workload
    by_line: dict[tuple[str, str], list[Record]] = {}
    for record in mine:
        by_line.setdefault((record.cell, record.workload), []).append(record)
    rows = [
        row_of(
            catalog, group, entry, by_line.get(entry.line, ()), skipped.get(entry.workload, {}).get(entry.cell.id, "")
        )
        for entry in suite_entries(catalog, suite, group.profile)
    ]
    started = [r.started for r in mine]
    return Table(
        group=group, batch=batch, rows=(*rows, *absent_rows(published_numbers(catalog, suite, group.suite))),
        tested=profile.training.test if profile.training else 0, first=min(started), last=max(started),
    )  # fmt: skip


def row_of(catalog: Catalog, group: Group, entry: Entry, records: Sequence[Record], skipped: str) -> Row:
    suite = catalog.suite(group.suite)
    numbers = tuple(
        n
        for n in published_numbers(catalog, suite, group.suite)
        if (n.cell, n.workload or suite.workload) == entry.line
    )
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
        published=numbers,
        ratio=ratio_of(found, numbers, group.device, records[0].batch) if found else None,
        base=entry.base,
    )


def ratio_of(found: Estimate, numbers: Sequence[Number], device: Device, batch: int) -> float | None:
    """Return our time over the published one, or None where none is of this kind of device and this batch."""
    number = next((n for n in numbers if (n.device, n.batch) == (device, batch)), None)
    return found.median / batch / number.seconds_per_sample if number else None


def absent_rows(numbers: Sequence[Number]) -> Iterator[Row]:
    """Yield the published rows that no cell of ours stands beside, each with the reason."""
    absent = [n for n in numbers if n.absent]
    for label, workload, reason in dict.fromkeys((n.label, n.workload, n.absent) for n in absent):
        yield Row(
            cell="", label=label, workload=workload, estimate=None, fate="skipped", reason=reason,
            witness_error=None, form="", accuracy=None, data="", ratio=None,
            published=tuple(n for n in absent if (n.label, n.workload, n.absent) == (label, workload, reason)),
        )  # fmt: skip


def published_numbers(catalog: Catalog, suite: Suite, name: str) -> list[Number]:
    source = catalog.published.get(suite.published)
    return [n for n in (source.numbers if source else ()) if n.suite == name]


def page(catalog: Catalog, suite_name: str, tables: Sequence[Table], machines: dict[str, Machine]) -> str:
    """reports/<suite>.md."""
    suite = catalog.suite(suite_name)
    lines = [f"# {for_markdown(suite.title)}", "", for_markdown(suite.about), ""]
    for table in tables:
        lines += [*section(catalog, table, machines, level="##"), ""]
    lines += elsewhere(catalog, suite_name)
    return "\n".join([*lines, *notes(catalog, suite, tables)]).rstrip() + "\n"


def elsewhere(catalog: Catalog, suite_name: str) -> Iterator[str]:
    """What was published of these networks on other machines and days, a column a source."""
    sources = [catalog.published[name] for name in catalog.suite(suite_name).published_elsewhere]
    if not sources:
        return
    rows: dict[str, dict[str, str]] = {}
    for source in sources:
        for number in source.numbers:
            if number.suite == suite_name:
                rows.setdefault(for_markdown(number.label), {})[for_markdown(source.column)] = published_text(number)
    columns = [for_markdown(source.column) for source in sources]
    yield "## Published elsewhere"
    yield ""
    yield "Times of other people's programs, which nobody proved to compute one network."
    yield ""
    yield from table_lines([{"Framework": label} | {c: row.get(c, "") for c in columns} for label, row in rows.items()])
    yield ""
    for source in sources:
        yield f"- {for_markdown(source.column)}: {provenance(source)}"
    yield ""


def section(catalog: Catalog, table: Table, machines: dict[str, Machine], level: str) -> Iterator[str]:
    """A table with its heading and its provenance."""
    suite = catalog.suite(table.group.suite)
    machine = machines.get(table.group.machine)
    yield f"{level} {for_markdown(suite.title)}, {table.group.device.upper()}, batch {table.batch}, {table.group.engine}"
    yield ""
    yield from table_lines([cells_of(suite, table, row) for row in table.rows])
    yield ""
    where = for_markdown(machine.in_words()) if machine else f"`{table.group.machine}`"
    yield (
        f"Measured {days(table)} on {where}, engine `{table.group.engine}`, profile `{table.group.profile}` "
        f"({for_markdown(suite.profiles[table.group.profile].about)}). Every record: {places(suite, table.group.machine)}."
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

    if not rows:
        return []
    aligned = ["left" if column in LEFT else "right" for column in rows[0]]
    return tabulate(rows, headers="keys", tablefmt="pipe", colalign=aligned, disable_numparse=True).splitlines()


def cells_of(suite: Suite, table: Table, row: Row) -> dict[str, str]:
    """Return a row as Markdown, by column; a column that no row of the table fills is left out."""
    texts = {
        "Framework": for_markdown(row.label),
        "Cell": f"`{row.cell}`" if row.cell else "",
        "Time": time_text(row),
        "95 % interval": interval_text(row),
    }
    if suite.throughput:
        texts[for_markdown(f"{suite.throughput.capitalize()}/s")] = throughput_text(table, row)
    if any(r.accuracy is not None for r in table.rows):
        texts["Accuracy"] = accuracy_text(table, row)
    texts |= {"Witness": witness_text(row)} | published_cells(table, row)
    if any(r.base for r in table.rows):
        texts["Against"] = against_text(table, row)
    if table.has_ratios:
        texts["Ratio to published"] = f"{row.ratio:.2f}" if row.ratio is not None and row.fate == "ok" else ""
    return texts


def published_cells(table: Table, row: Row) -> dict[str, str]:
    """Return what was published for a row: the numbers, a column a kind of device, and what else was said of them."""
    texts = {}
    for device in table.devices:
        batches = table.published_batches(device)
        alike = f", batch {min(batches)}" if len(batches) == 1 else ""
        mine = [n for n in row.published if n.device == device]
        texts[f"Published ({device.upper()}{alike})"] = ", ".join(
            published_text(n) if alike else f"{published_text(n)} (batch {n.batch})" for n in mine
        )
    if any(n.accuracy for r in table.rows for n in r.published):
        accuracies = dict.fromkeys(f"{100 * n.accuracy:.0f} %" for n in row.published if n.accuracy)
        texts["Published accuracy"] = ", ".join(accuracies)
    for column in dict.fromkeys(c for r in table.rows for n in r.published for c in n.columns):
        said = dict.fromkeys(n.columns[column] for n in row.published if column in n.columns)
        texts[for_markdown(column)] = for_markdown(", ".join(said))
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
    other = "" if row.data in get_args(Source) else f" ({for_markdown(row.data)})"
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


def interval_text(row: Row) -> str:
    if row.estimate is None or row.estimate.interval is None:
        return ""
    low, high = row.estimate.interval
    return f"{milliseconds(low)} – {milliseconds(high)} ms"


def throughput_text(table: Table, row: Row) -> str:
    if row.estimate is None or row.fate != "ok":
        return ""
    return f"{float(f'{table.batch / row.estimate.median:.3g}'):g}"


def witness_text(row: Row) -> str:
    """Agreement with its size, or why not; a missing number's reason stands here too."""
    if row.fate == "ok" and row.witness_error is not None:
        return f"✓ {row.witness_error:.0e}{f', {for_markdown(row.form)}' if row.form else ''}"
    mark = {"wrong_witness": "✗ another network: "}.get(
        row.fate, "" if row.fate == "skipped" else f"{row.fate.replace('_', ' ')}: "
    )
    return mark + for_markdown(row.reason)


def notes(catalog: Catalog, suite: Suite, tables: Sequence[Table]) -> list[str]:
    """Return what stands under a suite's tables."""
    source = catalog.published.get(suite.published)
    lines = [for_markdown(note) for note in suite.notes]
    if source:
        lines.append(f"Published in {provenance(source)}")
    lines.append(
        "95 % interval: of the median, by drawing launches and then samples of each again and again; "
        "three launches or more give an interval."
    )
    if any(row.against for row in suite.rows):
        lines.append("Against: this time over that of the line of this table that it names.")
    if any(table.has_ratios for table in tables):
        lines.append(
            "Ratio to published: our time over the published time, where that is of the same kind of device and the same batch. "
            "The machines differ, so compare ratios with each other, not with one."
        )
    lines.append(
        "Witness: the largest relative difference from a float64 reference over the first outputs and the losses of the "
        "first three steps; the norm of every parameter's first update agrees within 1 %. "
        "✗ and a struck-out time: this cell computed another network. "
        "±: the middle half of the samples spreads over more than 10 % of the median; run it again on a quieter machine."
    )
    return [f"{n}. {line}" for n, line in enumerate(lines, start=1)]


def provenance(source: Published) -> str:
    """Return where numbers were published and what they are of, as a sentence of Markdown."""
    return for_markdown(f"{source.title} ({source.source}): {source.hardware}; {source.versions}.")
