"""What the venv and the host engine share: a guest as a child process of ours."""

import os
import sys
from pathlib import Path

import msgspec

from runner import processes
from runner.cells import Device
from runner.engines import Exit, Launch, thread_variables
from runner.hardware import gpu_index
from runner.languages import PYTHON, Language
from runner.protocol import event_in


def run_guest(
    interpreter: str, guest: Path, launch: Launch, inherited: dict[str, str], language: Language = PYTHON
) -> Exit:
    """Start the guest in an environment made from scratch, so that nothing of the caller's shell reaches a number."""
    home = launch.folder / "home"
    home.mkdir(exist_ok=True)
    environment = {
        "PATH": f"{Path(interpreter).parent}{os.pathsep}{inherited.get('PATH', os.defpath)}",
        "HOME": str(home),
        "TMPDIR": str(home),
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        **thread_variables(launch.threads),
        **launch.environment,
    }
    ended = processes.watch(
        language.command(interpreter, str(guest), str(launch.folder)),
        env=environment, timeout=launch.timeout_seconds, log=launch.log, on_line=lambda line: on_line(line, launch),
    )  # fmt: skip
    # The kernel's out-of-memory killer is the one that sends SIGKILL; a timeout of ours is told apart.
    return Exit(
        code=ended.code, timed_out=ended.timed_out, seconds=ended.seconds, out_of_memory=ended.code == -9 and not ended.timed_out
    )  # fmt: skip


def with_device(launch: Launch, device: Device) -> Launch:
    """The launch as it is for a CPU; for a GPU, with the variables that show its guest the chosen GPU alone."""
    if device == "cpu":
        return launch
    # CUDA's own order is by speed; NVIDIA's management library counts by place on the bus.
    chosen = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": str(gpu_index())}
    return msgspec.structs.replace(launch, environment=chosen | dict(launch.environment))


def on_line(line: str, launch: Launch) -> None:
    """Hand on an event; whatever else a guest prints on its stdout is dropped, since nothing depends on it."""
    event = event_in(line)
    if event is not None:
        launch.on_event(event)


def this_interpreter() -> str:
    return sys.executable
