"""The hook that fails a skip in CI, tried on tests of its own."""

import pytest
from checkouts import ROOT

TESTS = """
    import pytest

    def test_that_lacks_a_part():
        pytest.skip("no such library")

    @pytest.mark.skipif(True, reason="no such program")
    def test_that_lacks_a_program(): ...

    @pytest.fixture
    def part():
        pytest.skip("no such engine")

    def test_whose_fixture_lacks_a_part(part): ...

    def test_that_cannot_be_helped():
        pytest.skip("Knet 1.4 is a package of Julia's and runs in containers only; use --engine docker")

    @pytest.mark.xfail
    def test_that_is_known_to_fail():
        assert False

    def test_that_passes(): ...
"""


@pytest.fixture
def outcomes(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeconftest((ROOT / "tests" / "conftest.py").read_text())
    pytester.makepyfile(TESTS)
    return pytester


def test_a_skip_that_is_not_allowed_fails_in_ci(outcomes: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    result = outcomes.runpytest("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, skipped=1, xfailed=1, failed=1, errors=2)
    for part in ("library", "program", "engine"):
        result.stdout.fnmatch_lines([f"*does not list: no such {part}"])


def test_a_skipped_module_fails_in_ci(outcomes: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    outcomes.makepyfile(test_other="import pytest\npytest.importorskip('nowhere')")
    outcomes.runpytest("-p", "no:cacheprovider", "test_other.py").assert_outcomes(errors=1)


def test_elsewhere_a_skip_is_a_skip(outcomes: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    outcomes.runpytest("-p", "no:cacheprovider").assert_outcomes(passed=1, skipped=4, xfailed=1)
