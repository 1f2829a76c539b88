"""Outside text shows as it is and does nothing: on a terminal, and on a page that GitHub renders."""

import html
import random
import re
from collections.abc import Callable

import cmarkgfm
import pytest
from markdown_it import MarkdownIt

from runner.text import for_markdown, for_terminal

HOSTILE = [
    "plain words, a 50 % share; conv2d_1.bias has norm 0",
    "a | b || c \\| d \\\\| e \\",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<!-- /matrix:small -->",
    "-->",
    "&lt;script&gt; &amp; &#60;b&#62; AT&T",
    "[click](javascript:alert(1))",
    "![seen](https://evil.example/pixel.png)",
    "[a]: https://evil.example",
    "[^1]",
    "<https://evil.example>",
    "<javascript:alert(1)>",
    "http://evil.example/a_b_c https://evil.example ftp://evil.example HTTPS://EVIL.EXAMPLE",
    "xhttp://evil.example (http://evil.example) *http://evil.example*",
    "http:///evil.example ///evil.example //evil.example",
    "www.evil.example WWW.evil.example (www.evil.example) _www.evil.example_",
    "mail someone@evil.example, mailto:someone@evil.example, xmpp:a.b-c+d@evil.example/x",
    "pip install git+https://user:word@evil.example/x.git",
    "`code` ``more ` code`` `",
    "**bold** *thin* __init__.py _thin_ a_b _ x_ _y snake_case_word",
    "~~gone~~ ~gone~ ~/log and ~/other",
    "$x^2$ and $$y$$",
    "# a heading",
    "- an item",
    "+ an item",
    "1. an item",
    "12) an item",
    "=====",
    "-----",
    "> a quotation",
    "| a | b |",
    "[/device:GPU:0] [batch, 3]",
    "<b>\\</b>",
    "\\<b>",
    "C:\\new\\table",
]
PIECES = [
    *"aB1 |\\`*_~[]()!<>&#-=$:/@'{}^+é中",
    "__",
    "&lt;",
    "1.",
    "http://",
    "www.",
    "x.com",
    "mailto:",
    "a@b.com",
    "<!--",
]
UNSEEN = "a\x00b\x1b[31mc\x07\x1b]0;title\x07d\u202ee\u200ff\u2066g\u200bh\x9bi\ufeffj\U000e0041k\ud800l"
LINES = "one\ntwo\r\nthree\tfour\x0bfive\x0csix\x85seven\u2028eight\u2029nine"

MARKDOWN_IT = MarkdownIt("gfm-like", {"linkify": True})
MARKDOWN_IT.linkify.set({"fuzzy_link": False})  # it takes main.py for an address in Paraguay; GitHub does not

RENDERERS = [cmarkgfm.github_flavored_markdown_to_html, MARKDOWN_IT.render]


def tags(rendered: str) -> list[str]:
    return re.findall(r"<[^>]*>", rendered)


def words(rendered: str) -> str:
    """What a reader sees."""
    seen = html.unescape(re.sub(r"<[^>]*>", "", rendered)).replace("\u2060", "")
    return " ".join(seen.split())


@pytest.mark.parametrize("render", RENDERERS, ids=["github", "markdown-it"])
@pytest.mark.parametrize("text", HOSTILE)
def test_outside_text_is_words_in_a_paragraph_and_in_a_table(render: Callable[[str], str], text: str) -> None:
    safe = for_markdown(text)
    rendered = render(safe)
    assert tags(rendered) == ["<p>", "</p>"]
    assert words(rendered) == " ".join(text.split())

    table = "| x | y |\n| :-- | --: |\n| {} | end |\n"
    rendered = render(table.format(safe))
    assert tags(rendered) == tags(render(table.format("words")))
    assert words(rendered) == " ".join(f"x y {text} end".split())


@pytest.mark.parametrize("render", RENDERERS, ids=["github", "markdown-it"])
def test_no_mixture_of_active_characters_is_more_than_words(render: Callable[[str], str]) -> None:
    draw = random.Random(1)
    for _ in range(2000):
        text = "x" + "".join(draw.choices(PIECES, k=8))
        rendered = render(for_markdown(text))
        assert (tags(rendered), words(rendered)) == (["<p>", "</p>"], " ".join(text.split())), text


def test_a_marker_of_our_own_in_outside_text_is_none() -> None:
    assert "<!--" not in for_markdown("<!-- /matrix:small -->")


@pytest.mark.parametrize("shown", [for_terminal, for_markdown])
def test_what_cannot_be_seen_is_dropped_and_lines_become_one(shown: Callable[[str], str]) -> None:
    assert shown(UNSEEN) == "abcdefghijkl"
    assert shown(LINES).split() == ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    assert len(shown(LINES).splitlines()) == 1


def test_a_terminal_keeps_columns_and_marks() -> None:
    assert for_terminal("cell   ✓ 3e-05 [/device:GPU:0] é 中") == "cell   ✓ 3e-05 [/device:GPU:0] é 中"
