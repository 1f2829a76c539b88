"""In CI every test runs: a skip that is not allowed here fails, since it hides a part that is missing."""

import os
import re
import signal
from collections.abc import Iterator

import pytest

from runner.interrupts import ENDING

ALLOWED = {  # what the reason of a skip begins with: why it cannot be helped
    r"Knet 1\.4 is a package of Julia's and runs in containers only": "its image is built where a registry has Julia's",
    r"this time it did not die of the memory that it corrupts": "what a fault of oneDNN does depends on the processor",
}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    return refuse((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    return refuse((yield))


def refuse(report: pytest.TestReport | pytest.CollectReport) -> pytest.TestReport | pytest.CollectReport:
    """The report; a failure instead of a skip that nothing allows, where this is CI."""
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if not any(re.match(pattern, reason) for pattern in ALLOWED):
            report.outcome = "failed"
            report.longrepr = f"skipped in CI, which ALLOWED in tests/conftest.py does not list: {reason}"
    return report


@pytest.fixture(autouse=True)
def signals_mean_what_they_meant() -> Iterator[None]:
    """A command that runs in the process of the tests handles signals in its own way, and must not do so in later tests."""
    before = {number: signal.getsignal(number) for number in ENDING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
