"""What there is: frameworks, releases, options, workloads, suites and published numbers, and what can be asked of them."""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from itertools import product
from typing import Annotated, Literal

import msgspec

from runner.cells import Cell, Device, Name, NameOrNone, Option, cell_of
from runner.errors import Mistake, nearest
from runner.fields import (
    AptPackage,
    Batch,
    CondaSpec,
    Count,
    CountOrNone,
    Date,
    DateOrNone,
    Few,
    Glob,
    Identifier,
    InnerPath,
    Items,
    JuliaOrNone,
    Line,
    Module,
    Numbers,
    OneOrMore,
    OuterPath,
    Program,
    PythonOrNone,
    Requirement,
    Seconds,
    Seed,
    Share,
    Text,
    Variable,
    Version,
    text,
)
from runner.languages import JULIA, PYTHON, Language
from runner.protocol import Images, Optimizer, Sampling, Tokens

Variables = Annotated[dict[Variable, Line], Items]
Globs = Annotated[tuple[Glob, ...], OneOrMore]
Choices = Annotated[dict[Name, Annotated[tuple[Name, ...], Items]], Items]

# A name that Docker takes as a part of an image's name.
ReleaseId = Annotated[
    str,
    text(
        r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*",
        "a release's id: small letters and digits, '.', '_' or '-' between them",
    ),
]


