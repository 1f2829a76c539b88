"""Real processes: what we start is gone when we say so, grandchildren too, and is read in bounded memory."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from memory import memory_growth

from runner import processes
from runner.engines import Launch
from runner.engines.local import run_guest
from runner.protocol import GuestEvent, SampleEvent, StateEvent

ENV = {"PATH": "/usr/bin:/bin"}
FAMILY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def watched(code: str, folder: Path, **options: Any) -> tuple[processes.Ended, list[str], str]:
    """How a few lines of Python ended, what they printed, and their log."""
    lines: list[str] = []
    options = {"env": ENV, "timeout": 60, "on_line": lines.append} | options
    ended = processes.watch([sys.executable, "-c", code], log=folder / "log", **options)
    return ended, lines, (folder / "log").read_text(errors="replace")


def test_a_timeout_ends_the_whole_group_even_one_that_ignores_being_asked(tmp_path: Path) -> None:
    start = time.monotonic()
    ended, lines, _ = watched(FAMILY, tmp_path, timeout=3)
    assert ended.timed_out
    assert time.monotonic() - start < 3 + 3
    assert gone(int(lines[0]))


def test_what_a_process_leaves_running_is_ended_with_it(tmp_path: Path) -> None:
    ended, lines, _ = watched(FAMILY.rsplit("time.sleep", 1)[0], tmp_path)
    assert (ended.code, ended.timed_out) == (0, False)
    assert gone(int(lines[0]))


def test_what_leaves_the_group_is_ended_too(tmp_path: Path) -> None:
    code = FAMILY.rsplit("time.sleep", 1)[0].replace('time.sleep(600)"]', 'time.sleep(600)"], start_new_session=True')
    assert "start_new_session" in code
    _, lines, _ = watched(code, tmp_path)
    assert gone(int(lines[0]))


def test_a_killed_process_says_by_which_signal(tmp_path: Path) -> None:
    assert watched("import os; os.kill(os.getpid(), 6)", tmp_path)[0].code == -6


def test_stderr_and_the_command_are_in_the_log_and_stdout_comes_line_by_line(tmp_path: Path) -> None:
    _, lines, log = watched("import sys; print('a'); print('b'); sys.stderr.write('c\\n')", tmp_path)
    assert lines == ["a\n", "b\n"]
    assert log.startswith("+ ")
    assert log.endswith("c\n")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import sys; sys.exit('ERROR: no matching distribution')", "ERROR: no matching distribution"),
        ("import sys; sys.exit('ERROR: \\x1b[31mred\\x1b[0m\\x07')", r"^ERROR: \[31mred \[0m$"),
        ("import time; time.sleep(60)", "took longer than 3 s"),
    ],
)
def test_a_command_that_fails_says_its_most_telling_line(tmp_path: Path, code: str, said: str) -> None:
    with pytest.raises(processes.ProcessFailed, match=said):
        processes.run([sys.executable, "-c", code], env=ENV, timeout=3, log=tmp_path / "log")
    with pytest.raises(processes.ProcessFailed, match="No such file"):
        processes.run(["/no/such/program"], env=ENV, timeout=1)


def test_a_log_that_cannot_be_written_does_not_hide_how_a_command_ended(tmp_path: Path) -> None:
    said = processes.run([sys.executable, "-c", "print('well')"], env=ENV, timeout=60, log=tmp_path / "none" / "log")
    assert said == "well\n"


@pytest.mark.parametrize("env", [ENV, ENV | {"LC_CTYPE": "en_US.UTF-8"}, ENV | {"LC_ALL": "POSIX", "X": "a\nb"}])
def test_a_process_gets_the_environment_that_it_is_given_and_our_mark_alone(env: dict[str, str]) -> None:
    code = "import json, os; print(json.dumps([v.decode() for v in open('/proc/self/environ', 'rb').read().split(b'\\0')]))"
    found = json.loads(processes.run([sys.executable, "-I", "-c", code], env=env, timeout=60))
    mark = "MATRIX_RUNNER_OWNER="
    assert sorted(v for v in found if v and not v.startswith(mark)) == sorted(f"{k}={v}" for k, v in env.items())
    assert sum(v.startswith(mark) for v in found) == 1


STREAMS = """
import sys
print("first", flush=True)
for stream in (sys.stdout, sys.stderr):
    for _ in range(150):
        stream.write("x" * 2**20)
