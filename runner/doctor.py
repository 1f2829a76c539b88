"""What of this machine is fit for the matrix, what is not, and what to do; useful without a GPU and without Docker."""

import queue
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from runner.catalog import Catalog
from runner.engines.choice import docker_is_installed, way_to_docker
from runner.hardware import Survey, gpus, read_hardware, survey
from runner.interpreters import LocalInterpreters
from runner.machine import this_machine
from runner.paths import Paths
from runner.redaction import redacted

DISK_BYTES = 20 * 2**30  # what the environments of all CPU releases take together, roughly
CHECK_SECONDS = 20.0  # without a word from one check, before the next
MEMORY_BYTES = 8 * 2**30  # VGG16 with a batch of two, in the hungriest framework


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing looked at: whether it is fine, what was seen, and what to do where it is not."""

    subject: str
    fine: bool
    text: str
    remedy: str = ""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One look at the machine, under the name that is shown where it takes too long."""

    subject: str
    look: Callable[[], Iterator[Finding]]


def findings(catalog: Catalog, paths: Paths, environ: Mapping[str, str]) -> Iterator[Finding]:
    """All that was looked at as it is found, in the order in which a person would mend it."""
    container = "--engine docker" if docker_is_installed(environ) else ""
    local = LocalInterpreters(environ, paths.pythons, container)
    checks = (
        Check(subject="machine", look=machine),
        Check(subject="disk", look=lambda: disk(paths)),
        Check(subject="interpreters", look=lambda: interpreters(catalog, local)),
        Check(subject="programs", look=lambda: programs(catalog, environ)),
        Check(subject="Docker engine", look=lambda: engine(environ)),
        Check(subject="GPU", look=lambda: gpu(paths)),
        Check(subject="packages", look=lambda: indexes(paths, environ)),
        Check(subject="CPU clocks", look=clocks),
    )
    for check in checks:
        yield from bounded(check)


def bounded(check: Check, seconds: float = CHECK_SECONDS) -> Iterator[Finding]:
    """What a check finds, as it finds it; where nothing comes for so long, that is the finding, and the check is left."""
    found: queue.SimpleQueue[Finding | None] = queue.SimpleQueue()

    def look() -> None:
        try:
            for finding in check.look():
                found.put(finding)
        except Exception as error:  # a check that fails is a finding, and the others go on
            found.put(Finding(subject=check.subject, fine=False, text=f"cannot be looked at: {error}"))
        found.put(None)

    threading.Thread(target=look, daemon=True).start()
    try:
        while finding := found.get(timeout=seconds):
            yield finding
    except queue.Empty:
        remedy = "the machine is busy, or what was asked hangs; try again"
        yield Finding(subject=check.subject, fine=False, text=f"no answer within {seconds:.0f} s", remedy=remedy)


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


def interpreters(catalog: Catalog, local: LocalInterpreters) -> Iterator[Finding]:
    """Each Python that some release needs, and which releases do without it."""
    wanted: dict[str, list[str]] = {}
    for framework in catalog.frameworks.values():
        for id_, release in framework.releases.items():
            if release.python:
                wanted.setdefault(release.python, []).append(id_)
    for version, releases in sorted(wanted.items(), key=lambda item: [int(part) for part in item[0].split(".")]):
        path, missing = local.path(version), local.missing(version)
        text = path or f"not here; these need it in virtual environments: {', '.join(releases)}"
        if path is None and missing is None:
            text = f"not here; a run fetches it for {', '.join(releases)}"
        remedy = local.way_to_get(version) if missing else ""
        yield Finding(subject=f"Python {version}", fine=missing is None, text=text, remedy=remedy)


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
    remedy = "" if found.client else way_to_docker(found, environ)
    yield Finding(subject="Docker engine", fine=found.client is not None, text=found.text, remedy=remedy)
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

    text = origin_of_packages(VenvEngine(paths, environ).install_environment())
    yield Finding(subject="packages", fine=True, text=text)


def origin_of_packages(settings: Mapping[str, str]) -> str:
    """Where packages come from: of an index its scheme and host, of all else only that it is set."""

    def named(*names: str) -> list[str]:
        urls = " ".join(settings.get(name, "") for name in names).split()
        return [redacted(url) if "://" in url and not url.startswith("file:") else "a folder" for url in urls]

    index = " ".join(named("UV_DEFAULT_INDEX", "UV_INDEX_URL")) or "the default one"
    also = {
        "find-links": "UV_FIND_LINKS" in settings,
        "a bundle of certificates": bool({"SSL_CERT_FILE", "SSL_CERT_DIR"} & settings.keys()),
        "a proxy": any(name.lower() in ("http_proxy", "https_proxy", "all_proxy") for name in settings),
    }
    more = [f"also {url}" for url in named("UV_INDEX", "UV_EXTRA_INDEX_URL")]
    return ", ".join([f"index: {index}", *more, *(f"{name} set" for name, there in also.items() if there)])


def clocks() -> Iterator[Finding]:
    """Frequency scaling makes a short measurement mean little."""
    governors = {p.read_text().strip() for p in Path("/sys/devices/system/cpu").glob("cpu*/cpufreq/scaling_governor")}
    if not governors:
        yield Finding(subject="CPU clocks", fine=True, text="not to be read here (a virtual machine, most likely)")
        return
    fine = governors == {"performance"}
    remedy = "" if fine else "for steadier numbers: cpupower frequency-set -g performance"
    yield Finding(subject="CPU clocks", fine=fine, text=f"governor {', '.join(sorted(governors))}", remedy=remedy)
