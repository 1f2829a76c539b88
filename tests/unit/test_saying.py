"""What the commands print of records: one line for each that is left out, and no control character."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from records import record

from runner.cli import main
from runner.paths import Paths
from runner.store import Store

FIRST = "reports/results/box/small/torch-2.13/quick-cpu-venv-1.json"


@pytest.fixture
def damaged(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """A checkout with a damaged record and one whose reason is hostile."""
    for module in ("looking", "making"):
        monkeypatch.setattr(f"runner.cli.{module}.checkout_paths", lambda: paths)
    store = Store(paths)
    store.write(record()).write_bytes(b"{")
    store.write(record(launch=2, fate="crashed", reason="a\x1b[2Jb\u202ec\nd", samples=[]))
    return paths


def ran(*words: str) -> Result:
    return CliRunner().invoke(main, words)


@pytest.mark.parametrize(
    "words", [("report",), ("publish", "page.md"), ("publish", "page.md", "--check"), ("show", "torch-2.13")]
)
def test_a_damaged_record_is_one_line_and_the_command_goes_on(
    damaged: Paths, words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("page.md").write_text("<!-- matrix:small -->\n<!-- /matrix:small -->\n")
    result = ran(*words)
    checks = "--check" in words
    assert result.exit_code == (4 if checks else 0)
    first, *rest = result.stderr.splitlines()
    assert first.startswith(f"{FIRST} is left out: it is damaged (")
    assert rest == (["error: page.md is not current; run: python -m runner publish page.md"] if checks else [])


def test_a_hostile_reason_does_nothing_to_a_terminal(damaged: Paths) -> None:
    assert "small quick cpu venv #2: crashed abc d" in ran("show", "torch-2.13").stdout


def test_a_mistake_is_one_line_whatever_was_typed(damaged: Paths) -> None:
    result = ran("publish", "a\x1b[2J\nb\u202ec")
    assert result.exit_code == 2
    assert result.stderr == "error: cannot read a bc: No such file or directory\n"
