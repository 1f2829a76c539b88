"""The search for Pythons in folders laid out as pyenv, conda, micromamba, uv, asdf and rye do, and what fetches one."""

import os
import platform
import subprocess
from pathlib import Path

import pytest
from checkouts import checkout

from runner.engines import NotBuilt
from runner.engines.venv import VenvEngine
from runner.interpreters import LocalInterpreters

FAKE = """#!/bin/sh
case "$2" in
*implementation*) echo cpython ;;
*architecture*) echo 64bit ;;
*) echo {version} ;;
esac
"""


def program(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def python(path: Path, version: str) -> Path:
    return program(path, FAKE.format(version=version))


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "commands").mkdir()
    return {"HOME": str(tmp_path / "home"), "PATH": str(tmp_path / "commands")}


def search(environ: dict[str, str], tmp_path: Path, container: str = "") -> LocalInterpreters:
    return LocalInterpreters(environ, tmp_path / "pythons", container)


@pytest.mark.parametrize(
    "place",
    [
        ".pyenv/versions/3.6.15/bin/python3.6",
        "miniconda3/envs/python-3.6/bin/python",
        "miniforge3/envs/python-3.6/bin/python3.6",
        "anaconda3/bin/python3",
        ".conda/envs/python-3.6/bin/python",
        ".local/share/mamba/envs/python-3.6/bin/python3.6",
        "micromamba/envs/python-3.6/bin/python3.6",
        ".local/share/uv/python/cpython-3.6.15-linux-x86_64-gnu/bin/python3.6",
        ".asdf/installs/python/3.6.15/bin/python3.6",
        ".rye/py/cpython@3.6.15/bin/python3",
    ],
)
def test_a_python_is_found_where_its_manager_keeps_it(environ: dict[str, str], tmp_path: Path, place: str) -> None:
    assert search(environ, tmp_path).path("3.6") is None
    there = python(tmp_path / "home" / place, "3.6.15")
    assert search(environ, tmp_path).path("3.6") == str(there)


@pytest.mark.parametrize(
    ("variable", "root", "place"),
    [
        ("PYENV_ROOT", "elsewhere", "versions/3.6.15/bin/python3.6"),
        ("MAMBA_ROOT_PREFIX", "elsewhere", "envs/python-3.6/bin/python"),
        ("CONDA_PREFIX", "elsewhere", "bin/python"),
        ("UV_PYTHON_INSTALL_DIR", "elsewhere", "cpython-3.6.15-linux-x86_64-gnu/bin/python3.6"),
        ("ASDF_DATA_DIR", "elsewhere", "installs/python/3.6.15/bin/python3.6"),
    ],
)
def test_a_python_is_found_where_the_environment_says(
    environ: dict[str, str], tmp_path: Path, variable: str, root: str, place: str
) -> None:
    there = python(tmp_path / root / place, "3.6.15")
    assert search(environ, tmp_path).path("3.6") is None
    assert search(environ | {variable: str(tmp_path / root)}, tmp_path).path("3.6") == str(there)


def test_a_python_is_found_around_the_command_of_conda_and_in_its_list(environ: dict[str, str], tmp_path: Path) -> None:
    conda = program(tmp_path / "opt" / "conda" / "condabin" / "conda")
    (tmp_path / "commands" / "conda").symlink_to(conda)
    around = python(tmp_path / "opt" / "conda" / "envs" / "python-3.6" / "bin" / "python", "3.6.13")
    listed = python(tmp_path / "project" / "env" / "bin" / "python", "3.7.16")
    (tmp_path / "home" / ".conda").mkdir(parents=True)
    (tmp_path / "home" / ".conda" / "environments.txt").write_text(f"{listed.parent.parent}\n/gone\n")
    found = search(environ, tmp_path)
    assert (found.path("3.6"), found.path("3.7")) == (str(around), str(listed))


def test_the_newest_patch_is_taken_and_no_shim(environ: dict[str, str], tmp_path: Path) -> None:
    root = tmp_path / "home" / ".pyenv"
    python(root / "versions" / "3.6.9" / "bin" / "python3.6", "3.6.9")
    newest = python(root / "versions" / "3.6.15" / "bin" / "python3.6", "3.6.15")
    python(root / "shims" / "python3.6", "3.6.99")
    environ["PATH"] += f"{os.pathsep}{root / 'shims'}"
    assert search(environ, tmp_path).path("3.6") == str(newest)


def test_a_python_2_is_found_by_its_name(environ: dict[str, str], tmp_path: Path) -> None:
    there = program(tmp_path / "home" / "miniconda3" / "envs" / "python-2.7" / "bin" / "python2.7")
    assert search(environ, tmp_path).path("2.7") == str(there)


def test_what_is_no_cpython_or_does_not_start_is_passed_by(environ: dict[str, str], tmp_path: Path) -> None:
    program(tmp_path / "commands" / "python3.6", "#!/bin/sh\nexit 1\n")
    other = FAKE.format(version="3.6.12").replace("echo cpython", "echo pypy")
    program(tmp_path / "commands" / "python3", other)
    assert search(environ, tmp_path).path("3.6") is None


