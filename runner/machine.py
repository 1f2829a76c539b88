"""What the machine is on which something was measured."""

import os
import platform
import re

import msgspec

from runner.hardware import gpus
from runner.owners import machine_digest


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """machine.json beside the records. The id tells two machines of one kind apart without naming either."""

    schema: int = 1
    id: str
    processor: str
    cores: int
    memory_bytes: int
    system: str
    gpus: list[str] = []

    def in_words(self) -> str:
        gigabytes = round(self.memory_bytes / 2**30)
        gpus = "no GPU" if not self.gpus else ", ".join(self.gpus)
        return f"{self.processor}, {self.cores} cores, {gigabytes} GiB, {gpus}"


def this_machine() -> Machine:
    """The facts of this machine; takes about a second the first time."""
    import cpuinfo
    import psutil

    processor = str(cpuinfo.get_cpu_info().get("brand_raw") or platform.processor() or "unknown processor")
    cores = available_cores()
    word = re.sub(r"[^a-z0-9]+", "-", processor.lower()).strip("-")[:40]
    return Machine(
        id=f"{word}-{cores}c-{machine_digest()}",
        processor=processor,
        cores=cores,
        memory_bytes=psutil.virtual_memory().total,
        system=platform.platform(),
        gpus=[gpu.name for gpu in gpus()],
    )


def available_cores() -> int:
    """The cores that this process may use; a job uses as many threads."""
    return len(os.sched_getaffinity(0))
