"""From records to Markdown: the table against a golden file, and the README's blocks."""

import os
from pathlib import Path

import msgspec
import pytest
from checkouts import ROOT
from records import record

from runner.catalog import Catalog, Number, Published, TrainingRun
from runner.errors import Mistake
from runner.machine import Machine
from runner.paths import Paths, checkout_paths
from runner.protocol import Sample, Trained
from runner.publish import published
from runner.reading import read_catalog
from runner.records import Group
from runner.report import blocks, pages
from runner.stats import estimate
from runner.store import Store

GOLDEN = ROOT / "tests" / "data" / "small.md"


@pytest.fixture
def store(paths: Paths) -> Store:
    store = Store(paths)
    store.write_machine(Machine(id="box", processor="A processor", cores=2, memory_bytes=16 * 2**30, system="Linux"))
    noisy = [Sample(steps=1, seconds=s) for s in (0.01, 0.05, 0.09)]
    store.write(record())
    store.write(record(launch=2, samples=[Sample(steps=2, seconds=0.020)] * 3))
    store.write(record(cell="tf-1.8-nhwc", release="tf-1.8", options={}, samples=noisy))
    store.write(
        record(cell="tf-1.8-nhwc-fused", release="tf-1.8", fate="wrong_witness", reason="loss of step 1 is 2, not 1")
    )
    store.write(record(cell="mxnet-1.5", release="mxnet-1.5", fate="timeout", reason="not done after 60 s", samples=[]))
    store.write(record(cell="theano-1.0", release="theano-1.0", fate="not_built", reason="no | compiler", samples=[]))
    return store


def test_the_page_is_the_golden_one(catalog: Catalog, paths: Paths, store: Store) -> None:
    group = Group(suite="small", machine="box", device="cpu", engine="venv", profile="quick")
    store.write_skips(group, "small", {"numpy-2": "no Python 3.11 on this machine"})
    found = pages(catalog, paths, store)[paths.reports / "small.md"]
    if os.environ.get("GOLDEN") == "write":
        GOLDEN.write_text(found)
    assert found == GOLDEN.read_text()


def test_a_block_of_a_readme_is_replaced_and_the_rest_left(catalog: Catalog, store: Store) -> None:
    text = "before\n<!-- matrix:small -->\nold\n<!-- /matrix:small -->\nafter\n"
    fresh = published(text, blocks(catalog, store), "README.md")
    assert fresh.startswith("before\n<!-- matrix:small -->\n### Small")
    assert fresh.endswith("<!-- /matrix:small -->\nafter\n")
    assert "old" not in fresh
    assert published(fresh, blocks(catalog, store), "README.md") == fresh


def test_an_accuracy_that_is_off_its_peers_is_marked_and_synthetic_data_are_named(
    catalog: Catalog, paths: Paths, store: Store
) -> None:
    for cell, accuracy in (("torch-2.13", 0.91), ("mxnet-1.5", 0.90), ("theano-1.0", 0.60)):
        trained = Trained(steps=20, seconds=1.0, accuracy=accuracy)
        store.write(record(cell=cell, release=cell, training=trained, data="synthetic"))
    text = pages(catalog, paths, store)[paths.reports / "small.md"]
    (header,) = [line for line in text.splitlines() if line.startswith("| Framework")]
    assert "Accuracy" in header
    said = {line.split("`")[1]: line for line in text.splitlines() if line.startswith("| ") and "`" in line}
    assert "91.0 % (synthetic) |" in said["torch-2.13"]
    assert "60.0 % (synthetic) ✗" in said["theano-1.0"]
    assert "%" not in said["tf-1.8-nhwc"]


def test_of_few_samples_the_band_is_three_standard_errors(catalog: Catalog, paths: Paths, store: Store) -> None:
    suite = catalog.suites["small"]
    quick = msgspec.structs.replace(suite.profiles["quick"], training=TrainingRun(train=40, test=100))
    catalog = msgspec.structs.replace(
        catalog, suites={"small": msgspec.structs.replace(suite, profiles={"quick": quick})}
    )
    for cell, accuracy in (("torch-2.13", 0.50), ("mxnet-1.5", 0.64), ("theano-1.0", 0.34)):  # an error of 0.05
        trained = Trained(steps=20, seconds=1.0, accuracy=accuracy)
        store.write(record(cell=cell, release=cell, training=trained, data="mnist"))
    text = pages(catalog, paths, store)[paths.reports / "small.md"]
    assert "64.0 % |" in text
    assert "34.0 % ✗" in text


