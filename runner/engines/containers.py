"""Whose containers are whose: a label tells them, orphans of a dead runner are reaped, all others are left alone."""

import contextlib
from typing import Any

from runner.owners import Owner, owner_in
from runner.redaction import redacted
from runner.text import one_line

OWNER = "matrix-runner.owner"
IMAGE = "matrix-runner.image"
KEEPER = "matrix-runner.keeper"  # a container that only keeps the job folder of another

SHORT = 300  # characters of what an engine said

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
    (
        "driver/library version mismatch",
        "on the engine's machine the driver's libraries and its kernel module differ, as after an update: reboot it",
    ),
    (
        "nvml error: driver not loaded",
        "the engine's machine has not loaded its NVIDIA driver: sudo modprobe nvidia there",
    ),
    ("libnvidia-ml.so.1: cannot open", "the engine's machine has no NVIDIA driver: install one there"),
    ("unsatisfied condition: cuda", "the driver is too old for this image's CUDA: update it, or take an older release"),
    (
        "forward compatibility was attempted",
        "the image's CUDA is newer than the driver, and this GPU allows no forward compatibility",
    ),
    ("client version", "engine and client speak different API versions: update the one that is older"),
    ("no space left on device", "the engine's disk is full: python -m runner clean, then docker system df"),
    ("permission denied", "this user may not speak to the engine: add it to the group docker, or set DOCKER_HOST"),
    ("toomanyrequests", "the registry limits pulls: log in with docker login, or use --registry-mirror"),
    ("no such host", "the registry cannot be reached; where there is another: --registry-mirror"),
    ("connection refused", "no engine answers: start Docker, or set DOCKER_HOST"),
    ("no such file or directory", "no engine answers: start Docker, or set DOCKER_HOST"),
    ("connection aborted", "the engine went away in mid-run; start it and run again"),
)


def engine_words(error: Exception) -> str:
    """What the engine itself said, in one line, without the address at which it was asked."""
    said = str(getattr(error, "explanation", None) or error)
    return redacted(one_line(said, limit=len(said)))


def remedy_for(error: str) -> str:
    """An error of the engine's in one line: what to do, or what it said in short."""
    said = redacted(one_line(error, limit=len(error)))
    for words, remedy in REMEDIES:
        if words.lower() in said.lower():
            return remedy
    return shortened(said)


def shortened(text: str) -> str:
    """A text of any length in one that fits a line: a container's runtime tells the cause last."""
    return text if len(text) <= SHORT else f"{text[: SHORT // 5]} … {text[SHORT // 5 + 3 - SHORT :]}"


def wants_writable_root(error: str) -> bool:
    """Whether the engine refused a container since a hook that hands it the GPU could not write to its read-only root."""
    said = error.lower()
    return "hook" in said and "read-only file system" in said


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
