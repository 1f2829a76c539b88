"""Reads TOML into typed data; a wrong key or type is one line that names file, table and key."""

import re
import tomllib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from runner.errors import Mistake, nearest
from runner.fields import FILE_BYTES, in_words
from runner.text import one_line

Kind = TypeVar("Kind")
MESSAGE_LENGTH = 300
KEYS_TRIED = 500
# A key of so many parts, for which tomllib takes time by the square of their number.
DEEP_KEY = re.compile(r"""(?<![\w-])(?:(?:"[^"\n]*"|'[^'\n]*'|[\w-]++)[ \t]*\.[ \t]*){32}""")


def read_toml(path: Path, kind: type[Kind], shown: str) -> Kind:
    """The file as `kind`.

    Raises:
        Mistake: where the file can't be read, is not TOML, or does not fit `kind`.
    """
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES + 1)
    except OSError as error:
        raise Mistake(f"{shown}: {error.strerror or error}") from None
    if len(content) > FILE_BYTES:
        raise Mistake(f"{shown}: larger than {FILE_BYTES} bytes; split it")
    try:
        text = content.decode()
        if DEEP_KEY.search(text):
            raise Mistake(f"{shown}: a key of more than 32 parts; no file has such")
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # of tomllib, of a text that is not UTF-8, of a number without end
        raise Mistake(f"{shown}: not valid TOML: {one_line(str(error))}") from None
    said = complaint(table, kind)
    if said:
        raise Mistake(f"{shown}: {one_line(explained(with_key(said, table, kind), kind))}")
    return msgspec.convert(table, kind)


def complaint(table: dict[str, Any], kind: type) -> str:
    """What msgspec says where the table does not fit `kind`, or nothing."""
    try:
        msgspec.convert(table, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        return str(error) or type(error).__name__
    return ""


def with_key(said: str, table: dict[str, Any], kind: type) -> str:
    """The message with the key that msgspec writes as `[...]`, in a table of the file: the one that fails alone."""
    found = re.search(r"\$\.(\w+)\[\.\.\.\]", said)
    inner = table.get(found.group(1)) if found else None
    if found and isinstance(inner, dict):
        for key in islice(inner, KEYS_TRIED):
            if complaint(table | {found.group(1): {key: inner[key]}}, kind) == said:
                return said.replace(found.group(), f"$.{found.group(1)}.{key}", 1)
    return said


def explained(message: str, kind: type) -> str:
    """msgspec's message with the place in front and the nearest key behind."""
    text, _, place = message.rpartition(" - at ") if " - at " in message else (message, "", "")
    where = place.replace("`key` in ", "a key of ").replace("`", "").replace("$.", "").removeprefix("$")
    unknown = re.search(r"unknown field `(.+)`", text, re.DOTALL)
    if unknown:
        key = unknown.group(1)[:MESSAGE_LENGTH]
        text = f"unknown key {key!r}{nearest(key, field_names(kind))}"
    return f"{where}: {in_words(text)}" if where else in_words(text)


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
