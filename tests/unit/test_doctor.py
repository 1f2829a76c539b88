"""Doctor goes on where one of its checks does not."""

import threading
from collections.abc import Iterator

from runner.doctor import Check, Finding, bounded


def test_a_check_without_an_answer_is_a_finding_after_what_it_found() -> None:
    never = threading.Event()

    def look() -> Iterator[Finding]:
        yield Finding(subject="disk", fine=True, text="there")
        never.wait()

    found = list(bounded(Check(subject="machine", look=look), seconds=0.2))
    never.set()
    assert [(f.subject, f.fine) for f in found] == [("disk", True), ("machine", False)]
    assert found[1].text.startswith("no answer within")


def test_what_a_check_finds_is_shown_at_once() -> None:
    seen = threading.Event()

    def look() -> Iterator[Finding]:
        yield Finding(subject="first", fine=True, text="")
        assert seen.wait(10)
        yield Finding(subject="second", fine=True, text="")

    found = bounded(Check(subject="machine", look=look), seconds=10)
    assert next(found).subject == "first"
    seen.set()
    assert [f.subject for f in found] == ["second"]


def test_a_check_that_fails_is_a_finding() -> None:
    def look() -> Iterator[Finding]:
        raise OSError("no such file")
        yield

    (found,) = bounded(Check(subject="disk", look=look))
    assert (found.subject, found.fine, found.text) == ("disk", False, "cannot be looked at: no such file")
