"""What a person is told of Docker where none answers."""

from pathlib import Path

import pytest

from runner.engines.choice import docker_is_installed, start_command, way_to_docker
from runner.engines.containers import remedy_for
from runner.engines.docker import Connection

NONE_ANSWERS = remedy_for("Error while fetching server API version: [Errno 2] No such file or directory")


def test_docker_is_installed_where_its_command_or_its_socket_is(tmp_path: Path) -> None:
    environ = {"PATH": str(tmp_path / "bin")}
    assert not docker_is_installed(environ, tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "docker").write_text("")
    (tmp_path / "bin" / "docker").chmod(0o755)
    assert docker_is_installed(environ, tmp_path)
    (tmp_path / "var" / "run").mkdir(parents=True)
    (tmp_path / "var" / "run" / "docker.sock").touch()
    assert docker_is_installed({}, tmp_path)


@pytest.mark.parametrize(
    ("systemd", "way"), [(True, "sudo systemctl start docker"), (False, "sudo service docker start")]
)
def test_the_start_command_docker_is_one_that_this_machine_has(tmp_path: Path, systemd: bool, way: str) -> None:
    if systemd:
        (tmp_path / "run" / "systemd" / "system").mkdir(parents=True)
    assert start_command(NONE_ANSWERS, {}, tmp_path) == way


def test_a_docker_that_is_somewhere_else_is_not_started_here(tmp_path: Path) -> None:
    assert start_command(NONE_ANSWERS, {"DOCKER_HOST": "tcp://10.0.0.1:2375"}, tmp_path) == ""


def test_who_may_not_speak_to_docker_is_let_in(tmp_path: Path) -> None:
    refused = remedy_for("PermissionError(13, 'Permission denied')")
    assert start_command(refused, {}, tmp_path).startswith("sudo usermod -aG docker $USER")


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("", "Docker is not installed"),
        ("docker", "Docker is installed and does not answer; start it first: sudo s"),
    ],
)
def test_who_asks_for_docker_is_told_the_next_step(tmp_path: Path, place: str, said: str) -> None:
    (tmp_path / "docker").write_text("")
    (tmp_path / "docker").chmod(0o755)
    environ = {"PATH": str(tmp_path if place else tmp_path / "nowhere")}
    found = way_to_docker(Connection(client=None, text="none answers", remedy=NONE_ANSWERS), environ, tmp_path)
    assert found.startswith(said)