sys.stderr.write("\\nthe end of the log")
print()
print("last")
"""


def test_a_line_without_an_end_and_a_log_of_many_megabytes_take_no_memory(tmp_path: Path) -> None:
    with memory_growth() as grown:
        ended, lines, log = watched(STREAMS, tmp_path)
    assert grown() < 20 * 2**20
    assert ended.code == 0
    assert (lines[0], lines[-1]) == ("first\n", "last\n")
    assert max(map(len, lines)) <= 2**16 + 1
    assert len(log) < 2**20
    assert log.startswith("+ ")
    assert "bytes left out" in log
    assert log.endswith("the end of the log")


def test_a_command_that_prints_many_megabytes_takes_no_memory(tmp_path: Path) -> None:
    with memory_growth() as grown:
        out = processes.run([sys.executable, "-c", STREAMS], env=ENV, timeout=60, log=tmp_path / "log")
    assert grown() < 60 * 2**20
    assert out.startswith("first\nxxx")
    assert len(out) <= 2**24
    assert (tmp_path / "log").stat().st_size < 2**21


def test_a_listener_that_fails_stops_nobody_and_is_in_the_log(tmp_path: Path) -> None:
    def fail(line: str) -> None:
        raise ValueError(f"markup {line!r}")

    code = "import sys\nfor i in range(2000): print('x' * 1000)\nsys.stderr.write('done\\n')"
    ended, _, log = watched(code, tmp_path, on_line=fail)
    assert ended.code == 0  # no broken pipe
    assert "Traceback" in log
    assert "ValueError: markup" in log
    assert "done\n" in log


MALFORMED = [
    '{"event": "sample", "steps": 0, "seconds": 1.0}',
    '{"event": "sample", "steps": -3, "seconds": 1.0}',
    '{"event": "sample", "steps": "many", "seconds": 1.0}',
    '{"event": "sample", "steps": [1], "seconds": 1.0}',
    '{"event": "sample", "steps": 1' + 5000 * "0" + ', "seconds": 1.0}',
    '{"event": "sample", "steps": 1}',
    '{"event": "sample", "steps": 1, "seconds": NaN}',
    '{"event": "sample", "steps": 1, "seconds": 1e999}',
    '{"event": "sample", "steps": 1, "seconds": -1.0}',
    '{"event": "sample", "steps": 1, "seconds": null}',
    '{"event": "state", "state": ["a", "list"]}',
    '{"event": "state", "state": "\\u001b[2J"}',
    '{"event": "state"}',
    '{"event": {}}',
    "[" * 30_000,
    "[]",
    "not json",
    "",
]


def test_a_malformed_event_is_dropped_and_the_guest_is_read_to_its_end(tmp_path: Path) -> None:
    guest, job = tmp_path / "guest", tmp_path / "job"
    guest.mkdir()
    job.mkdir()
    good = '{"event": "sample", "steps": 2, "seconds": 0.5, "more": 1}', '{"event": "state", "state": "warm_up"}'
    lines = [*MALFORMED, good[0], *MALFORMED, good[1], *(100 * MALFORMED)]
    (guest / "__main__.py").write_text(
        f"import sys\nfor line in {lines!r}: print(line)\nsys.stdout.buffer.write(b'\\xff\\n')"
    )
    events: list[GuestEvent] = []
    ended = run_guest(
        sys.executable,
        guest,
        Launch(folder=job, log=tmp_path / "log", environment={}, threads=1, timeout_seconds=60, on_event=events.append),
        dict(os.environ),
    )
    assert ended.code == 0
    assert events == [SampleEvent(steps=2, seconds=0.5), StateEvent(state="warm_up")]
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_a_guest_dies_with_a_runner_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom runner import processes\n"
        f"processes.watch([sys.executable, '-c', 'import os, time; print(os.getpid(), flush=True); time.sleep(600)'], env={ENV!r}, "
        f"timeout=600, log=Path({str(tmp_path / 'log')!r}), on_line=lambda line: print(line, flush=True))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as runner:
        assert runner.stdout
        guest = int(runner.stdout.readline())
        assert not gone(guest)
        runner.kill()
    end = time.monotonic() + 5
    while not gone(guest):
        assert time.monotonic() < end, "the guest outlived its runner"
        time.sleep(0.05)
