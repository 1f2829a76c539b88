"""Reads TOML into typed data; a wrong key or type is one line that names file, table and key."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from runner.errors import Mistake, nearest

Kind = TypeVar("Kind")


def read_toml(path: Path, kind: type[Kind], shown: str) -> Kind:
    """The file as `kind`.

    Raises:
        Mistake: where the file can't be read, is not TOML, or does not fit `kind`.
    """
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), kind)
    except OSError as error:
        raise Mistake(f"{shown}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Mistake(f"{shown}: not valid TOML: {error}") from None
    except msgspec.ValidationError as error:
        raise Mistake(f"{shown}: {explained(str(error), kind)}") from None


def explained(message: str, kind: type) -> str:
    """msgspec's message with the place in front and the nearest key behind."""
    text, _, place = message.partition(" - at ")
    where = place.strip("`").removeprefix("$").lstrip(".")
    unknown = re.search(r"unknown field `([^`]+)`", text)
    if unknown:
        key = unknown.group(1)
        text = f"unknown key {key!r}{nearest(key, field_names(kind))}"
    return f"{where}: {text}" if where else text


def field_names(kind: type) -> set[str]:
    """Every field of every Struct that `kind` is made of."""
    return set(_field_names(msgspec.inspect.type_info(kind), set()))


def _field_names(info: Any, seen: set[int]) -> Iterator[str]:
    if isinstance(info, msgspec.inspect.StructType):
        if id(info.cls) in seen:
            return
        seen.add(id(info.cls))
        for field in info.fields:
            yield field.encode_name
            yield from _field_names(field.type, seen)
    for part in ("item_type", "value_type", "types", "item_types"):
        inner = getattr(info, part, None) or ()
        for one in inner if isinstance(inner, tuple) else (inner,):
            yield from _field_names(one, seen)
