"""What a person sees on a terminal while a matrix runs."""

import io

from rich.console import Console

from runner.events import Event
from runner.progress import Lines, Live, Plan

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
