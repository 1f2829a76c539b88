"""Keeps records: one file a launch, written beside and renamed, in folders by machine, workload and cell.

A file that is damaged, or that says it is of another place than where it lies, counts as absent; why is said once.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from runner.cells import NAME
from runner.errors import Mistake
from runner.files import write_durably
from runner.machine import MACHINE_SCHEMA, Machine
from runner.paths import Paths
from runner.records import RECORD_SCHEMA, Group, Record, Skips

Kind = TypeVar("Kind", Record, Skips, Machine)


REMEDY = "delete it, or let the matrix write it again"


class Unusable(Exception):
    """Why a file is left out, and what a person can do."""


class Store:
    """The records of a checkout. Of each file that is left out, `left_out` has the reason and `warn` gets a line, once."""

    def __init__(self, paths: Paths, warn: Callable[[str], None] | None = None) -> None:
        self.paths = paths
        self.warn = warn
        self.left_out: dict[str, str] = {}

    def leave_out(self, path: Path, why: object) -> None:
        """Note of a file why it is left out of all that is shown."""
        shown = self.paths.shown(path)
        if shown not in self.left_out:
            self.left_out[shown] = str(why)
            if self.warn:
                self.warn(f"{shown} is left out: {why}")

    def path(self, machine: str, workload: str, cell: str, profile: str, device: str, engine: str, launch: int) -> Path:
        """Return where the record of a launch lies.

        Raises:
            Mistake: where a part of the path is no name.
        """
        check_names(machine, workload, cell, profile, device, engine)
        return self.paths.results / machine / workload / cell / f"{profile}-{device}-{engine}-{launch}.json"

    def write(self, record: Record) -> Path:
        """Keep a record; what stood there before gives way only once the new one is whole."""
        path = self.path_of(record)
        self.write_file(path, msgspec.json.format(msgspec.json.encode(record), indent=1))
        return path

    def write_machine(self, machine: Machine) -> None:
        check_names(machine.id)
        self.write_file(
            self.paths.results / machine.id / "machine.json",
            msgspec.json.format(msgspec.json.encode(machine), indent=1),
        )

    def write_file(self, path: Path, content: bytes) -> None:
        """Write a file of the checkout; once this returns, it is on the disk.

        Raises:
            Mistake: where that cannot be done.
        """
        try:
            write_durably(path, content + b"\n")
        except OSError as error:
            raise self.cannot_write(path, error) from None

    def cannot_write(self, path: Path, error: OSError) -> Mistake:
        shown = self.paths.shown(path)
        return Mistake(f"cannot write {shown}: {error.strerror}; make the folder writable, with room, and run again")

    def check_writable(self) -> None:
        """Fail before the first measurement, not after it.

        Raises:
            Mistake: where results cannot be written.
        """
        try:
            self.paths.results.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.paths.results) as probe:
                probe.write(b"probe")
        except OSError as error:
            raise self.cannot_write(self.paths.results, error) from None

    def path_of(self, record: Record) -> Path:
        return self.path(
            record.machine, record.workload, record.cell, record.profile, record.device, record.engine, record.launch
        )

    def read(self, path: Path) -> Record | None:
        """Return the record at a path, or None where there is none that is whole and of this place."""
        try:
            record = decoded(path, Record, RECORD_SCHEMA)
            self.check(record, path)
        except Unusable as reason:
            self.leave_out(path, reason)
            return None
        return record

    def check(self, record: Record, path: Path) -> None:
        """Raise Unusable for a record that cannot be, or that another place than this one belongs to."""
        if flaw := record.flaw():
            raise Unusable(f"it is damaged ({flaw}); {REMEDY}")
        try:
            own = self.path_of(record)
        except Mistake as mistake:
            raise Unusable(f"it is damaged ({mistake}); {REMEDY}") from None
        if own != path:
            raise Unusable(f"it is the record of {self.paths.shown(own)}; move it there, or delete it")

    def write_skips(self, group: Group, workload: str, reasons: dict[str, str]) -> None:
        """Keep why cells have no record, so that a table can still say so later."""
        skips = Skips(suite=group.suite, reasons=dict(sorted(reasons.items())))
        self.write_file(self.skips_path(group, workload), msgspec.json.format(msgspec.json.encode(skips), indent=1))

    def skips(self, group: Group, workload: str) -> dict[str, str]:
        """Return by cell why this machine could not run it."""
        path = self.skips_path(group, workload)
        try:
            return decoded(path, Skips, RECORD_SCHEMA).reasons if exists(path) else {}
        except Unusable as reason:
            self.leave_out(path, reason)
            return {}

    def skips_path(self, group: Group, workload: str) -> Path:
        check_names(group.machine, workload, group.profile, group.device, group.engine)
        name = f"{group.profile}-{group.device}-{group.engine}-skipped.json"
        return self.paths.results / group.machine / workload / name

    def find(
        self, machine: str, workload: str, cell: str, profile: str, device: str, engine: str, launch: int
    ) -> Record | None:
        """Return the record of a launch, or None where there is none that is whole."""
        path = self.path(machine, workload, cell, profile, device, engine, launch)
        return self.read(path) if exists(path) else None

    def all(self) -> Iterator[Record]:
        """Yield every record that is whole, in the order of their paths."""
        for path in sorted(self.paths.results.glob("*/*/*/[!.]*.json")):
            if record := self.read(path):
                yield record

    def machines(self) -> dict[str, Machine]:
        """Return the machines that records speak of, by id."""
        found = {}
        for path in sorted(self.paths.results.glob("*/machine.json")):
            try:
                found[path.parent.name] = machine_in(path)
            except Unusable as reason:
                self.leave_out(path, reason)
        return found


def machine_in(path: Path) -> Machine:
    """Return the machine that a folder of results is of; Unusable where its file is damaged or of another one."""
    machine = decoded(path, Machine, MACHINE_SCHEMA)
    if machine.id != path.parent.name:
        raise Unusable(f"it is of the machine {machine.id!r}; {REMEDY}")
    return machine


def check_names(*parts: str) -> None:
    """Raise Mistake where a part of a path in the results is no name."""
    for part in parts:
        if not NAME.fullmatch(part):
            raise Mistake(f"{part!r} is no name for results; use small letters, digits, '.', '_' and '-'")


def exists(path: Path) -> bool:
    return os.path.lexists(path)


def decoded(path: Path, kind: type[Kind], newest: int) -> Kind:
    """Return what a JSON file holds.

    Raises:
        Unusable: where it is damaged, or of a newer schema than `newest`.
    """
    try:
        if not path.is_file():
            raise Unusable(f"it is no file; {REMEDY}")
        content = path.read_bytes()
        schema = msgspec.json.decode(content, type=SchemaOnly).schema
        if schema > newest:
            raise Unusable(f"it has schema {schema}, this runner knows {newest}; update the runner to read it")
        return msgspec.json.decode(content, type=kind)
    except OSError as error:
        raise Unusable(f"it cannot be read ({error.strerror}); make it readable") from None
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Unusable(f"it is damaged ({error}); {REMEDY}") from None


class SchemaOnly(msgspec.Struct):
    schema: int
