"""Every adapter in its real framework, release by release: outputs, losses and first updates against the reference."""

import os
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache

import pytest
from conformance import NETWORKS, OPTIMIZERS, Crashed, as_trained, ask, differences, reference, request

from runner.cells import Cell
from runner.engines import NotBuilt, Prepared
from runner.engines.venv import VenvEngine
from runner.expand import suite_entries
from runner.jobs import cell_environment
from runner.paths import checkout_paths
from runner.protocol import Request
from runner.pythons import is_to_fetch
from runner.reading import read_catalog
from runner.recipes import recipe_for
from runner.references import Reference, with_still_averages

# What frameworks are known to compute wrong (docs/method.md): cells, and the network or optimizer that shows it.
WRONG = (
    ("tf-1.0-*", "adadelta"),
    ("tf-1.4-*", "adadelta"),
    ("mxnet-1.0", "pools"),
    ("mxnet-1.3", "pools"),
    ("theano-0.8", "adam"),
    # Adam makes a full step of the rounding noise that is the gradient of a bias before batch norm. That moves nothing but the
    # means that Keras on CNTK takes from a pass behind the update.
    ("keras-2.?-cntk-*", "adam"),
    ("tf-2.10-nhwc-eager", "residual"),
    ("keras-3-tf-nchw*", "strides"),
    ("keras-3-tf-nchw*", "pools"),
)
# What a framework does not have, and its adapter says so.
UNSUPPORTED = (
    ("chainer-*", "gru-reset-before"),
    ("gluon-*", "gru-reset-before"),
    ("keras-1.*", "gru"),
    ("keras-2.0-*", "gru"),
    ("lasagne-*", "gru"),
    ("lasagne-*", "gru-reset-before"),
    ("mxnet-*", "gru-reset-before"),
    ("onnx-mxnet-*", "gru"),
    ("onnx-mxnet-*", "gru-reset-before"),
    ("tf-as-keras-*", "gru"),
    ("tf-as-keras-*", "gru-reset-before"),
    ("torch-*", "gru-reset-before"),
)
# What corrupts its memory: most times it crashes, and what it says where it does not proves nothing.
CORRUPTING = (
    ("tf-2.15-nhwc", "residual"),
    ("tf-2.15-nhwc-eager", "residual"),
    ("tf-2.21-nhwc", "residual"),
    ("tf-2.21-nhwc-eager", "residual"),
    ("keras-3-tf", "residual"),
    ("keras-3-torch-channels-last", "residual"),
    ("torch-1.13-channels-last", "residual"),
    ("torch-2.13-channels-last*", "residual"),
    ("torch-2.13-compile", "residual"),
)
PATHS = checkout_paths()
CATALOG = read_catalog(PATHS)
ENGINE = VenvEngine(PATHS, os.environ)


ASKED = os.environ.get("CONFORMANCE", "")  # globs of releases to hold to everything; empty: what is said below


SLOW = ("theano", "lasagne")  # which compile a minute for each network


def releases() -> Iterator[tuple[str, bool]]:
    """The releases to try, and whether with every network: what `make matrix` times, and one of each adapter in full."""
    if ASKED:
        yield from ((i, True) for i in CATALOG.release_ids() if any(fnmatchcase(i, glob) for glob in ASKED.split()))
        return
    suites = [suite for suite in CATALOG.suites.values() if not suite.by_name_only]
    timed = {e.cell.release for suite in suites for e in suite_entries(CATALOG, suite)}
    full: dict[str, str] = {}
    for id_ in sorted(CATALOG.release_ids(), key=lambda id_: id_ not in timed):
        full.setdefault(CATALOG.release(id_).adapter, id_)
    for id_ in CATALOG.release_ids():
        adapter = CATALOG.release(id_).adapter
        if id_ in timed or id_ == full[adapter]:
            yield id_, id_ == full[adapter] and adapter not in SLOW


def cells() -> Iterator[tuple[Cell, bool]]:
    """Every CPU cell of these releases; of those not asked for, only the first cell is tried with every network."""
    for id_, whole in releases():
        for cell in CATALOG.cells():
            if cell.release == id_ and CATALOG.reason_against(cell, "cpu") is None:
                yield cell, whole
                whole = whole and bool(ASKED)


