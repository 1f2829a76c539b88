"""What happens while a matrix runs, told to whoever shows it."""

from collections.abc import Callable
from typing import Literal

import msgspec

State = Literal["skipped", "waiting", "preparing", "prepared", "running", "done", "note"]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One change: of a job (`subject` is its cell, workload and suite) or of an environment (its release).

    A note changes nothing.
    """

    subject: str
    state: State
    detail: str = ""
    launch: int = 0
    ok: bool = True


Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """A listener for who does not want to hear."""
