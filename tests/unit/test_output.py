"""What others print is kept in bounded memory, and what of it reaches a person is one printable line."""

import random

import pytest

from runner.engines.containers import remedy_for
from runner.output import Excerpt, Splitter
from runner.processes import telling_line
from runner.text import one_line


@pytest.mark.parametrize("seed", range(20))
def test_lines_are_the_same_however_they_come(seed: int) -> None:
    chance = random.Random(seed)
    data = bytes(chance.choice(b"ab\n") for _ in range(500))
    splitter, lines, rest = Splitter(limit=8), [], data
    while rest:
        size = chance.randint(1, 20)
        lines += splitter.feed(rest[:size])
        rest = rest[size:]
    lines += splitter.rest()
    *whole, last = data.split(b"\n")
    assert lines == [line[:8] + b"\n" for line in whole] + ([last[:8]] if last else [])


def test_a_short_log_is_kept_whole_and_of_a_long_one_the_two_ends() -> None:
    short, long = Excerpt(head=10, tail=5), Excerpt(head=10, tail=5)
    for letter in "abcdefghijklmno":
        short.write(letter.encode())
    assert short.text == "abcdefghijklmno"
    for number in range(1000):
        long.write(f"{number:04}".encode())
    assert long.text == "0000000100\n... 3985 bytes left out ...\n80999"


HOSTILE = "first\nerror: \x1b]0;title\x07\x1b[31mred\u202e\u2066\r\x00\x85\u2028last\t" + 10_000 * "x"


@pytest.mark.parametrize("text", [one_line(HOSTILE), telling_line(HOSTILE), remedy_for(HOSTILE)])
def test_what_reaches_a_person_is_one_printable_line(text: str) -> None:
    assert text.isprintable()
    assert 3 < len(text) <= 300


def test_an_error_of_the_engine_is_known_across_lines() -> None:
    assert "system df" in remedy_for(5_000 * "x" + "\nno space\n  left on device")
