"""Whether a runner is dead is told by what no clock moves, and never guessed of another machine's."""

import subprocess
import sys
import time
from pathlib import Path

import msgspec
import psutil
import pytest

from runner.owners import Owner, owner_in, start_ticks

POPEN = subprocess.Popen  # before the unit tests forbid it


@pytest.fixture
def me() -> Owner:
    return Owner.of_this_process()


def test_a_living_runner_is_not_dead_and_reads_back(me: Owner) -> None:
    assert not me.dead(me)
    assert owner_in(me.text) == me
    assert me.ticks == start_ticks(me.pid)


def test_a_step_of_the_clock_makes_nobody_look_dead(me: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    before = psutil.boot_time()
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: before + 3600)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert Owner.of_this_process() == me
    assert not me.dead(me)


def test_a_number_that_another_process_has_now_is_dead(me: Owner) -> None:
    assert msgspec.structs.replace(me, ticks=me.ticks - 1).dead(me)
    assert msgspec.structs.replace(me, pid=2**22 + 1).dead(me)


def test_a_process_that_ended_and_is_not_buried_is_dead(me: Owner) -> None:
    with POPEN([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as process:
        ticks = start_ticks(process.pid)
        assert ticks is not None
        owner = msgspec.structs.replace(me, pid=process.pid, ticks=ticks)
        assert not owner.dead(me)
        process.kill()
        while Path(f"/proc/{process.pid}/stat").read_text().split(") ")[1][0] != "Z":
            time.sleep(0.01)
        assert owner.dead(me)


@pytest.mark.parametrize(
    ("changes", "dead"),
    [({"boot": "an earlier one"}, True), ({"machine": "abcdef"}, False), ({"namespace": "pid:[1]"}, False)],
)
def test_what_is_known_of_others(me: Owner, changes: dict[str, str], dead: bool) -> None:
    assert msgspec.structs.replace(me, pid=2**22 + 1, **changes).dead(me) is dead


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"machine":"abcdef","boot":"1700000000","pid":1,"started":"1700000001.25"}', "\udcff"]
)
def test_a_mark_of_another_form_names_nobody(text: str) -> None:
    assert owner_in(text) is None
