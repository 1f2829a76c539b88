"""What a person did wrong, and what cannot be done here: the only exceptions that reach the command line."""

import difflib
from collections.abc import Iterable


class Stop(Exception):
    """Ends the program with one line and an exit code; caught in `cli` alone."""

    exit_code = 1


class Mistake(Stop):
    """A person's mistake; the text says what, where, and the next step."""

    exit_code = 2


class UnsupportedHere(Stop):
    """Nothing is wrong, but this machine or this release cannot do it; the text says why and what can."""

    exit_code = 3


class CellFailed(Stop):
    """A cell ran and did not end well; the text names its fate and where the log lies."""

    exit_code = 4


def nearest(word: str, words: Iterable[str]) -> str:
    """`; perhaps 'x'?` for the word most like the given one, or nothing when none is alike."""
    found = difflib.get_close_matches(word[:100], list(words), n=1)
    return f"; perhaps {found[0]!r}?" if found else ""