def test_a_published_row_without_a_cell_is_there_with_its_reason(catalog: Catalog, paths: Paths, store: Store) -> None:
    number = Number(suite="small", label="Knet", absent="no guest in Julia", value=200, unit="images/s", batch=4)
    source = catalog.published["somebody"]
    source = msgspec.structs.replace(source, numbers=(*source.numbers, number))
    catalog = msgspec.structs.replace(catalog, published={"somebody": source})
    text = pages(catalog, paths, store)[paths.reports / "small.md"]
    (line,) = [line for line in text.splitlines() if line.startswith("| Knet")]
    assert "no guest in Julia" in line
    assert "200 images/s" in line


def test_a_time_is_set_against_that_of_its_base_where_both_are_good(paths: Paths, store: Store) -> None:
    suite = paths.matrix / "suites" / "small.toml"
    suite.write_text(suite.read_text().replace('releases = ["tf-1.8"]', 'releases = ["tf-1.8"]\nagainst = "options"'))
    store.write(record(cell="tf-1.8-nchw", release="tf-1.8", samples=[Sample(steps=1, seconds=0.02)] * 3))
    text = pages(read_catalog(paths), paths, store)[paths.reports / "small.md"]
    said = {line.split("`")[1]: line for line in text.splitlines() if line.startswith("| ") and "`" in line}
    assert "0.40 × `tf-1.8-nhwc`" in said["tf-1.8-nchw"]  # 20 ms over 50 ms
    assert "×" not in said["tf-1.8-nhwc"] + said["tf-1.8-nhwc-fused"]  # the base, and a wrong witness


def test_what_others_published_stands_beside_each_other(catalog: Catalog, paths: Paths, store: Store) -> None:
    def source(column: str, *numbers: Number) -> Published:
        return Published(
            title="A page",
            column=column,
            source="somewhere",
            date="2018",
            hardware="a GPU",
            versions="new",
            numbers=numbers,
        )

    torch = Number(suite="small", label="Torch", value=2.5, unit="s/1000 images", batch=4)
    sources = {
        "one": source("V100", Number(suite="small", label="TF", value=80, batch=4), torch),
        "two": source("K80", Number(suite="small", label="TF", value=90, batch=4)),
    }
    suite = msgspec.structs.replace(catalog.suite("small"), published_elsewhere=("one", "two"))
    catalog = msgspec.structs.replace(catalog, published=catalog.published | sources, suites={"small": suite})
    text = pages(catalog, paths, store)[paths.reports / "small.md"]
    lines = [[word.strip() for word in line.strip("|").split("|")] for line in text.splitlines()]
    assert ["Framework", "V100", "K80"] in lines
    assert ["TF", "80.000 ms", "90.000 ms"] in lines
    assert ["Torch", "2.5 s/1000 images", ""] in lines
    assert "- K80: A page (somewhere): a GPU; new." in text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nothing", "no place for a table"),
        ("<!-- matrix:smal -->\n<!-- /matrix:smal -->", "'smal', which has no records; there are: small"),
    ],
)
def test_a_readme_without_a_good_marker_is_a_mistake(catalog: Catalog, store: Store, text: str, said: str) -> None:
    with pytest.raises(Mistake, match=said):
        published(text, blocks(catalog, store), "README.md")


def test_an_estimate_is_the_median_of_all_samples_with_an_interval_around_it() -> None:
    found = estimate([[1.0, 1.1, 1.2], [1.3, 1.4, 1.5]])
    assert found.median == pytest.approx(1.25)
    assert 1.0 <= found.low < 1.25 < found.high <= 1.5
    assert (found.samples, found.launches, found.noisy) == (6, 2, True)
    assert estimate([[1.0, 1.1, 1.2], [1.3, 1.4, 1.5]]) == found


def test_the_committed_pages_and_readme_are_what_the_committed_records_render_to() -> None:
    paths = checkout_paths()
    catalog, store = read_catalog(paths), Store(paths)
    for path, text in pages(catalog, paths, store).items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is stale: make report"
    readme = Path(paths.root / "README.md").read_text(encoding="utf-8")
    assert published(readme, blocks(catalog, store), "README.md") == readme, "README.md is stale: make report"
