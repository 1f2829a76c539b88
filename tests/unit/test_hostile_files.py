"""Whatever stands in a file of matrix/ or in images/bases.toml, it works or is one line that names the file."""

import json
import math
import os
import random
import re
import shutil
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from checkouts import ROOT

from runner.catalog import Catalog
from runner.dockerfiles import dockerfile, read_bases
from runner.errors import Mistake
from runner.expand import expand, row_label, suite_entries
from runner.fields import FILE_BYTES
from runner.hardware import Gpu, read_hardware
from runner.paths import Paths
from runner.reading import read_catalog
from runner.recipes import recipe_for

TRIES = int(os.environ.get("HOSTILE_TRIES", "150"))
SECONDS = 10.0  # for one try, on a busy machine
LENGTH = 1000  # of a message, with the names that it lists

FILES = [path.relative_to(ROOT) for path in sorted((ROOT / "matrix").glob("**/*.toml"))] + [Path("images/bases.toml")]


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


TEXTS = (
    "",
    " ",
    ".",
    "..",
    "a..b",
    "../../OWNED",
    "/etc/OWNED",
    "x/../../OWNED",
    "OWNED\nRUN touch /OWNED",
    "OWNED\r\nRUN touch /OWNED",
    "OWNED\\",
    'OWNED" \\\n && touch /OWNED "',
    "OWNED'; touch /OWNED; '",
    "$(touch OWNED)",
    "`touch OWNED`",
    "${OWNED}",
    "a && touch OWNED",
    "-OWNED",
    "--index-url=https://OWNED",
    "escape=OWNED",
    "syntax=OWNED/frontend",
    "OWNED\x00\x1b[31m\u202e",
    "<script>OWNED</script>",
    "OWNED" * 10_000,
    "no-such-thing",
    "*",
    "[",
    "{{ OWNED }}",
    "keras",
    "99.99",
    "1" * 5000,
    "NaN",
)
VALUES: tuple[Any, ...] = (
    *TEXTS,
    None,
    0, -1, 1, 2, 10**9, 2**63, -(2**63) - 1, 10**400,
    0.0, -0.0, -1.5, 1e-300, 1e308, math.nan, math.inf, -math.inf,
    True, False,
    [], {}, [[]], [""], [{}], {"": ""}, {"x": "y"}, {"OWNED\nRUN x": "y"},
    ["x"] * 300, list(range(5000)), {f"x{i}": i for i in range(3000)}, nested(60), ["*"] * 150, [None, "x"],
)  # fmt: skip


def toml(value: Any) -> str:
    """The value as TOML has it inside a line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(key)} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if value is None:
        return "2017-11-24T00:00:00Z"  # what TOML has and JSON has not
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def leaves(table: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a value stands in a table, be it a table or a list itself."""
    for key, value in table.items() if isinstance(table, dict) else enumerate(table):
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from leaves(value, (*path, key))


def with_change(file: Path, place: tuple[Any, ...], value: Any, *, of_key: bool) -> str:
    """The file's text with another value in this place, or another key."""
    table = tomllib.loads((ROOT / file).read_text())
    inner: Any = table
    for key in place[:-1]:
        inner = inner[key]
    if of_key and isinstance(inner, dict):
        old = inner.pop(place[-1])
        inner[str(value)] = old
    else:
        inner[place[-1]] = value
    return "".join(f"{toml(key)} = {toml(inner)}\n" for key, inner in table.items())


@pytest.fixture
def copy(tmp_path: Path) -> Paths:
    """A checkout with the whole matrix, of whose files any may be changed."""
    paths = Paths(root=tmp_path, cache=tmp_path / "cache")
    shutil.copytree(ROOT / "matrix", paths.matrix)
    paths.images.mkdir()
    for path in (ROOT / "images").iterdir():
        if path.name != "bases.toml":
            (paths.images / path.name).symlink_to(path)
    shutil.copy(ROOT / "images" / "bases.toml", paths.images)
    return paths


def use(paths: Paths, file: Path) -> None:
    """Read all, expand the suites, ask the gate, and render what the file is about."""
    catalog, hardware = read_catalog(paths), read_hardware(paths)
    gpu = Gpu(index=0, name="NVIDIA T4", capability="7.5", driver="535.104.05")
    for cuda in ("8.0", "11.8", "99.0"):
        hardware.reason_against(cuda, gpu)
    hardware.newest_toolkit(gpu.driver)
    for name, suite in catalog.suites.items():
        for entry in suite_entries(catalog, suite):
            assert re.fullmatch(r"[a-z0-9][a-z0-9._-]*", entry.cell.id)
            row_label(catalog, suite, entry)
        for profile in suite.profiles:
            expand(catalog, (name,), (), profile, "gpu")
    for source in catalog.published.values():
        assert all(math.isfinite(number.seconds_per_sample) for number in source.numbers)
    if "frameworks" in file.parts or "images" in file.parts:
        render(paths, catalog, file.stem if "frameworks" in file.parts else "theano")


