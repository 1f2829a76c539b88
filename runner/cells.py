"""A cell: one release with a choice for each of its options. Its id is made here and looked up, never parsed back."""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

import msgspec

from runner.fields import Items, Line, OneOrMore, Text, Variable, text

Device = Literal["cpu", "gpu"]
NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")

# A part of a path, of a cell's id or of an image's tag.
NAME_IN_WORDS = "a name of small letters, digits, '.', '_' and '-'"
Name = Annotated[str, text(NAME.pattern, NAME_IN_WORDS)]
NameOrNone = Annotated[str, text(NAME.pattern, NAME_IN_WORDS, empty=True)]


class OptionValue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One choice: what the adapter is told, what it adds to a cell's id, and how a table names it."""

    value: Name
    suffix: NameOrNone = ""
    label: Line = ""
    environment: Annotated[dict[Variable, Line], Items] = {}  # variables that the framework reads before its import
    averages: bool = True  # whether batch norm keeps moving averages with it


class Option(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A named choice that a framework offers; the first value is the default, and where it is no choice, the only one."""

    about: Text
    values: Annotated[tuple[OptionValue, ...], OneOrMore]
    devices: Annotated[tuple[Device, ...], OneOrMore] = ("cpu", "gpu")  # where it is a choice

    @property
    def default(self) -> OptionValue:
        return self.values[0]

    def choice(self, value: str) -> OptionValue | None:
        return next((v for v in self.values if v.value == value), None)


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """release x options, under its id."""

    id: str
    release: str
    options: dict[str, str]


def cell_of(release: str, options: Mapping[str, Option], chosen: Mapping[str, str]) -> Cell:
    """The cell of a release with these choices and the defaults for the rest; `options` gives the order of suffixes."""
    values = {name: option.choice(chosen.get(name, option.default.value)) for name, option in options.items()}
    missing = [name for name, value in values.items() if value is None]
    if missing:
        raise KeyError(missing[0])
    suffixes: Iterable[str] = (value.suffix for value in values.values() if value and value.suffix)
    return Cell(
        id="-".join([release, *suffixes]),
        release=release,
        options={name: value.value for name, value in values.items() if value},
    )
