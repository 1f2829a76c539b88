"""Every adapter in its real framework, release by release: outputs, losses and first updates against the reference."""

import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache

import pytest
from conformance import NETWORKS, OPTIMIZERS, ask, reference, request

from runner.catalog import read_catalog
from runner.cells import Cell
from runner.engines import NotBuilt, Prepared
from runner.engines.venv import VenvEngine
from runner.expand import suite_entries
from runner.jobs import cell_environment
from runner.paths import checkout_paths
from runner.protocol import Answer, Request
from runner.recipes import recipe_for
from runner.witness import disagreements

# TensorFlow 1.0's Adadelta reads its running average of updates after it has written it: first steps are sqrt(2) too long.
OPTIMIZER_FAULTS = {("tf-1.0", "adadelta")}
TOLERANCE = 1e-4  # relative, float32 against float64
PATHS = checkout_paths()
CATALOG = read_catalog(PATHS)
ENGINE = VenvEngine(PATHS, os.environ)


ASKED = os.environ.get("CONFORMANCE", "")  # globs of releases to hold to everything; empty: what is said below


def releases() -> Iterator[tuple[str, bool]]:
    """The releases to try, and whether with every network: those that a suite times, the first of each adapter in full."""
    timed = {e.cell.release for suite in CATALOG.suites.values() for e in suite_entries(CATALOG, suite)}
    adapters: set[str] = set()
    for id_ in CATALOG.release_ids():
        adapter = CATALOG.release(id_).adapter
        if ASKED and any(fnmatchcase(id_, glob) for glob in ASKED.split()):
            yield id_, True
        elif not ASKED and id_ in timed:
            yield id_, adapter not in adapters and adapter != "theano"  # which compiles a minute for each network
            adapters.add(adapter)


def cells() -> Iterator[tuple[Cell, bool]]:
    """Every CPU cell of these releases; only a release's first cell is tried with every network."""
    for id_, whole in releases():
        for cell in CATALOG.cells():
            if cell.release == id_ and CATALOG.reason_against(cell, "cpu") is None:
                yield cell, whole
                whole = False


def requests(cell: Cell, *, whole: bool) -> Iterator[tuple[str, Request]]:
    """All networks and optimizers, or those that show a release, a layout and a form of batch norm."""
    adapter = CATALOG.release(cell.release).adapter
    for name, network in NETWORKS.items():
        if whole or name in ("vgg", "vgg-bn"):
            yield name, request(adapter, network, cell.options)
    if whole:
        yield "vgg-bn inference", request(adapter, NETWORKS["vgg-bn"], cell.options, mode="inference")
        for name, optimizer in OPTIMIZERS.items():
            yield f"vgg-bn {name} l2", request(adapter, NETWORKS["vgg-bn"], cell.options, optimizer=optimizer, l2=1e-3)


CASES = [pytest.param(c, r, id=f"{c.id} {name}") for c, whole in cells() for name, r in requests(c, whole=whole)]


@cache
def prepared(release: str) -> Prepared | str:
    """The release's environment, or why there is none here."""
    recipe = recipe_for(CATALOG, PATHS, release, "cpu")
    return ENGINE.reason_against(recipe) or ENGINE.prepare(recipe)


@cache
def truth_of(case: str) -> Answer:
    import msgspec

    return reference(msgspec.json.decode(case, type=Request))


def truth(asked: Request) -> Answer:
    """The reference's answer; cells that ask the same share it."""
    import msgspec

    plain = msgspec.structs.replace(asked, adapter="numpy", options={})
    return truth_of(msgspec.json.encode(plain, order="sorted").decode())


@pytest.mark.parametrize(("cell", "asked"), CASES)
def test_an_adapter_computes_what_the_reference_computes(cell: Cell, asked: Request) -> None:
    try:
        place = prepared(cell.release)
    except NotBuilt as reason:
        pytest.fail(f"{cell.release} was not built: {reason}")
    if isinstance(place, str):
        pytest.skip(place)
    found = ask(place.place, asked, cell_environment(CATALOG, PATHS, cell, "cpu"))
    if found.status == "unsupported":
        pytest.skip(f"unsupported: {found.reason}")
    assert found.status == "ok", found.reason
    assert found.witness
    assert found.samples
    differing = disagreements(found.witness, truth(asked).witness or found.witness, TOLERANCE, TOLERANCE)
    if (cell.release, asked.workload.optimizer.kind) in OPTIMIZER_FAULTS:
        assert differing  # or it is mended, and the line above has to go
        return
    if fault := CATALOG.known_fault(cell, "cpu"):
        if not differing:
            pytest.skip(f"not seen on this network: {fault}")
        return  # the witness catches it
    assert not differing