def render(paths: Paths, catalog: Catalog, name: str) -> None:
    """The Dockerfiles of a framework's releases, in which nothing of the file's is an instruction or a command."""
    bases, framework = read_bases(paths), catalog.frameworks[name]
    for id_, release in framework.releases.items():
        for device in ("cpu", "gpu"):
            if release.stack(device):
                recipe = recipe_for(catalog, paths, id_, device)
                for base in bases.fitting(recipe):
                    file = dockerfile(paths, recipe, framework.framework, base)
                    harmless(file.text)
                    assert re.fullmatch(r"matrix-runner/[a-z0-9]+([._-]+[a-z0-9]+)*:[0-9a-f]{16}", file.tag)


def harmless(text: str) -> None:
    for number, line in enumerate(text.splitlines()):
        if "OWNED" in line:
            quoted = re.fullmatch(r'ENV [A-Za-z_]\w*="((?:[^"\\$]|\\.)*)"', line)
            comment = line.startswith("# ") and not re.match(r"#\s*\w+\s*=", line)
            assert quoted or comment, f"line {number}: {line}"


def refusal(paths: Paths, file: Path, text: str | bytes) -> str:
    """What is said to this text in this file, or nothing; the file is as before afterwards."""
    path = paths.root / file
    before = path.read_bytes()
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    start = time.monotonic()
    try:
        use(paths, file)
    except Mistake as mistake:
        return str(mistake)
    finally:
        path.write_bytes(before)
        assert time.monotonic() - start < SECONDS
    return ""


def is_one_line(said: str) -> bool:
    return said.isprintable() and len(said) < LENGTH


def test_the_files_as_they_are_pass_and_so_does_their_text_as_the_tests_write_it(copy: Paths) -> None:
    for file in FILES:
        table = tomllib.loads((ROOT / file).read_text())
        (copy.root / file).write_text("".join(f"{toml(key)} = {toml(value)}\n" for key, value in table.items()))
    use(copy, Path("images/bases.toml"))


def test_any_value_anywhere_works_or_is_one_line(copy: Paths) -> None:
    chance = random.Random(1)
    places = {file: list(leaves(tomllib.loads((ROOT / file).read_text()))) for file in FILES}
    for _ in range(TRIES):
        file = chance.choice(FILES)
        place, value, of_key = chance.choice(places[file]), chance.choice(VALUES), chance.random() < 0.2
        try:
            said = refusal(copy, file, with_change(file, place, value, of_key=of_key))
        except Exception as error:
            raise AssertionError(f"{file}: {place} = {str(value)[:100]!r}, of_key={of_key}") from error
        assert is_one_line(said), (file, place, str(value)[:100], said)


