"""Keeps records: one file a launch, written beside and renamed, in folders by machine, workload and cell."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from runner.errors import Mistake
from runner.files import write_durably
from runner.machine import Machine
from runner.paths import Paths
from runner.records import RECORD_SCHEMA, Group, Record, Skips


class Store:
    """The records of a checkout."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths

    def path(self, machine: str, workload: str, cell: str, profile: str, device: str, engine: str, launch: int) -> Path:
        return self.paths.results / machine / workload / cell / f"{profile}-{device}-{engine}-{launch}.json"

    def write(self, record: Record) -> Path:
        """Keep a record; what stood there before gives way only once the new one is whole."""
        path = self.path(
            record.machine, record.workload, record.cell, record.profile, record.device, record.engine, record.launch
        )
        self.write_file(path, msgspec.json.format(msgspec.json.encode(record), indent=1))
        return path

    def write_machine(self, machine: Machine) -> None:
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

    def read(self, path: Path) -> Record:
        """One record.

        Raises:
            Mistake: where it is damaged, or was written by a newer runner.
        """
        shown = self.paths.shown(path)
        try:
            content = path.read_bytes()
            schema = msgspec.json.decode(content, type=SchemaOnly).schema
            if schema > RECORD_SCHEMA:
                raise Mistake(
                    f"{shown} has schema {schema}, this runner knows {RECORD_SCHEMA}; update the runner to read it"
                )
            return msgspec.json.decode(content, type=Record)
        except (msgspec.DecodeError, msgspec.ValidationError, OSError) as error:
            raise Mistake(
                f"{shown} is damaged ({error}); move it away and run again: only its own launch is missing then"
            ) from None

    def write_skips(self, group: Group, workload: str, reasons: dict[str, str]) -> None:
        """Keep why cells have no record, so that a table can still say so later."""
        skips = Skips(suite=group.suite, reasons=dict(sorted(reasons.items())))
        self.write_file(self.skips_path(group, workload), msgspec.json.format(msgspec.json.encode(skips), indent=1))

    def skips(self, group: Group, workload: str) -> dict[str, str]:
        """By cell, why this machine could not run it."""
        path = self.skips_path(group, workload)
        try:
            return msgspec.json.decode(path.read_bytes(), type=Skips).reasons if path.is_file() else {}
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            shown = self.paths.shown(path)
            raise Mistake(f"{shown} is damaged ({error}); delete it and run the matrix again") from None

    def skips_path(self, group: Group, workload: str) -> Path:
        name = f"{group.profile}-{group.device}-{group.engine}-skipped.json"
        return self.paths.results / group.machine / workload / name

    def find(
        self, machine: str, workload: str, cell: str, profile: str, device: str, engine: str, launch: int
    ) -> Record | None:
        path = self.path(machine, workload, cell, profile, device, engine, launch)
        return self.read(path) if path.is_file() else None

    def all(self) -> Iterator[Record]:
        """Every record, in the order of their paths."""
        for path in sorted(self.paths.results.glob("*/*/*/[!.]*.json")):
            yield self.read(path)

    def machines(self) -> dict[str, Machine]:
        """The machines that records speak of, by id."""
        found = {}
        for path in sorted(self.paths.results.glob("*/machine.json")):
            try:
                found[path.parent.name] = msgspec.json.decode(path.read_bytes(), type=Machine)
            except (msgspec.DecodeError, msgspec.ValidationError) as error:
                raise Mistake(
                    f"{self.paths.shown(path)} is damaged ({error}); delete it and run the matrix again"
                ) from None
        return found


class SchemaOnly(msgspec.Struct):
    schema: int
