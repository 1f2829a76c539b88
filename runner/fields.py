"""Types for fields of files that people write: each says what a value may be, so that reading refuses all else."""

import re
from typing import Annotated

import msgspec

FILE_BYTES = 100_000  # of one TOML file: the largest of ours has an eighth of it
LINE_LENGTH = 600
TEXT_LENGTH = 5000
ITEMS = 200  # of one list or table
NAME_LENGTH = 80

# Control characters, line separators and marks that turn the direction of writing.
_UNSEEN = r"\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069"


def text(pattern: str, words: str, length: int = NAME_LENGTH, *, empty: bool = False) -> msgspec.Meta:
    """What a whole text must match; the words for it stand in the pattern as its comment, for messages."""
    return msgspec.Meta(pattern=rf"\A(?:{pattern}){'?' if empty else ''}\Z(?#{words})", max_length=length)


def in_words(message: str) -> str:
    """msgspec's message, where it names the pattern that a text must match, with the words for that pattern."""
    return re.sub(r"`str` matching regex .*\(\?#(.*?)\)['\"]", r"\1", message)


# Texts for people.
Line = Annotated[str, text(rf"[^\n{_UNSEEN}]*", "one line of text without control characters", LINE_LENGTH)]
Text = Annotated[str, text(rf"[^{_UNSEEN}]*", "text without control characters", TEXT_LENGTH)]

# Parts of names.
Glob = Annotated[str, text(r"[A-Za-z0-9._*?\[\]!-]+", "a glob of letters, digits, '.', '_', '-', '*', '?' and '[…]'")]
Identifier = Annotated[str, text(r"[a-z_][a-z0-9_]*", "a word of small letters, digits and '_'")]
Module = Annotated[str, text(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*", "a module's name")]

# Versions and dates.
Version = Annotated[str, text(r"[0-9][0-9A-Za-z.+_-]*", "a version", 40)]
Numbers = Annotated[str, text(r"[0-9]{1,4}(?:\.[0-9]{1,4}){0,3}", "a version of numbers, as 9.0", 40)]
NumbersOrAny = Annotated[
    str, text(r"[0-9]{1,4}(?:\.[0-9]{1,4}){0,3}(?:\.\*)?", "a version of numbers, as 9.0 or 11.*", 40)
]
PythonOrNone = Annotated[str, text(r"[23]\.[0-9]{1,2}", "a version of Python, as 3.8", 40, empty=True)]
JuliaOrNone = Annotated[str, text(r"1\.[0-9]{1,2}", "a version of Julia, as 1.8", 40, empty=True)]
_DATE = r"(?:19|20)[0-9]{2}(?:-(?:0[1-9]|1[0-2])(?:-(?:0[1-9]|[12][0-9]|3[01]))?)?"
Date = Annotated[str, text(_DATE, "a date, as 2017-11 or 2017-11-24")]
DateOrNone = Annotated[str, text(_DATE, "a date, as 2017-11 or 2017-11-24", empty=True)]

# What is installed. A requirement names one version; Julia's separates it with @.
Requirement = Annotated[
    str,
    text(
        r"[A-Za-z0-9][A-Za-z0-9._-]*(?:\[[A-Za-z0-9,._-]+\])?(?:==|@)[A-Za-z0-9][A-Za-z0-9.+!_-]*",
        "a package with one version, as numpy==1.19.5",
        LINE_LENGTH,
    ),
]
AptPackage = Annotated[str, text(r"[a-z0-9][a-z0-9+.-]+", "the name of a Debian package")]
CondaSpec = Annotated[
    str,
    text(r"(?:[a-z0-9][a-z0-9/_-]*::)?[a-z0-9_][a-z0-9._-]*(?:=[A-Za-z0-9._*]+){0,2}", "a package as conda names it"),
]
CondaChannel = Annotated[
    str, text(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9][A-Za-z0-9._-]*)*", "a channel of conda's")
]
Program = Annotated[str, text(r"[A-Za-z0-9][A-Za-z0-9._+-]*", "a program's name")]
Variable = Annotated[str, text(r"[A-Za-z_][A-Za-z0-9_]*", "the name of an environment variable")]
_PART = r"(?!\.\.?(?:/|\Z))[A-Za-z0-9._+-]+"
InnerPath = Annotated[str, text(rf"{_PART}(?:/{_PART})*", "a path below a folder, without '..'", 200)]
OuterPath = Annotated[str, text(rf"(?:/{_PART})+", "an absolute path, without '..'", 200)]
ImageName = Annotated[str, text(r"[a-z0-9][A-Za-z0-9._/:-]*", "the name of an image", 200)]
Digest = Annotated[str, text(r"sha256:[0-9a-f]{64}", "a digest, as sha256:…")]

# Numbers: never NaN, never infinite. Whoever needs more than these bounds has made a slip of the key.
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=1e6)]
SecondsOrNone = Annotated[float, msgspec.Meta(ge=0, le=1e6)]
Batch = Annotated[int, msgspec.Meta(ge=1, le=100_000)]
Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
CountOrNone = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
Few = Annotated[int, msgspec.Meta(ge=1, le=100)]
Seed = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]

Items = msgspec.Meta(max_length=ITEMS)
OneOrMore = msgspec.Meta(min_length=1, max_length=ITEMS)