BOUNDS = [
    ("matrix/suites/mnist-cnn.toml", ("profiles", "paper", "training"), {"epochs": 10**9}),
    ("matrix/suites/mnist-cnn.toml", ("profiles", "quick", "launches"), 10**9),
    ("matrix/suites/mnist-cnn.toml", ("profiles", "quick", "batch"), 0),
    ("matrix/suites/mnist-cnn.toml", ("profiles", "quick", "timeout_seconds"), math.inf),
    ("matrix/suites/mnist-cnn.toml", ("profiles", "quick", "sampling"), {"blocks": 0}),
    ("matrix/suites/mnist-cnn.toml", ("rows", 0, "releases"), []),
    ("matrix/workloads/mnist-cnn.toml", ("optimizer", "rho"), math.nan),
    ("matrix/workloads/mnist-cnn.toml", ("witness_steps",), -1),
    ("matrix/workloads/mnist-cnn.toml", ("data",), {"kind": "images", "low": 1.0, "high": 0.0}),
    ("matrix/published/keras-lenet.toml", ("numbers", 0, "value"), 0),
    ("matrix/published/keras-lenet.toml", ("numbers", 0, "batch"), 0),
    ("matrix/published/keras-lenet.toml", ("numbers", 0, "cell"), "no-such-cell"),
    ("matrix/published/keras-lenet.toml", ("date",), "last week"),
    ("matrix/frameworks/torch.toml", ("title",), "a\nRUN touch /OWNED"),
    ("matrix/frameworks/torch.toml", ("releases", "torch-1.0", "title"), "a\nRUN touch /OWNED"),
    ("matrix/frameworks/torch.toml", ("releases", "torch-1.0", "module"), "torch; touch OWNED"),
    ("matrix/frameworks/torch.toml", ("releases", "torch-1.0", "adapter"), "../../OWNED"),
    ("matrix/frameworks/torch.toml", ("releases", "torch-1.0", "adapter"), "no_such"),
    ("matrix/frameworks/torch.toml", ("releases", "torch-1.0", "cpu", "apt"), ["g++\nRUN touch /OWNED"]),
    ("matrix/frameworks/torch.toml", ("releases", "torch-1.0", "cpu", "environment"), {"A": "b\nRUN touch /OWNED"}),
    ("matrix/frameworks/torch.toml", ("releases", "torch-1.0", "cpu", "environment"), {"A\nRUN x": "b"}),
    ("matrix/frameworks/torch.toml", ("releases", "torch-1.0", "cpu", "links"), {"../../OWNED": "/usr"}),
    ("matrix/frameworks/torch.toml", ("releases", "torch-1.0", "cpu", "requirements"), ["--index-url=https://x"]),
    ("matrix/frameworks/torch.toml", ("options", "layout", "values"), []),
    ("matrix/frameworks/torch.toml", ("options", "layout", "values", 1, "suffix"), "../../OWNED"),
    ("matrix/frameworks/keras.toml", ("releases", "keras-3-tf", "environment"), {"KERAS_BACKEND": "keras"}),
    ("matrix/frameworks/keras.toml", ("releases", "keras-3-tf", "environment"), {"KERAS_BACKEND": "../OWNED"}),
    ("matrix/hardware.toml", ("capabilities_of_toolkit", "8.0", "most"), ""),
    ("images/bases.toml", ("bases", 0, "image"), "a\nRUN touch /OWNED"),
    ("images/bases.toml", ("bases", 0, "digest"), "sha256:no"),
]


@pytest.mark.parametrize(("file", "place", "value"), BOUNDS)
def test_what_cannot_be_meant_is_refused_by_file_and_key(
    copy: Paths, file: str, place: tuple[Any, ...], value: Any
) -> None:
    said = refusal(copy, Path(file), with_change(Path(file), place, value, of_key=False))
    assert is_one_line(said)
    assert Path(file).stem in said or "keras-3-tf" in said


@pytest.mark.parametrize(
    "id_", ["../../OWNED", "a..b", "a-", "-a", "A", "a/b", "a b", "", "a\n", "x" * 200], ids=range(10)
)
def test_an_id_of_a_release_is_a_name_that_docker_takes_too(copy: Paths, id_: str) -> None:
    file = Path("matrix/frameworks/numpy.toml")
    said = refusal(copy, file, with_change(file, ("releases", "numpy-2"), id_, of_key=True))
    assert is_one_line(said)
    assert "numpy.toml: a key of releases" in said


@pytest.mark.parametrize("folder", ["frameworks", "workloads", "suites", "published"])
def test_a_files_name_is_a_name(copy: Paths, folder: str) -> None:
    path = next((copy.matrix / folder).glob("*.toml"))
    shutil.copy(path, path.with_name("A B.toml"))
    with pytest.raises(Mistake, match=rf"^matrix/{folder}: 'A B.toml' is not a name"):
        read_catalog(copy)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = " + "[" * 40_000, "not valid TOML"),
        ("x = " + "{a=" * 20_000, "not valid TOML"),
        ("x = " + "1" * 90_000, "not valid TOML"),
        ("a." * 45_000 + "a = 1", "more than 32 parts"),
        ("x = { " + "'a b' . " * 10_000 + "a = 1 }", "more than 32 parts"),
        ("[" + '"a b".' * 10_000 + "a]", "more than 32 parts"),
        ("a = 1\n" * 2, "not valid TOML"),
        ("x" * (FILE_BYTES + 1), "larger than"),
        (b"\xff\xfe", "not valid TOML"),
        ("", "missing required field"),
        ('"a\\nb" = 1', "unknown key 'a"),
        ("k" * 90_000 + " = 1", "unknown key"),
        ("k" * 90_000, "not valid TOML"),
        ('"' * 90_000, "not valid TOML"),
    ],
    ids=range(14),
)
def test_a_text_that_would_choke_a_reader_is_one_line(copy: Paths, text: str | bytes, said: str) -> None:
    answer = refusal(copy, Path("matrix/suites/mnist-cnn.toml"), text)
    assert is_one_line(answer)
    assert answer.startswith("matrix/suites/mnist-cnn.toml: ")
    assert said in answer
