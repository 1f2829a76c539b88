"""Puts generated tables between markers in a README, and says whether they are current."""

import re
from pathlib import Path

from runner.errors import Mistake

BEGIN, END = "<!-- matrix:{} -->", "<!-- /matrix:{} -->"
BLOCK = re.compile(
    r"^<!-- matrix:(?P<name>[\w.-]+) -->$\n(?P<body>.*?)^<!-- /matrix:(?P=name) -->$", re.DOTALL | re.MULTILINE
)


def published(text: str, blocks: dict[str, str], shown: str) -> str:
    """The text with the body of every marked block replaced by the block of that name.

    Raises:
        Mistake: where there is no marker, or one that names no block.
    """
    names = [match["name"] for match in BLOCK.finditer(text)]
    if not names:
        example = BEGIN.format(next(iter(blocks), "vgg16"))
        raise Mistake(
            f"{shown} has no place for a table; write {example} and {example.replace('<!-- ', '<!-- /')} on two lines of it"
        )
    unknown = [name for name in names if name not in blocks]
    if unknown:
        offered = ", ".join(blocks) or "none yet: run the matrix first"
        raise Mistake(f"{shown} asks for the table {unknown[0]!r}, which has no records; there are: {offered}")
    return BLOCK.sub(
        lambda match: f"{BEGIN.format(match['name'])}\n{blocks[match['name']]}\n{END.format(match['name'])}", text
    )


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise Mistake(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise Mistake(f"cannot read {path}: it is not in UTF-8 ({error.reason} at byte {error.start})") from None