@pytest.mark.parametrize(
    ("command", "way"),
    [
        ("", "pyenv or conda brings it, once one of them is installed"),
        ("apt-get", "`sudo apt-get install docker.io` gives containers that have it"),
        ("pyenv", "`pyenv install 3.6` brings it"),
        ("conda", "`conda create -y -n python-3.6 python=3.6` brings it"),
        ("mamba", "`mamba create -y -n python-3.6 python=3.6` brings it"),
        ("micromamba", "`micromamba create -y -n python-3.6 -c conda-forge python=3.6` brings it"),
    ],
)
def test_one_command_is_told_that_works_here(environ: dict[str, str], tmp_path: Path, command: str, way: str) -> None:
    if command:
        program(tmp_path / "commands" / command)
    assert search(environ, tmp_path).missing("3.6") == f"Python 3.6, which is not here: {way}"


def test_a_container_is_offered_before_all_else(environ: dict[str, str], tmp_path: Path) -> None:
    program(tmp_path / "commands" / "pyenv")
    found = search(environ, tmp_path, container="sudo systemctl start docker").missing("3.6")
    assert found == "Python 3.6, which is not here: `sudo systemctl start docker` gives containers that have it"


def test_an_unreachable_mirror_is_one_quick_line_without_its_address(environ: dict[str, str], tmp_path: Path) -> None:
    program(tmp_path / "commands" / "pyenv")
    found = search(environ | {"UV_PYTHON_INSTALL_MIRROR": "http://me:token@127.0.0.1:9/x"}, tmp_path)
    assert found.missing("3.14") is None
    found.fetch("3.14")
    said = found.missing("3.14") or ""
    assert said.startswith("Python 3.14, which is not here and which uv cannot fetch (")
    assert said.endswith("): `pyenv install 3.14` brings it")
    assert "refused" in said
    assert not [word for word in ("token", "127.0.0.1", "\n") if word in said]


def test_a_python_is_fetched_from_the_mirror_that_is_set(environ: dict[str, str], tmp_path: Path) -> None:
    release = tmp_path / "mirror" / "20990101"
    python(tmp_path / "tree" / "python" / "bin" / "python3.14", "3.14.99")
    (tmp_path / "tree" / "python" / "bin" / "python3").symlink_to("python3.14")
    library = tmp_path / "tree" / "python" / "lib" / "python3.14"  # what uv wants of one that it lays down
    library.mkdir(parents=True)
    (library / "_sysconfigdata__linux_x86_64-linux-gnu.py").write_text(
        "# system configuration generated and used by the sysconfig module\nbuild_time_vars = {}\n"
    )
    release.mkdir(parents=True)
    archive = release / "cpython-3.14.99.tar.gz"
    subprocess.run(["tar", "-czf", archive, "-C", tmp_path / "tree", "python"], check=True)
    listing = tmp_path / "listing.json"
    listing.write_text(LISTING.replace("x86_64", platform.machine()))
    mirror = {
        "UV_PYTHON_INSTALL_MIRROR": (tmp_path / "mirror").as_uri(),
        "UV_PYTHON_DOWNLOADS_JSON_URL": listing.as_uri(),
    }
    found = search(environ | mirror, tmp_path)
    found.fetch("3.14")
    assert found.in_vain == {}
    assert str(found.path("3.14")).startswith(str(tmp_path / "pythons"))
    assert not (tmp_path / "home" / ".local").exists()


LISTING = """{
 "cpython-3.14.99-linux-x86_64-gnu": {
  "name": "cpython", "arch": {"family": "x86_64", "variant": null}, "os": "linux", "libc": "gnu",
  "major": 3, "minor": 14, "patch": 99, "prerelease": "", "sha256": null, "variant": null, "build": "20990101",
  "url": "https://github.com/astral-sh/python-build-standalone/releases/download/20990101/cpython-3.14.99.tar.gz"
 }
}"""


def test_an_environment_is_made_of_a_python_that_is_fetched_for_it(environ: dict[str, str], tmp_path: Path) -> None:
    program(tmp_path / "commands" / "pyenv")
    unreachable = environ | {"UV_PYTHON_INSTALL_MIRROR": "http://127.0.0.1:9/"}
    engine = VenvEngine(checkout(tmp_path), unreachable, search(unreachable, tmp_path))
    with pytest.raises(
        NotBuilt, match=r"needs Python 3.14, which is not here and which uv cannot fetch .*`pyenv install"
    ):
        engine.base("3.14")
    there = python(tmp_path / "home" / ".pyenv" / "versions" / "3.14.1" / "bin" / "python3.14", "3.14.1")
    assert VenvEngine(checkout(tmp_path / "two"), environ, search(environ, tmp_path)).base("3.14") == str(there)
