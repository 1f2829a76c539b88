"""How much memory this process took at most while something ran."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def memory_growth() -> Iterator[Callable[[], int]]:
    """Yield what says, in bytes, by how much resident memory rose at its peak since the start."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins again
    before = peak_bytes()
    yield lambda: peak_bytes() - before


def peak_bytes() -> int:
    (line,) = (one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
