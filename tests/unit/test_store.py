"""Records survive: whole or not at all, refused when damaged or from the future."""

from pathlib import Path

import msgspec
import pytest
from records import record

from runner.errors import Mistake
from runner.paths import Paths
from runner.store import Store


def test_a_record_reads_back_as_it_was_written(paths: Paths) -> None:
    store = Store(paths)
    path = store.write(record())
    assert paths.shown(path) == "reports/results/box/small/torch-2.13/quick-cpu-venv-1.json"
    assert list(store.all()) == [record()]
    assert store.find("box", "small", "torch-2.13", "quick", "cpu", "venv", 1) == record()
    assert store.find("box", "small", "torch-2.13", "quick", "cpu", "venv", 2) is None


def test_nothing_half_written_is_ever_read(paths: Paths) -> None:
    path = Store(paths).write(record())
    (path.parent / ".quick-cpu-venv-2.json.77").write_bytes(b'{"schema": 1')
    assert len(list(Store(paths).all())) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"schema": 1, "cell": 3}', b'{"schema": "x"}'])
def test_a_damaged_record_is_named_and_left_alone(paths: Paths, content: bytes) -> None:
    path = Store(paths).write(record())
    path.write_bytes(content)
    with pytest.raises(Mistake, match=r"quick-cpu-venv-1.json is damaged .* run again"):
        list(Store(paths).all())
    assert path.read_bytes() == content


def test_a_record_from_a_newer_runner_is_refused(paths: Paths) -> None:
    path = Store(paths).write(record())
    path.write_bytes(path.read_bytes().replace(b'"schema": 1', b'"schema": 99', 1))
    with pytest.raises(Mistake, match=r"schema 99.*update the runner"):
        list(Store(paths).all())


def test_an_unwritable_folder_is_said_before_anything_is_measured(paths: Paths) -> None:
    Path(paths.reports).mkdir()
    (paths.reports / "results").write_text("a file where a folder should be")
    with pytest.raises(Mistake, match=r"cannot write reports/results"):
        Store(paths).check_writable()


def test_the_machines_of_the_records_are_known_by_id(paths: Paths) -> None:
    from runner.machine import Machine

    machine = Machine(id="box", processor="P", cores=2, memory_bytes=2**34, system="S")
    Store(paths).write_machine(machine)
    assert Store(paths).machines() == {"box": machine}
    assert msgspec.json.decode((paths.results / "box" / "machine.json").read_bytes())["schema"] == 1
