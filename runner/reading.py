"""Reads `matrix/` and checks that its files hang together: the first thing that is wrong, with its file and key."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from math import prod
from pathlib import Path
from typing import TypeVar

import msgspec

from runner.catalog import Cannot, Catalog, Framework, Published, Release, Suite, Workload
from runner.cells import NAME, NAME_IN_WORDS, Cell
from runner.errors import Mistake, nearest
from runner.fields import NAME_LENGTH
from runner.networks import NETWORKS
from runner.paths import Paths
from runner.protocol import Images
from runner.toml import read_toml

Kind = TypeVar("Kind")

CELLS = 256  # of one release
CELL_LENGTH = 120


def read_catalog(paths: Paths) -> Catalog:
    """Read and check `matrix/`.

    Raises:
        Mistake: for the first thing that is wrong, with file and key.
    """
    frameworks = _with_shared_stacks(_read_folder(paths, "frameworks", Framework))
    catalog = Catalog(
        frameworks=frameworks,
        workloads=_read_folder(paths, "workloads", Workload),
        suites=_read_folder(paths, "suites", Suite),
        published=_read_folder(paths, "published", Published),
    )
    _check_frameworks(catalog)
    _check_cells(catalog)
    _check_adapters(catalog, paths)
    _check_workloads(catalog)
    _check_suites(catalog)
    _check_published(catalog)
    return catalog


def _with_shared_stacks(frameworks: dict[str, Framework]) -> dict[str, Framework]:
    """The same, where each release that names another's stack has that one's language, CPU and GPU sections."""
    releases = {id_: release for framework in frameworks.values() for id_, release in framework.releases.items()}

    def whole(file: str, id_: str, release: Release) -> Release:
        where = f"matrix/frameworks/{file}.toml: releases.{id_}"
        if not release.stack_of:
            if not release.language_version:
                raise Mistake(f"{where}: name its python, its julia, or another release in stack_of")
            if release.python and release.julia:
                raise Mistake(f"{where}: it has a python or a julia, not both")
            return release
        if release.language_version or release.cpu or release.gpu:
            raise Mistake(f"{where}: python, julia, cpu and gpu are those of {release.stack_of!r}; leave them out")
        _known(release.stack_of, releases, f"{where}.stack_of: no release")
        owner = releases[release.stack_of]
        if owner.stack_of:
            raise Mistake(f"{where}.stack_of: {release.stack_of!r} has no stack of its own; name {owner.stack_of!r}")
        return msgspec.structs.replace(release, python=owner.python, julia=owner.julia, cpu=owner.cpu, gpu=owner.gpu)

    return {
        file: msgspec.structs.replace(f, releases={id_: whole(file, id_, r) for id_, r in f.releases.items()})
        for file, f in frameworks.items()
    }


def _read_folder(paths: Paths, folder: str, kind: type[Kind]) -> dict[str, Kind]:
    files: list[Path] = sorted((paths.matrix / folder).glob("*.toml"), key=lambda path: path.stem)
    for path in files:
        if not NAME.fullmatch(path.stem) or len(path.stem) > NAME_LENGTH:
            raise Mistake(f"matrix/{folder}: {path.name!r} is not {NAME_IN_WORDS}; rename the file")
    return {path.stem: read_toml(path, kind, paths.shown(path)) for path in files}


def _check_frameworks(catalog: Catalog) -> None:
    seen: dict[str, str] = {}
    for file, framework in catalog.frameworks.items():
        for id_, release in framework.releases.items():
            if id_ in seen:
                raise Mistake(f"matrix/frameworks/{file}.toml: release {id_!r} is also in {seen[id_]}; rename one")
            seen[id_] = f"matrix/frameworks/{file}.toml"
            for option in release.options or ():
                _known(option, framework.options, f"matrix/frameworks/{file}.toml: releases.{id_}.options: no option")
        for key, rows in (("cannot", framework.cannot), ("faults", framework.faults)):
            for row in rows:
                _check_row(framework, row, f"matrix/frameworks/{file}.toml: {key}: ")


def _check_cells(catalog: Catalog) -> None:
    """That there are not too many, and that each has an id of its own."""
    for file, framework in catalog.frameworks.items():
        for id_, release in framework.releases.items():
            count = prod(len(option.values) for option in framework.options_of(release).values())
            if count > CELLS:
                raise Mistake(
                    f"matrix/frameworks/{file}.toml: releases.{id_}: its options make {count} cells, and {CELLS} are enough"
                )
    cells: dict[str, Cell] = {}
    for cell in catalog.cells():
        if len(cell.id) > CELL_LENGTH:
            raise Mistake(f"the cell {cell.id!r} has an id of more than {CELL_LENGTH} characters; shorten its suffixes")
        if cell.id in cells:
            raise Mistake(f"two cells have the id {cell.id!r}; give their option values different suffixes")
        cells[cell.id] = cell


def _check_row(framework: Framework, row: Cannot, where: str) -> None:
    """Of what cannot be done or goes wrong: that it speaks of something."""
    for glob in row.releases:
        _matching(glob, framework.releases, where + "no release")
    for name, values in row.options.items():
        _known(name, framework.options, where + "no option")
        for value in values:
            _known(value, [v.value for v in framework.options[name].values], where + f"option {name} has no value")


def _check_adapters(catalog: Catalog, paths: Paths) -> None:
    for file, framework in catalog.frameworks.items():
        for id_, release in framework.releases.items():
            adapter = paths.guest / release.language.adapter_file(release.adapter)
            if not adapter.is_file():
                raise Mistake(
                    f"matrix/frameworks/{file}.toml: releases.{id_}.adapter: there is no {paths.shown(adapter)}"
                )


def _check_workloads(catalog: Catalog) -> None:
    for name, workload in catalog.workloads.items():
        file = f"matrix/workloads/{name}.toml"
        _known(workload.network, NETWORKS, f"{file}: network: no network")
        if isinstance(workload.data, Images) and workload.data.low >= workload.data.high:
            raise Mistake(f"{file}: data: low is {workload.data.low}, which is not below high, {workload.data.high}")


def _check_suites(catalog: Catalog) -> None:
    options = {n: o for f in catalog.frameworks.values() for n, o in f.options.items()}
    for name, suite in catalog.suites.items():
        file = f"matrix/suites/{name}.toml"
        trains = any(profile.training for profile in suite.profiles.values())
        for workload in suite.workloads:
            _known(workload, catalog.workloads, f"{file}: workload: no workload")
            if trains and not catalog.workloads[workload].dataset:
                raise Mistake(f"{file}: profiles: workload {workload!r} has no dataset to train on")
        for key, sampling in ((key, profile.sampling) for key, profile in suite.profiles.items()):
            if sampling.block_seconds and not (sampling.warm_up_steps or sampling.warm_up_seconds):
                raise Mistake(
                    f"{file}: profiles.{key}.sampling: block_seconds needs a warm-up that tells how long a step is"
                )
        for field, sources in (("published", [suite.published]), ("published_elsewhere", suite.published_elsewhere)):
            for source in filter(None, sources):
                _known(source, catalog.published, f"{file}: {field}: no source")
        for row in suite.rows:
            for profile in row.profiles:
                _known(profile, suite.profiles, f"{file}: rows: no profile")
            for glob in row.releases:
                _matching(glob, catalog.release_ids(), f"{file}: rows: no release")
            for option, values in row.options.items():
                _known(option, options, f"{file}: rows: no option")
                if len(values) != len(set(values)):
                    raise Mistake(f"{file}: rows: option {option} names a value twice")
                offered = {
                    v.value
                    for f in catalog.frameworks.values()
                    if option in f.options
                    for v in f.options[option].values
                }
                for value in values:
                    _known(value, offered, f"{file}: rows: option {option} has no value")


def _check_published(catalog: Catalog) -> None:
    cells = {cell.id for cell in catalog.cells()}
    for name, source in catalog.published.items():
        file = f"matrix/published/{name}.toml"
        for number in source.numbers:
            _known(number.suite, catalog.suites, f"{file}: numbers: suite: no suite")
            if number.workload:
                _known(number.workload, catalog.workloads, f"{file}: numbers: workload: no workload")
            if number.cell and number.cell not in cells:
                raise Mistake(f"{file}: numbers: cell: no cell {number.cell!r}{nearest(number.cell, cells)}")


def _known(word: str, words: Iterable[str], what: str) -> None:
    names = tuple(words)
    if word not in names:
        raise Mistake(f"{what} {word!r}{nearest(word, names)}; there are: {', '.join(names)}")


def _matching(glob: str, words: Iterable[str], what: str) -> None:
    names = tuple(words)
    if not any(fnmatchcase(name, glob) for name in names):
        raise Mistake(f"{what} matches {glob!r}{nearest(glob, names)}")
