"""Shows what happens: a live table on a terminal, one line an event elsewhere."""

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Protocol

from runner.events import Event
from runner.text import for_terminal


class Progress(AbstractContextManager["Progress"], Protocol):
    """Is told every event between enter and exit."""

    def tell(self, event: Event) -> None: ...


class Plan:
    """What is to be done and what each part took before, for the estimate of what is left."""

    def __init__(self, subjects: Sequence[str], launches: int, expected_seconds: Mapping[str, float]) -> None:
        self.subjects = list(subjects)
        self.launches = launches
        self.done = 0
        self.expected = dict(expected_seconds)
        self.measured: dict[str, float] = {}
        self.started = time.monotonic()

    def finish(self, subject: str, seconds: float) -> None:
        self.done += 1
        self.measured[subject] = seconds

    def seconds_for(self, subject: str) -> float | None:
        """What a launch of this job takes: as just measured, as recorded before, or as the others do."""
        known = self.measured | {k: v for k, v in self.expected.items() if k not in self.measured}
        if subject in known:
            return known[subject]
        return sum(known.values()) / len(known) if known else None

    def left(self) -> str:
        """Launches done of all, and the time that the rest should take."""
        per_launch = [self.seconds_for(s) for s in self.subjects]
        counted = [s for s in per_launch if s is not None]
        if not counted or self.launches == self.done:
            return f"{self.done} of {self.launches} launches"
        seconds = (self.launches - self.done) * sum(counted) / len(counted)
        return f"{self.done} of {self.launches} launches, about {minutes(seconds)} left"


def minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


class Lines:
    """One line an event, for logs and pipes."""

    def __init__(self, plan: Plan, echo: Any) -> None:
        self.plan = plan
        self.echo = echo
        self.since: dict[str, float] = {}

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *exc: object) -> None: ...

    def tell(self, event: Event) -> None:
        if event.state == "running" and event.detail == "starting":
            self.since[event.subject] = time.monotonic()
        if event.state == "done":
            now = time.monotonic()
            self.plan.finish(event.subject, now - self.since.get(event.subject, now))
            self.say(event, f"{event.detail} ({self.plan.left()})")
        elif event.state != "running" or event.detail == "starting":
            self.say(event, f"{event.state}{': ' if event.detail else ''}{event.detail}")

    def say(self, event: Event, words: str) -> None:
        what = event.subject + (f" #{event.launch}" if event.launch else "")
        self.echo(for_terminal(f"{time.strftime('%H:%M:%S')} {what}: {words}"))


class Live:
    """A table on the terminal: every job with its state, step, time and expected time."""

    MARKS: ClassVar = {True: ("✓", "green"), False: ("✗", "red")}

    def __init__(self, plan: Plan, console: Any) -> None:
        from rich.live import Live as RichLive

        self.plan, self.console = plan, console
        self.rows: dict[str, Event] = {subject: Event(subject=subject, state="waiting") for subject in plan.subjects}
        self.since: dict[str, float] = {}
        self.took: dict[str, float] = {}
        # Once a second is enough for a person and next to nothing for the measured process beside it.
        self.live = RichLive(get_renderable=self.table, console=console, refresh_per_second=1)

    def __enter__(self) -> "Live":
        self.live.__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        self.live.__exit__(*exc)

    def say(self, event: Event) -> None:
        """Print an event above the table, where it stays."""
        from rich.text import Text

        self.console.print(Text(for_terminal(f"{event.subject}: {event.detail}")))

    def tell(self, event: Event) -> None:
        if event.state == "note":
            self.say(event)
            return
        self.rows[event.subject] = event
        if event.detail == "starting" or event.state == "preparing":
            self.since[event.subject] = time.monotonic()
        if event.state in ("done", "prepared"):
            now = time.monotonic()
            self.took[event.subject] = now - self.since.get(event.subject, now)
            if event.state == "done":
                self.plan.finish(event.subject, self.took[event.subject])
            else:
                del self.rows[event.subject]
                if not event.ok:
                    self.say(event)

    def table(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        table = Table(title=Text(self.plan.left()), title_justify="left", box=None)
        for heading in ("", "cell", "launch", "state", "elapsed", "expected"):
            table.add_column(heading, justify="right" if heading in ("launch", "elapsed", "expected") else "left")
        for event in self.visible():
            table.add_row(*self.row(event))
        return table

    def visible(self) -> list[Event]:
        """All rows where they fit, else those that are moving and the last that ended."""
        rows = list(self.rows.values())
        room = max(5, self.console.size.height - 4)
        if len(rows) <= room:
            return rows
        order = {"running": 0, "preparing": 0, "done": 1, "waiting": 2, "prepared": 3, "skipped": 3}
        return sorted(rows, key=lambda event: order[event.state])[:room]

    def row(self, event: Event) -> tuple[Any, ...]:
        """Return the cells of a row. What an event says is text and no markup, whatever stands in it."""
        from rich.text import Text

        running = event.state in ("running", "preparing")
        elapsed = (
            time.monotonic() - self.since[event.subject]
            if running and event.subject in self.since
            else self.took.get(event.subject)
        )
        expected = self.plan.seconds_for(event.subject)
        return (
            Text(*self.MARKS[event.ok]) if event.state == "done" else "…" if running else "",
            Text(for_terminal(event.subject)),
            str(event.launch or ""),
            Text(for_terminal(event.detail if event.state in ("running", "done") and event.detail else event.state)),
            f"{elapsed:.0f} s" if elapsed is not None else "",
            f"{expected:.0f} s" if expected is not None and event.state != "preparing" else "",
        )
