"""What a person sees on a terminal while a matrix runs."""

import io

import pytest
from checkouts import ROOT
from rich.console import Console

from runner.drive import once
from runner.events import Event
from runner.expand import expand
from runner.jobs import subject_of
from runner.paths import Paths
from runner.progress import Lines, Live, Plan
from runner.reading import read_catalog

SUBJECTS = [f"cell-{n} small" for n in range(30)]


def test_a_terminal_shows_what_moves_and_what_ended_even_where_not_all_fits() -> None:
    screen = io.StringIO()
    plan = Plan(SUBJECTS, 30, {SUBJECTS[0]: 12.0})
    with Live(plan, Console(file=screen, force_terminal=True, width=100, height=12)) as live:
        live.tell(Event(subject="torch-2.13", state="preparing"))
        live.tell(Event(subject="torch-2.13", state="prepared", detail="no matching distribution", ok=False))
        live.tell(Event(subject=SUBJECTS[20], state="running", detail="starting", launch=1))
        live.tell(Event(subject=SUBJECTS[20], state="done", detail="3.0 ms a step", launch=1))
        live.tell(Event(subject=SUBJECTS[0], state="running", detail="starting", launch=1))
        live.live.refresh()
        shown = screen.getvalue()
    assert "torch-2.13: no matching distribution" in shown
    last = shown[shown.rindex("cell-0 small") - 20 :]
    assert "starting" in last
    assert "12 s" in last
    assert "cell-20 small" in last
    assert "3.0 ms a step" in last


def test_a_note_is_shown_and_its_row_stays_as_it_was() -> None:
    note = Event(subject=SUBJECTS[0], state="note", detail="[/a] writable root", launch=1)
    screen = io.StringIO()
    with Live(Plan(SUBJECTS, 1, {}), Console(file=screen, force_terminal=True, width=100, height=12)) as live:
        live.tell(Event(subject=SUBJECTS[0], state="running", detail="starting", launch=1))
        live.tell(note)
        assert live.rows[SUBJECTS[0]].state == "running"
    assert "cell-0 small: [/a] writable root" in screen.getvalue()
    lines: list[str] = []
    Lines(Plan(SUBJECTS, 1, {}), lines.append).tell(note)
    assert lines[0].endswith("cell-0 small #1: note: [/a] writable root")


SAID = [
    "Could not satisfy explicit device specification [/device:GPU:0]",
    "shape [batch, 3] and [/] [bold]not bold[/bold] [link=https://evil.example]a[/link]",
    ":warning: is no picture",
]
SEQUENCES = "a\x1b[2J\x1b]0;title\x07b\u202ec\rd\ne"


@pytest.mark.parametrize("said", SAID)
def test_a_reason_is_shown_as_it_is_whatever_stands_in_it(said: str) -> None:
    console = Console(record=True, force_terminal=True, width=400, file=io.StringIO())
    with Live(Plan(["cell small", said], 2, {}), console) as live:
        live.tell(Event(subject="tf-1.8", state="prepared", detail=f"not built: {said}", ok=False))
        live.tell(Event(subject="cell small", state="running", detail=said, launch=1))
        console.print(live.table())
        live.tell(Event(subject="cell small", state="done", detail=f"crashed: {said}", launch=1, ok=False))
        console.print(live.table())
    shown = console.export_text()
    assert f"tf-1.8: not built: {said}" in shown
    assert f"crashed: {said}" in shown
    assert shown.count(said) >= 5


def test_nothing_that_a_guest_says_moves_the_cursor_or_turns_the_text() -> None:
    screen = io.StringIO()
    console = Console(force_terminal=True, width=200, file=screen)
    with Live(Plan(["cell small"], 1, {}), console) as live:
        live.tell(Event(subject="tf-1.8", state="prepared", detail=SEQUENCES, ok=False))
        live.tell(Event(subject="cell small", state="done", detail=SEQUENCES, launch=1, ok=False))
    assert "tf-1.8: abc d e" in screen.getvalue()
    assert not any(sequence in screen.getvalue() for sequence in ("\x1b[2J", "title", "\u202e"))
    lines: list[str] = []
    with Lines(Plan(["cell small"], 1, {}), lines.append) as plain:
        plain.tell(Event(subject="tf-1.8", state="prepared", detail=SEQUENCES, ok=False))
        plain.tell(Event(subject="cell small", state="done", detail=SEQUENCES, launch=1, ok=False))
    assert [line.split(" ", 1)[1] for line in lines] == [
        "tf-1.8: prepared: abc d e",
        "cell small #1: abc d e (1 of 1 launches)",
    ]


def test_no_two_jobs_of_a_run_have_one_name() -> None:
    catalog = read_catalog(Paths(root=ROOT, cache=ROOT))
    jobs = expand(catalog, tuple(catalog.suites), (), "quick", "cpu")
    subjects = [subject_of(job) for job in jobs]
    assert len(set(subjects)) == len(subjects)
    assert len({subject_of(job) for job in once(jobs)}) == len(once(jobs))
    assert {"torch-1.0 cifar10-cnn", "torch-1.0 cifar10-cnn-pool-first (cifar10-cnn)"} <= set(subjects)
