"""What docs/findings.md quotes is what the committed tables say."""

import re

import pytest
from checkouts import ROOT

SECTIONS = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8").split("\n## ")[1:]
NUMBER = r"(\d+(?:\.\d+)?)"
QUOTED = re.compile(rf"{NUMBER} (ms|s|×|%)(?!\w)")
FIRST_OF_TWO = re.compile(rf"{NUMBER} (?:to|or|and) {NUMBER} %")  # as 47 in `47 to 52 %`
IN_MILLISECONDS = {"ms": 1.0, "s": 1000.0}


def quantity(number: str, unit: str) -> tuple[float, float, str]:
    """A number as text to its value, half of its last place, and its unit, times in milliseconds."""
    scale = IN_MILLISECONDS.get(unit, 1.0)
    decimals = len(number.partition(".")[2])
    return scale * float(number), scale * 0.5 * 10**-decimals, "ms" if unit in IN_MILLISECONDS else unit


def quantities(text: str) -> list[tuple[float, float, str]]:
    """The times, ratios and percentages of a text."""
    line = " ".join(text.split())
    firsts = [(first, "%") for first, _ in FIRST_OF_TWO.findall(line)]
    return [quantity(number, unit) for number, unit in QUOTED.findall(line) + firsts]


def pages_of(section: str) -> str:
    """The pages that a section links to, without the times that are struck out."""
    names = re.findall(r"\(\.\./reports/([\w-]+\.md)\)", section)
    pages = "\n".join((ROOT / "reports" / name).read_text(encoding="utf-8") for name in names)
    return re.sub("~~.*?~~", "", pages)


@pytest.mark.parametrize("section", [pytest.param(s, id=s.partition("\n")[0]) for s in SECTIONS])
def test_every_number_of_a_finding_stands_in_the_tables_that_it_links(section: str) -> None:
    tables = quantities(pages_of(section))
    assert tables
    missing = [
        (value, unit)
        for value, half, unit in quantities(section)
        if not any(u == unit and abs(value - v) <= half * (1 + 1e-9) for v, _, u in tables)
    ]
    assert missing == []


def test_a_finding_quotes_numbers_at_all() -> None:
    assert all(quantities(section) for section in SECTIONS)
