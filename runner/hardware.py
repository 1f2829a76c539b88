"""The gate before anything is built: can this driver and this GPU run a release's CUDA?"""

import re
from functools import cache
from typing import Annotated

import msgspec

from runner.fields import Items, Line, Numbers, NumbersOrAny
from runner.paths import Paths
from runner.toml import read_toml

Version = tuple[int, ...]


class Span(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The compute capabilities that a toolkit compiles for."""

    least: Numbers
    most: Numbers


class Hardware(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """matrix/hardware.toml."""

    driver_of_toolkit: Annotated[dict[Numbers, Numbers], Items]
    driver_of_major: Annotated[dict[Numbers, Numbers], Items]
    capabilities_of_toolkit: Annotated[dict[Numbers, Span], Items]
    last_driver_below_capability: Annotated[dict[Numbers, Numbers], Items]
    capability_of_gpu: Annotated[dict[Line, Numbers], Items]
    cuda_of_cudnn: Annotated[dict[Numbers, Annotated[tuple[NumbersOrAny, ...], Items]], Items]

    def reason_against(self, cuda: str, gpu: "Gpu") -> str | None:
        """Why CUDA of this version cannot run on the GPU under its driver, with the next step, or None."""
        least = self.least_driver(cuda)
        if least and version(gpu.driver) < version(least):
            return f"CUDA {cuda} needs driver {least} or newer, this machine has {gpu.driver}; update the driver or take an older release"
        span = self.capabilities_of_toolkit.get(cuda)
        if span and version(gpu.capability) < version(span.least):
            return f"{gpu.name} has compute capability {gpu.capability}, CUDA {cuda} begins at {span.least}; take an older release"
        if span and version(gpu.capability)[0] > version(span.most)[0]:
            first = self.first_toolkit(gpu.capability)
            remedy = f"; the first CUDA that knows it is {first}" if first else ""
            return f"{gpu.name} has compute capability {gpu.capability}, CUDA {cuda} ends at {span.most}{remedy}"
        return None

    def least_driver(self, cuda: str) -> str | None:
        """The oldest driver that runs this toolkit: by minor version compatibility from CUDA 11 on, else its own."""
        major = cuda.partition(".")[0]
        if major in self.driver_of_major:
            return self.driver_of_major[major]
        own = [d for toolkit, d in self.driver_of_toolkit.items() if version(toolkit)[:2] == version(cuda)[:2]]
        return min(own, key=version, default=None)

    def newest_toolkit(self, driver: str) -> str | None:
        """The newest CUDA that this driver was made for."""
        able = [toolkit for toolkit, least in self.driver_of_toolkit.items() if version(least) <= version(driver)]
        return max(able, key=version, default=None)

    def first_toolkit(self, capability: str) -> str | None:
        """The first CUDA that compiles for this compute capability."""
        able = [t for t, span in self.capabilities_of_toolkit.items() if version(capability) <= version(span.most)]
        return min(able, key=version, default=None)


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU as its driver describes it."""

    index: int
    name: str
    capability: str
    driver: str
    memory_bytes: int = 0


def version(text: str) -> Version:
    """Numbers that compare: '535.104.05' is (535, 104, 5)."""
    return tuple(int(part) for part in re.findall(r"\d+", text))


def read_hardware(paths: Paths) -> Hardware:
    path = paths.matrix / "hardware.toml"
    return read_toml(path, Hardware, paths.shown(path))


@cache
def gpus() -> tuple[Gpu, ...]:
    """The GPUs of this machine, as NVIDIA's management library names them; none where it or a driver is missing."""
    try:
        import pynvml
    except ImportError:
        return ()
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    driver = str(pynvml.nvmlSystemGetDriverVersion())
    found = []
    for index in range(pynvml.nvmlDeviceGetCount()):
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        capability = ".".join(str(part) for part in pynvml.nvmlDeviceGetCudaComputeCapability(handle))
        memory = int(pynvml.nvmlDeviceGetMemoryInfo(handle).total)
        name = str(pynvml.nvmlDeviceGetName(handle))
        found.append(Gpu(index=index, name=name, capability=capability, driver=driver, memory_bytes=memory))
    return tuple(found)
