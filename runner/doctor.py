"""What of this machine is fit for the matrix, what is not, and what to do; useful without a GPU and without Docker."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from runner.catalog import Catalog
from runner.hardware import Survey, gpus, read_hardware, survey
from runner.interpreters import interpreter, way_to_get
from runner.machine import this_machine
from runner.paths import Paths

DISK_BYTES = 20 * 2**30  # what the environments of all CPU releases take together, roughly
MEMORY_BYTES = 8 * 2**30  # VGG16 with a batch of two, in the hungriest framework


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing looked at: whether it is fine, what was seen, and what to do where it is not."""

    subject: str
    fine: bool
    text: str
    remedy: str = ""


def findings(catalog: Catalog, paths: Paths, environ: Mapping[str, str]) -> tuple[Finding, ...]:
    """All that was looked at, in the order in which a person would mend it."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        machine,
        lambda: disk(paths),
        lambda: interpreters(catalog),
        lambda: programs(catalog, environ),
        lambda: engine(environ),
        lambda: gpu(paths),
        lambda: indexes(paths, environ),
        clocks,
    )
    return tuple(finding for check in checks for finding in check())


def machine() -> Iterator[Finding]:
    found = this_machine()
    yield Finding(
        subject="machine",
        fine=found.memory_bytes >= MEMORY_BYTES,
        text=found.in_words(),
        remedy="" if found.memory_bytes >= MEMORY_BYTES else "VGG16 wants 8 GiB; choose other suites",
    )


def disk(paths: Paths) -> Iterator[Finding]:
    for name, folder in (("cache", paths.cache), ("results", paths.results)):
        place = folder
        while not place.exists():
            place = place.parent
        free = shutil.disk_usage(place).free
        fine = free >= DISK_BYTES or name == "results"
        remedy = "" if fine else "make room, or: python -m runner clean"
        yield Finding(subject=name, fine=fine, text=f"{folder}: {free / 2**30:.0f} GiB free", remedy=remedy)


def interpreters(catalog: Catalog) -> Iterator[Finding]:
    """Each Python that some release needs, and which releases do without it."""
    wanted: dict[str, list[str]] = {}
    for framework in catalog.frameworks.values():
        for id_, release in framework.releases.items():
            if release.python:
                wanted.setdefault(release.python, []).append(id_)
    for version, releases in sorted(wanted.items(), key=lambda item: [int(part) for part in item[0].split(".")]):
        path = interpreter(version)
        text = path or f"not found; without it these are skipped in virtual environments: {', '.join(releases)}"
        remedy = "" if path else way_to_get(version)
        yield Finding(subject=f"Python {version}", fine=path is not None, text=text, remedy=remedy)


def programs(catalog: Catalog, environ: Mapping[str, str]) -> Iterator[Finding]:
    wanted = {
        program
        for framework in catalog.frameworks.values()
        for release in framework.releases.values()
        for program in (release.cpu.programs if release.cpu else ())
    }
    for program in sorted(wanted):
        path = shutil.which(program, path=environ.get("PATH"))
        remedy = "" if path else f"on Debian: apt-get install {program}"
        yield Finding(subject=program, fine=path is not None, text=path or "not on PATH", remedy=remedy)


def engine(environ: Mapping[str, str]) -> Iterator[Finding]:
    from runner.engines.docker import connected

    found = connected(environ)
    yield Finding(subject="Docker engine", fine=found.client is not None, text=found.text, remedy=found.remedy)
    if found.client is not None:
        remedy = (
            "" if found.gpu_way else "for GPU cells: nvidia-ctk runtime configure --runtime=docker, then restart Docker"
        )
        text = f"GPUs by {found.gpu_way}" if found.gpu_way else "no GPU runtime registered"
        yield Finding(subject="GPU runtime", fine=found.gpu_way is not None or not gpus(), text=text, remedy=remedy)


def gpu(paths: Paths) -> Iterator[Finding]:
    hardware, found = read_hardware(paths), survey()
    if found == Survey():
        yield Finding(subject="GPU", fine=True, text="none; cells run on the CPU")
    for one in found.gpus:
        newest = hardware.newest_toolkit(one.driver)
        memory = f"{one.memory_bytes / 2**30:.0f} GiB" if one.memory_bytes else "its memory not told"
        text = f"{one.name}, {memory}, compute capability {one.capability}, driver {one.driver}: CUDA up to {newest}"
        yield Finding(subject=f"GPU {one.index}", fine=True, text=text)
    for trouble in found.troubles:
        yield Finding(subject="GPU", fine=False, text=trouble.text, remedy=trouble.remedy)


def indexes(paths: Paths, environ: Mapping[str, str]) -> Iterator[Finding]:
    from runner.engines.venv import VenvEngine

    settings = VenvEngine(paths, environ).index_settings()
    told = ", ".join(
        f"{k}={v}" for k, v in sorted(settings.items()) if k.startswith("UV_") and k != "UV_PYTHON_DOWNLOADS"
    )
    yield Finding(subject="packages", fine=True, text=told or "the default index")


def clocks() -> Iterator[Finding]:
    """Frequency scaling makes a short measurement mean little."""
    governors = {p.read_text().strip() for p in Path("/sys/devices/system/cpu").glob("cpu*/cpufreq/scaling_governor")}
    if not governors:
        yield Finding(subject="CPU clocks", fine=True, text="not to be read here (a virtual machine, most likely)")
        return
    fine = governors == {"performance"}
    remedy = "" if fine else "for steadier numbers: cpupower frequency-set -g performance"
    yield Finding(subject="CPU clocks", fine=fine, text=f"governor {', '.join(sorted(governors))}", remedy=remedy)
