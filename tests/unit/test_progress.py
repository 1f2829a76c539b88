"""What a person sees on a terminal while a matrix runs."""

import io

from rich.console import Console

from runner.events import Event
from runner.progress import Live, Plan

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