class Stack(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a release needs on one device: pinned packages and, where pip does not suffice, the rest."""

    requirements: Annotated[tuple[Requirement, ...], Items] = ()
    links: Annotated[dict[InnerPath, OuterPath], Items] = {}
    programs: Annotated[tuple[Program, ...], Items] = ()
    apt: Annotated[tuple[AptPackage, ...], Items] = ()
    build_apt: Annotated[tuple[AptPackage, ...], Items] = ()
    conda: Annotated[tuple[CondaSpec, ...], Items] = ()
    environment: Variables = {}
    cuda: Numbers | None = None
    cudnn: Numbers | None = None
    cuda_in_wheels: bool = False  # the framework's own wheel carries the CUDA libraries


class Release(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One pinned, installable stack of a framework."""

    title: Line
    version: Version
    adapter: Identifier
    module: Module
    python: PythonOrNone = ""
    julia: JuliaOrNone = ""  # instead, where the framework is a package of Julia's
    released: DateOrNone = ""
    environment: Variables = {}
    options: Annotated[tuple[Name, ...], Items] | None = None
    stack_of: NameOrNone = ""  # the release whose language, packages and lock are this one's as well
    cpu: Stack | None = None
    gpu: Stack | None = None

    @property
    def language(self) -> Language:
        return JULIA if self.julia else PYTHON

    @property
    def language_version(self) -> str:
        return self.julia or self.python

    def stack(self, device: Device) -> Stack | None:
        return self.cpu if device == "cpu" else self.gpu


class Cannot(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What cannot be done, and why; an absent field matches all."""

    reason: Line
    releases: Globs = ("*",)
    devices: Annotated[tuple[Device, ...], OneOrMore] = ("cpu", "gpu")
    options: Choices = {}

    def applies(self, cell: Cell, device: Device) -> bool:
        return (
            device in self.devices
            and any(fnmatchcase(cell.release, glob) for glob in self.releases)
            and all(cell.options.get(name) in values for name, values in self.options.items())
        )


class Fault(Cannot, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A wrong result or a crash that is known, and its reason: the table says so, and the run does not fail for it."""

    workloads: Globs = ("*",)


class Framework(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """matrix/frameworks/<framework>.toml."""

    framework: Name
    title: Line
    options: Annotated[dict[Name, Option], Items] = {}
    releases: Annotated[dict[ReleaseId, Release], Items]
    cannot: Annotated[tuple[Cannot, ...], Items] = ()
    faults: Annotated[tuple[Fault, ...], Items] = ()

    def options_of(self, release: Release) -> dict[str, Option]:
        return {n: o for n, o in self.options.items() if release.options is None or n in release.options}


class Workload(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """matrix/workloads/<workload>.toml: a network with its mode, data and optimizer."""

    title: Line
    label: Line = ""  # what a table adds to a row's name where a suite has several workloads
    network: Name
    mode: Literal["training", "inference"]
    classes: Count
    optimizer: Optimizer = Optimizer(kind="sgd", learning_rate=0.0)  # inference names none
    data: Images | Tokens
    dataset: NameOrNone = ""  # what it is trained on where a profile asks for a training run
    l2: Share = 0.0
    seed: Seed = 1
    witness_steps: Few = 3


class TrainingRun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much a cell trains to show its accuracy; 0 samples means all there are; augmented images are shifted and flipped.

    `data` is for who asks for no other: "synthetic" where so few steps would learn nothing of the real ones.
    """

    epochs: Few = 1
    train: CountOrNone = 0
    test: CountOrNone = 0
    augmented: bool = False
    data: Literal["auto", "synthetic"] = "auto"


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A sampling protocol of a suite."""

    about: Text
    batch: Batch
    launches: Few
    timeout_seconds: Seconds
    sampling: Sampling
    training: TrainingRun | None = None


class Rows(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Releases by globs, times the named values of their options; an option not named keeps its default."""

    releases: Globs
    options: Choices = {}
    workload: NameOrNone = ""  # where it is another than the suite's
    profiles: Annotated[tuple[Name, ...], Items] = ()  # where not all of the suite's profiles have these rows
    # What the table sets each time against: the first options of its release here, the first release of its framework
    # here, or the same cell in the suite's own workload.
    against: Literal["", "options", "releases", "workload"] = ""


class Suite(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """matrix/suites/<suite>.toml: a published table to reproduce."""

    title: Line
    workload: Name
    about: Text
    published: NameOrNone = ""
    published_elsewhere: Annotated[
        tuple[Name, ...], Items
    ] = ()  # sources of other machines and days, shown beside each other
    profiles: Annotated[dict[Name, Profile], OneOrMore]
    rows: Annotated[tuple[Rows, ...], Items]
    notes: Annotated[tuple[Text, ...], Items] = ()
    throughput: Line = ""  # what a sample is called, where the table also shows samples a second
    by_name_only: bool = False  # not among the suites that run when none is named

    @property
    def workloads(self) -> tuple[str, ...]:
        """The workloads of its rows, its own first."""
        return tuple(dict.fromkeys((self.workload, *(row.workload for row in self.rows if row.workload))))


class Number(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What somebody published: ms a step, s for a number of steps or for 1000 samples, or samples a second."""

    suite: Name
    label: Line
    cell: NameOrNone = ""
    absent: Line = ""  # where there is no cell of ours: why
    value: Annotated[float, msgspec.Meta(gt=0, le=1e9)]
    unit: Literal["ms", "s", "s/1000 images", "images/s"] = "ms"
    batch: Batch
    steps: Count = 1
    workload: NameOrNone = ""  # where it is another than the suite's
    device: Device = "gpu"
    accuracy: Share | None = None
    columns: Annotated[dict[Line, Line], Items] = {}  # what else the published table said of it

    @property
    def seconds_per_sample(self) -> float:
        match self.unit:
            case "ms":
                return self.value / 1000 / self.steps / self.batch
            case "s":
                return self.value / self.steps / self.batch
            case "s/1000 images":
                return self.value / 1000
            case "images/s":
                return 1 / self.value


class Published(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """matrix/published/<source>.toml."""

    title: Line
    column: Line = ""  # its heading where sources stand beside each other
    source: Line
    date: Date
    hardware: Line
    versions: Line
    numbers: Annotated[tuple[Number, ...], Items]


class Catalog(msgspec.Struct, frozen=True, kw_only=True):
    """All of `matrix/`, checked to hang together."""

    frameworks: dict[str, Framework]
    workloads: dict[str, Workload]
    suites: dict[str, Suite]
    published: dict[str, Published]

    def framework_of(self, release: str) -> Framework:
        return next(f for f in self.frameworks.values() if release in f.releases)

    def release(self, release: str) -> Release:
        """The release of that id; Mistake, with the nearest id, where there is none."""
        for framework in self.frameworks.values():
            if release in framework.releases:
                return framework.releases[release]
        known = [r for f in self.frameworks.values() for r in f.releases]
        raise Mistake(f"no release {release!r}{nearest(release, known)}; see: python -m runner list")

    def release_ids(self) -> tuple[str, ...]:
        return tuple(r for f in self.frameworks.values() for r in f.releases)

    def cells(self) -> Iterator[Cell]:
        """Every release with every combination of its options."""
        for framework in self.frameworks.values():
            for id_, release in framework.releases.items():
                options = framework.options_of(release)
                for values in product(*([v.value for v in o.values] for o in options.values())):
                    yield cell_of(id_, options, dict(zip(options, values, strict=True)))

    def cell(self, id_: str) -> Cell:
        """The cell of that id; Mistake, with the nearest id, where there is none."""
        cells = {cell.id: cell for cell in self.cells()}
        if id_ not in cells:
            raise Mistake(f"no cell {id_!r}{nearest(id_, cells)}; see: python -m runner list")
        return cells[id_]

    def reason_against(self, cell: Cell, device: Device) -> str | None:
        """Why this cell can never run on this kind of device, or None."""
        framework = self.framework_of(cell.release)
        if reason := next((c.reason for c in framework.cannot if c.applies(cell, device)), None):
            return reason
        for name, value in cell.options.items():
            option = framework.options[name]
            if device not in option.devices and value != option.default.value:
                return f"{name} is a choice on the {' and the '.join(option.devices).upper()} alone"
        if framework.releases[cell.release].stack(device) is None:
            return f"{framework.releases[cell.release].title} has no {device} build here"
        return None

    def options_on(self, cell: Cell, device: Device) -> dict[str, str]:
        """The cell's choices, less those that are none on this kind of device."""
        options = self.framework_of(cell.release).options
        return {name: value for name, value in cell.options.items() if device in options[name].devices}

    def keeps_averages(self, cell: Cell) -> bool:
        """Whether batch norm keeps moving averages in this cell."""
        options = self.framework_of(cell.release).options
        chosen = [options[name].choice(value) for name, value in cell.options.items()]
        return all(value.averages for value in chosen if value)

    def known_fault(self, cell: Cell, device: Device, workload: str) -> str | None:
        """The fault of the framework that is known to give this cell a wrong witness, or None."""
        return next(
            (f.reason for f in self.faults(cell, device) if any(fnmatchcase(workload, w) for w in f.workloads)), None
        )

    def faults(self, cell: Cell, device: Device) -> Iterator[Fault]:
        """The known faults that this cell meets in some workload."""
        return (fault for fault in self.framework_of(cell.release).faults if fault.applies(cell, device))

    def suite(self, name: str) -> Suite:
        if name not in self.suites:
            raise Mistake(f"no suite {name!r}{nearest(name, self.suites)}; the suites are: {', '.join(self.suites)}")
        return self.suites[name]
