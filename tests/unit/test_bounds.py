"""A number that cannot be meant is refused on the command line, before anything is read or run."""

import pytest
from click.testing import CliRunner

from runner.cli import main


@pytest.mark.parametrize(
    "words",
    [
        ["matrix", "--launches", "1000000", "--dry-run"],
        ["matrix", "--launches", "0"],
        ["matrix", "--threads", "10000000"],
        ["matrix", "--cpuset", "all"],
        ["matrix", "--cpuset", "3-0"],
        ["matrix", "--cpuset", "0-99999"],
        ["matrix", "--cpuset", "0,"],
        ["cell", "numpy-2", "--cpuset", "0\n"],
        ["agree", "numpy-2", "--workload", "vgg16", "--launches", "101"],
        ["clean", "--older", "nan"],
        ["clean", "--larger", "inf"],
        ["clean", "--older", "-1"],
        ["reference", "vgg16", "--batch", "1000000000"],
        ["matrix", "--registry-mirror", "https://somebody:word@host"],
        ["lock", "--bases", "--registry-mirror", "host/../.."],
    ],
    ids=" ".join,
)
def test_a_number_out_of_bounds_is_a_line_with_the_option(words: list[str]) -> None:
    result = CliRunner().invoke(main, words)
    option = next(word for word in reversed(words) if word.startswith("--") and word not in ("--dry-run", "--bases"))
    assert result.exit_code == 2
    last = result.output.strip().splitlines()[-1]
    assert last.startswith(f"Error: Invalid value for '{option}'")
    assert "word" not in last.replace("password", "")


@pytest.mark.parametrize("cores", ["0", "0-3", "0,2", "0-1,3"])
def test_a_set_of_cores_is_taken_as_docker_writes_it(cores: str) -> None:
    result = CliRunner().invoke(main, ["cell", "no-such-cell", "--cpuset", cores])
    assert "no cell 'no-such-cell'" in result.output
