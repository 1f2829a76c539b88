"""What the machine is on which something was measured."""

import contextlib
import os
import platform
import re
import sys
from pathlib import Path
from typing import Annotated

import msgspec

from runner import processes
from runner.hardware import gpus
from runner.owners import machine_digest

# The format of machine.json. History: 1, the first.
MACHINE_SCHEMA = 1

PROCESSOR_SECONDS = 10.0


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """machine.json beside the records. The id tells two machines of one kind apart without naming either."""

    schema: int = MACHINE_SCHEMA
    id: str
    processor: str
    cores: Annotated[int, msgspec.Meta(ge=1, le=2**20)]
    memory_bytes: Annotated[int, msgspec.Meta(ge=0, le=2**60)]
    system: str
    gpus: list[str] = []

    def in_words(self) -> str:
        gigabytes = round(self.memory_bytes / 2**30)
        gpus = "no GPU" if not self.gpus else ", ".join(self.gpus)
        return f"{self.processor}, {self.cores} cores, {gigabytes} GiB, {gpus}"


def this_machine() -> Machine:
    """The facts of this machine."""
    import psutil

    processor = processor_name()
    cores = available_cores()
    word = re.sub(r"[^a-z0-9]+", "-", processor.lower()).strip("-")[:40] or "processor"
    return Machine(
        id=f"{word}-{cores}c-{machine_digest()}",
        processor=processor,
        cores=cores,
        memory_bytes=psutil.virtual_memory().total,
        system=platform.platform(),
        gpus=[gpu.name for gpu in gpus()],
    )


def processor_name(told: Path = Path("/proc/cpuinfo"), timeout: float = PROCESSOR_SECONDS) -> str:
    """The processor as its maker names it: as the kernel tells it, else as py-cpuinfo finds it, which takes seconds."""
    with contextlib.suppress(OSError):
        if found := re.search(r"^model name\s*:[ \t]*(\S.*?)\s*$", told.read_text(errors="replace"), re.MULTILINE):
            return found[1]
    with contextlib.suppress(processes.ProcessFailed, msgspec.DecodeError):
        argv = [sys.executable, "-m", "cpuinfo", "--json"]
        brand = msgspec.json.decode(processes.run(argv, env={"PATH": os.defpath}, timeout=timeout)).get("brand_raw")
        if brand:
            return str(brand)
    return platform.machine() or "unknown processor"


def available_cores() -> int:
    """The cores that this process may use; a job uses as many threads."""
    return len(os.sched_getaffinity(0))
