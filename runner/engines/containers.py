"""Whose containers are whose: a label tells them, orphans of a dead runner are reaped, all others are left alone."""

import contextlib
from typing import Any

from runner.output import one_line
from runner.owners import Owner, owner_in

OWNER = "matrix-runner.owner"
IMAGE = "matrix-runner.image"
KEEPER = "matrix-runner.keeper"  # a container that only keeps the job folder of another

TOOLKIT = "nvidia-ctk runtime configure --runtime=docker, restart Docker"
REMEDIES = (  # what the engine says, and what a person can do; the first that matches counts
    (
        "could not select device driver",
        f"the engine has no GPU support: install the NVIDIA container toolkit, {TOOLKIT}",
    ),
    (
        "no known GPU vendor found",
        "the engine knows no GPU: install the NVIDIA container toolkit, or nvidia-ctk cdi generate",
    ),
    ("unresolvable CDI devices", "no CDI spec names this GPU: nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"),
    ("nknown runtime specified nvidia", f"the engine has no runtime called nvidia: {TOOLKIT}"),
    ("invalid runtime name: nvidia", f"the engine has no runtime called nvidia: {TOOLKIT}"),
    ("unsatisfied condition: cuda", "the driver is too old for this image's CUDA: update it, or take an older release"),
    (
        "forward compatibility was attempted",
        "the image's CUDA is newer than the driver, and this GPU allows no forward compatibility",
    ),
    ("client version", "engine and client speak different API versions: update the one that is older"),
    ("no space left on device", "the engine's disk is full: python -m runner clean, then docker system df"),
    ("permission denied", "this user may not speak to the engine: add it to the group docker, or set DOCKER_HOST"),
    ("toomanyrequests", "the registry limits pulls: log in with docker login, or use --registry-mirror"),
    ("connection refused", "no engine answers: start Docker, or set DOCKER_HOST"),
    ("no such file or directory", "no engine answers: start Docker, or set DOCKER_HOST"),
    ("connection aborted", "the engine went away in mid-run; start it and run again"),
)


def remedy_for(error: str) -> str:
    """An error of the engine's in one line: what it said in short, and what to do."""
    said = one_line(error, limit=len(error))
    for words, remedy in REMEDIES:
        if words.lower() in said.lower():
            return remedy
    return one_line(said)


def reap(client: Any, me: Owner) -> list[str]:
    """Remove the containers that dead runners of this machine left behind; their ids."""
    return [container.id for container in orphans(client, me) if removed(container)]


def orphans(client: Any, me: Owner) -> list[Any]:
    """Containers whose label names a runner of this machine that no longer runs. Another machine's are its own."""
    found = []
    for container in client.containers.list(all=True, filters={"label": OWNER}, ignore_removed=True):
        owner = owner_in(container.labels.get(OWNER, ""))
        if owner is not None and owner.dead(me):
            found.append(container)
    return found


def removed(container: Any) -> bool:
    from docker.errors import APIError

    with contextlib.suppress(APIError):
        container.remove(force=True, v=True)
        return True
    return False
