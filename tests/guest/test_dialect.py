"""Every file of the guest compiles on every Python that a release has: a static check misses what 2.7 refuses."""

import os

import pytest
from checkouts import ROOT

from runner.interpreters import LocalInterpreters
from runner.paths import checkout_paths
from runner.processes import run
from runner.reading import read_catalog

CATALOG = read_catalog(checkout_paths())
INTERPRETERS = LocalInterpreters(os.environ, checkout_paths().pythons)
PYTHONS = sorted({CATALOG.release(id_).python for id_ in CATALOG.release_ids()} - {""})
COMPILE = "import io, sys; [compile(io.open(f, encoding='utf-8').read(), f, 'exec') for f in sys.argv[1:]]"


@pytest.mark.parametrize("version", PYTHONS)
def test_the_guest_compiles_on_every_python_of_a_release(version: str) -> None:
    found = INTERPRETERS.path(version)
    if found is None:
        pytest.skip(f"no Python {version} on this machine; {INTERPRETERS.way_to_get(version)}")
    files = sorted(str(path) for path in (ROOT / "images" / "guest").glob("*.py"))
    assert len(files) > 20
    run([found, "-c", COMPILE, *files], env={}, timeout=60)
