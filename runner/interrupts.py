"""Signals that end a run: which they are, and the lines between which none may land."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def interrupt_on_signals() -> None:
    """Let each signal that ends a run raise KeyboardInterrupt; one that this process was started to ignore stays ignored."""
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)


def interrupt(_number: int, _frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, once: a second signal would break off the clean-up that the first one started."""
    for other in ENDING:
        signal.signal(other, pass_over)
    raise KeyboardInterrupt


def pass_over(_number: int, _frame: FrameType | None) -> None:
    """Do nothing. A function, since Python complains of a signal that comes while its handler becomes SIG_IGN."""


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Hold back signals that end a run until these lines are done; then the first of them takes effect.

    A mask of the thread would not do: the kernel hands the signal to another thread, and Python runs the handler here
    all the same. Threads other than the main one are never interrupted, so there this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {}
    try:
        for number in ENDING:
            before[number] = signal.getsignal(number)
            signal.signal(number, lambda came_now, _: came.append(came_now))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])
