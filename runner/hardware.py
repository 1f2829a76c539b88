"""The gate before anything is built: can this driver and this GPU run a release's CUDA?"""

import re
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import msgspec

from runner.fields import Items, Line, Numbers, NumbersOrAny
from runner.paths import Paths
from runner.toml import read_toml

CONTROL_DEVICE = Path("/dev/nvidiactl")  # there where the kernel module of a driver is loaded

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
    memory_bytes: int | None = None  # None where the driver does not tell it, as of memory shared with the processor


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """What keeps a GPU or all of them from being used, and what a person can do."""

    text: str
    remedy: str = ""


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """The GPUs that can be used, by their driver's numbers, and what is wrong with the others."""

    gpus: tuple[Gpu, ...] = ()
    troubles: tuple[Trouble, ...] = ()


def version(text: str) -> Version:
    """Numbers that compare: '535.104.05' is (535, 104, 5)."""
    return tuple(int(part) for part in re.findall(r"\d+", text))


def read_hardware(paths: Paths) -> Hardware:
    path = paths.matrix / "hardware.toml"
    return read_toml(path, Hardware, paths.shown(path))


REMEDIES = {  # what NVIDIA's management library can answer, by the name of its constant, and what a person can do
    "NVML_ERROR_LIBRARY_NOT_FOUND": "install the driver's libraries (libnvidia-ml.so.1) of the same version as the kernel module",
    "NVML_ERROR_LIB_RM_VERSION_MISMATCH": "the driver's libraries and its kernel module differ, as after an update: reboot",
    "NVML_ERROR_NO_PERMISSION": "this user may not open /dev/nvidia*: see ls -l /dev/nvidia*, and the groups of this user",
    "NVML_ERROR_DRIVER_NOT_LOADED": "load the driver's kernel module: sudo modprobe nvidia, or reboot",
    "NVML_ERROR_FUNCTION_NOT_FOUND": "the driver is older than what asks it: update the driver",
    "NVML_ERROR_NOT_SUPPORTED": "the driver tells no compute capability of it, so it is too old for any CUDA here",
    "NVML_ERROR_GPU_IS_LOST": "the GPU fell off the bus: see dmesg, then reboot",
    "NVML_ERROR_RESET_REQUIRED": "reset it: sudo nvidia-smi --gpu-reset, or reboot",
}


@cache
def survey() -> Survey:
    """Ask NVIDIA's management library once for all GPUs of this machine; where there is no driver, there are none."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return no_gpus(error)
    try:
        driver = str(pynvml.nvmlSystemGetDriverVersion())
        found = [examined(index, driver) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError as error:
        return no_gpus(error)
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()
    return Survey(
        gpus=tuple(one for one in found if isinstance(one, Gpu)),
        troubles=tuple(one for one in found if isinstance(one, Trouble)),
    )


def no_gpus(error: Any) -> Survey:
    """What it means that the management library does not answer: without any driver, that there is no GPU at all."""
    import pynvml

    missing = error.value == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND
    if missing and not CONTROL_DEVICE.exists():
        return Survey()
    return Survey(troubles=(trouble("the NVIDIA driver does not answer", error),))


def examined(index: int, driver: str) -> Gpu | Trouble:
    """One GPU, or what the driver says against it."""
    import pynvml

    subject = f"GPU {index}"
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        name = str(pynvml.nvmlDeviceGetName(handle))
        subject = f"GPU {index} ({name})"
        capability = ".".join(str(part) for part in pynvml.nvmlDeviceGetCudaComputeCapability(handle))
    except pynvml.NVMLError as error:
        return trouble(f"{subject} cannot be used", error)
    memory = None
    with suppress(pynvml.NVMLError):
        memory = int(pynvml.nvmlDeviceGetMemoryInfo(handle).total)
    return Gpu(index=index, name=name, capability=capability, driver=driver, memory_bytes=memory)


def trouble(what: str, error: Any) -> Trouble:
    """An error of the management library's in its own words, and what a person can do about it."""
    import pynvml

    remedies = {getattr(pynvml, name): remedy for name, remedy in REMEDIES.items()}
    return Trouble(text=f"{what}: {error}", remedy=remedies.get(error.value, "see what nvidia-smi says"))


def gpus() -> tuple[Gpu, ...]:
    """The GPUs of this machine that can be used."""
    return survey().gpus


def gpu_index() -> int:
    """The number of the GPU that cells run on; the first where a remote engine has GPUs and this machine has none."""
    return gpus()[0].index if gpus() else 0


def reason_against_gpu(paths: Paths, cuda: str | None) -> str | None:
    """The gate of driver, CUDA and compute capability: why no GPU of this machine can run this CUDA, or None."""
    found = survey()
    if not found.gpus:
        first = next(iter(found.troubles), None)
        return f"{first.text}; {first.remedy}" if first else "no NVIDIA GPU on this machine"
    return read_hardware(paths).reason_against(cuda, found.gpus[0]) if cuda else None
