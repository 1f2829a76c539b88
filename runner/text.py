"""Makes outside text harmless where it is shown: what a guest, an engine, a record or a TOML file says is data."""

import re
import unicodedata

TERMINAL_COMMAND = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?)")

# What GitHub's Markdown gives a meaning wherever it stands.
ACTIVE = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;"} | {character: f"\\{character}" for character in "\\`*~[]|$"}
)

# What has a meaning in some places only, and how it is written there.
ACTIVE_IN_PLACES = (
    (re.compile(r"(?<![^\W_])_|_(?![^\W_])"), r"\\_"),  # emphasis, but for a _ within a word
    (re.compile(r"^(\d*)([-+=#.)])"), r"\1\\\2"),  # a list, a heading or a rule, at the start of a line
    (re.compile(r"(?<=/)/"), r"\\/"),  # links without brackets, by their scheme
    (re.compile(r"(www)\.", re.IGNORECASE), r"\1\\."),  # the same without a scheme
    (re.compile("@"), "@&#8288;"),  # addresses of mail: only a character in between, an unseen one, stops GitHub
)


def one_line(text: str, limit: int = 300) -> str:
    """Return the text as one line of printable characters, as much of it as a person reads."""
    printable = "".join(character if character.isprintable() else " " for character in text[: 10 * limit])
    words = " ".join(printable.split())
    return words if len(words) <= limit else words[: limit - 1] + "…"


def in_one_line(error: BaseException) -> str:
    """Return an exception as one line: its kind and the first words of its text."""
    return f"{type(error).__name__}: {one_line(str(error)) or 'no message'}"


def for_terminal(text: str) -> str:
    """Return the text as one line that moves no cursor, changes no colour and turns no direction of writing."""
    spaced = re.sub(r"\s", " ", TERMINAL_COMMAND.sub("", text))
    return "".join(character for character in spaced if not unicodedata.category(character).startswith("C"))


def for_markdown(text: str) -> str:
    """Return the text for one line or one table cell of Markdown, where it reads as it is: no markup, HTML or link."""
    text = " ".join(for_terminal(text).split()).translate(ACTIVE)
    for active, written in ACTIVE_IN_PLACES:
        text = active.sub(written, text)
    return text
