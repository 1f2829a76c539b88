"""What an engine says when it refuses a container, in a person's words."""

import pytest

from runner.engines.containers import SHORT, remedy_for, wants_writable_root

CREATE = (
    "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: "
)
HOOK = (
    CREATE + "unable to start container process: error during container init: error running createContainer hook #6: "
)
CLI = HOOK + "exit status 1, stdout: , stderr: nvidia-container-cli: initialization error: "


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (HOOK + "exit status 1, stderr: mkdirat etc/nvidia/profiles-rc.d: read-only file system", True),
        (HOOK + "exit status 1, stderr: ldconfig: Can't create /etc/ld.so.cache~: Read-only file system", True),
        (HOOK + "exit status 1, stderr: mkdirat etc/nvidia/profiles-rc.d: permission denied", False),
        ("error while creating mount source path '/data': mkdir /data: read-only file system", False),
    ],
)
def test_a_hook_that_cannot_write_is_told_from_other_refusals(said: str, wanted: bool) -> None:
    assert wants_writable_root(said) is wanted


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        (
            CLI + "load library failed: libnvidia-ml.so.1: cannot open shared object file: no such file or directory",
            "install one",
        ),
        (CLI + "nvml error: driver not loaded: unknown", "modprobe nvidia"),
        (CLI + "nvml error: driver/library version mismatch: unknown", "reboot"),
        ('could not select device driver "" with capabilities: [[gpu]]', "NVIDIA container toolkit"),
    ],
)
def test_what_the_engine_lacks_for_a_gpu_comes_with_the_next_step(said: str, remedy: str) -> None:
    assert remedy in remedy_for(said)
    assert "no engine answers" not in remedy_for(said)


def test_of_a_long_refusal_the_cause_at_its_end_is_kept() -> None:
    said = remedy_for(HOOK + "x" * 400 + " the cause")
    assert said.endswith(" the cause")
    assert said.startswith("failed to create task for container")
    assert len(said) <= SHORT + 3