def requests(cell: Cell, *, whole: bool) -> Iterator[tuple[str, Request]]:
    """All networks and optimizers, or those that show a release, a layout and a form of batch norm."""
    adapter = CATALOG.release(cell.release).adapter
    inference_only = adapter == "onnx"
    for name, network in NETWORKS.items():
        if whole or name in ("vgg", "vgg-bn"):
            if inference_only:
                yield name, request(adapter, as_trained(network), cell.options, mode="inference")
            else:
                yield name, request(adapter, network, cell.options)
    if whole and not inference_only and adapter != "tensorflow1_as_keras":  # which trains images without L2 alone
        yield "vgg-bn inference", request(adapter, as_trained(NETWORKS["vgg-bn"]), cell.options, mode="inference")
        for name, optimizer in OPTIMIZERS.items():
            yield f"vgg-bn {name} l2", request(adapter, NETWORKS["vgg-bn"], cell.options, optimizer=optimizer, l2=1e-3)


CASES = [pytest.param(c, r, id=f"{c.id} {name}") for c, whole in cells() for name, r in requests(c, whole=whole)]


def among(faults: tuple[tuple[str, str], ...], cell: Cell, asked: Request) -> bool:
    shown = (asked.workload.name, asked.workload.optimizer.kind)
    return any(fnmatchcase(cell.id, glob) and what in shown for glob, what in faults)


@cache
def prepared(release: str) -> Prepared | str:
    """The release's environment, or why there is none here."""
    recipe = recipe_for(CATALOG, PATHS, release, "cpu")
    if recipe.release.python and is_to_fetch(ENGINE.interpreters, recipe.release.python):
        ENGINE.interpreters.fetch(recipe.release.python)
    return ENGINE.reason_against(recipe) or ENGINE.prepare(recipe)


@cache
def truth_of(case: str) -> Reference:
    import msgspec

    return reference(msgspec.json.decode(case, type=Request))


def truth(cell: Cell, asked: Request) -> Reference:
    """What the cell is held against; cells that ask the same share the reference."""
    import msgspec

    plain = msgspec.structs.replace(asked, adapter="numpy", options={})
    found = truth_of(msgspec.json.encode(plain, order="sorted").decode())
    return found if CATALOG.keeps_averages(cell) else with_still_averages(found)


@pytest.mark.parametrize(("cell", "asked"), CASES)
def test_an_adapter_computes_what_the_reference_computes(cell: Cell, asked: Request) -> None:
    try:
        place = prepared(cell.release)
    except NotBuilt as reason:
        pytest.fail(f"{cell.release} was not built: {reason}")
    if isinstance(place, str):
        pytest.skip(place)
    try:
        found = ask(place.place, asked, cell_environment(CATALOG, PATHS, cell, "cpu"))
    except Crashed:
        if among(CORRUPTING, cell, asked):
            return
        raise
    if among(CORRUPTING, cell, asked):
        pytest.skip("this time it did not die of the memory that it corrupts")
    if found.status == "unsupported" and ASKED:
        pytest.skip(f"unsupported: {found.reason}")
    assert (found.status == "unsupported") == among(UNSUPPORTED, cell, asked), found.reason
    if found.status == "unsupported":
        return
    assert found.status == "ok", found.reason
    assert found.samples
    differing = differences(found, truth(cell, asked))
    if among(WRONG, cell, asked):
        assert differing  # or it is mended, and the line above has to go
        return
    if (
        CATALOG.known_fault(cell, "cpu", asked.workload.name) is None
    ):  # which comes and goes, and the witness catches it
        assert not differing


# A model that was told nothing of compiling.
KERAS_ALONE = """
import keras
model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
print(model.jit_compile)
"""


@pytest.mark.parametrize("release", [id_ for id_, _ in releases() if CATALOG.release(id_).adapter == "keras3"])
def test_keras_3_is_compiled_as_keras_compiles_by_itself(release: str) -> None:
    place = prepared(release)
    if isinstance(place, str):
        pytest.skip(place)
    cell = CATALOG.cell(release)
    environment = cell_environment(CATALOG, PATHS, cell, "cpu")
    alone = subprocess.run(
        [place.place, "-c", KERAS_ALONE], env={"PATH": os.environ["PATH"]} | environment, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    found = ask(place.place, request("keras3", NETWORKS["vgg"], cell.options), environment)
    assert str(found.facts["framework"]["jit_compile"]) == alone.stdout.strip()
