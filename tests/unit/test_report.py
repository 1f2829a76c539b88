"""From records to Markdown: the table against a golden file, and the README's blocks."""

import html
import importlib
import operator
import os
import random
import re
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import cmarkgfm
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


def cells(page: str, cell: str) -> dict[str, str]:
    """The row of a cell in a page's first table, by column."""
    rows = [[word.strip() for word in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")]
    return next(dict(zip(rows[0], row, strict=True)) for row in rows if row[1] == f"`{cell}`")


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


def test_a_block_shows_the_fullest_table_however_new_another_is(catalog: Catalog, store: Store) -> None:
    assert "CPU" in blocks(catalog, store)["small"]
    store.write(record(device="gpu", started=datetime(2030, 1, 1, tzinfo=UTC)))
    assert "CPU" in blocks(catalog, store)["small"]


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


def number(**changes: Any) -> Number:
    base = Number(suite="small", cell="torch-2.13", label="PyTorch", value=20, batch=2, device="cpu")
    return msgspec.structs.replace(base, **changes)


def with_numbers(catalog: Catalog, *numbers: Number) -> Catalog:
    source = msgspec.structs.replace(catalog.published["somebody"], numbers=numbers)
    return msgspec.structs.replace(catalog, published={"somebody": source})


def test_a_published_column_says_of_which_device_and_batch_it_is(catalog: Catalog, paths: Paths, store: Store) -> None:
    catalog = with_numbers(
        catalog,
        number(),
        number(device="gpu", batch=16, value=3),
        number(device="gpu", batch=16, value=4, cell="mxnet-1.5"),
    )
    row = cells(pages(catalog, paths, store)[paths.reports / "small.md"], "torch-2.13")
    assert [column for column in row if column.startswith("Published")] == [
        "Published (CPU, batch 2)",
        "Published (GPU, batch 16)",
    ]
    assert (row["Published (CPU, batch 2)"], row["Published (GPU, batch 16)"]) == ("20.000 ms", "3.000 ms")


def test_where_batches_differ_each_published_number_says_its_own(catalog: Catalog, paths: Paths, store: Store) -> None:
    catalog = with_numbers(catalog, number(device="gpu", batch=1), number(device="gpu", batch=16, cell="mxnet-1.5"))
    text = pages(catalog, paths, store)[paths.reports / "small.md"]
    assert cells(text, "torch-2.13")["Published (GPU)"] == "20.000 ms (batch 1)"
    assert cells(text, "mxnet-1.5")["Published (GPU)"] == "20.000 ms (batch 16)"


@pytest.mark.parametrize(("device", "batch", "ratio"), [("cpu", 2, "0.50"), ("gpu", 2, None), ("cpu", 4, None)])
def test_a_ratio_is_of_one_kind_of_device_and_one_batch_only(
    catalog: Catalog, paths: Paths, store: Store, device: str, batch: int, ratio: str | None
) -> None:
    other = number(cell="mxnet-1.5")  # it has no time
    text = pages(with_numbers(catalog, other, number(device=device, batch=batch)), paths, store)[
        paths.reports / "small.md"
    ]
    assert cells(text, "torch-2.13").get("Ratio to published") == ratio
    assert ("Ratio to published: our time over the published time" in text) == (ratio is not None)


def test_both_columns_of_resnet_50_as_published_are_seen() -> None:
    text = (ROOT / "reports" / "resnet50-features.md").read_text()
    heading = next(line for line in text.splitlines() if line.startswith("| Framework"))
    columns = [word.strip() for word in heading.strip("|").split("|")]
    rows = [line.strip("|").split("|") for line in text.splitlines() if "images/s" in line and line.startswith("|")]
    gpu, cpu = (columns.index(f"Published ({device}, batch 32)") for device in ("GPU", "CPU"))
    assert {row[gpu].strip() for row in rows} == {f"{n} images/s" for n in (155, 129, 130, 117, 107, 98, 71, 46)}
    assert {row[cpu].strip() for row in rows} == {f"{n} images/s" for n in (11, 25, 8, 6, 3, 5, 4)}


@pytest.mark.parametrize(("key", "value"), [("value", "0"), ("value", "nan"), ("batch", "0")])
def test_a_published_number_of_nothing_is_a_mistake(paths: Paths, key: str, value: str) -> None:
    file = paths.matrix / "published" / "somebody.toml"
    file.write_text(re.sub(rf"^{key} = .*", f"{key} = {value}", file.read_text(), flags=re.MULTILINE))
    with pytest.raises(Mistake, match=rf"somebody.toml: numbers.*{key}"):
        read_catalog(paths)


def test_a_published_row_of_two_devices_without_a_cell_is_one_row(catalog: Catalog, paths: Paths, store: Store) -> None:
    knet = number(cell="", label="Knet", absent="no guest in Julia", unit="images/s", value=160, batch=32, device="gpu")
    text = pages(with_numbers(catalog, knet, msgspec.structs.replace(knet, value=2, device="cpu")), paths, store)
    (line,) = [line for line in text[paths.reports / "small.md"].splitlines() if line.startswith("| Knet")]
    assert "160 images/s" in line
    assert " 2 images/s" in line


HOSTILE = (
    "a | b\n| c | d |\n\n# heading <script>alert(1)</script> [x](javascript:alert(1)) ![y](https://evil.example/z.png) "
    "https://evil.example www.evil.example <!-- /matrix:small --> \x1b[31m\u202e`code` **bold** ~~gone~~"
)
SHOWN = (
    "a | b | c | d | # heading <script>alert(1)</script> [x](javascript:alert(1)) ![y](https://evil.example/z.png) "
    "https://evil.example www.evil.example <!-- /matrix:small --> `code` **bold** ~~gone~~"
)


@pytest.fixture
def hostile(catalog: Catalog, paths: Paths) -> tuple[Catalog, Store]:
    """A catalogue and records that are hostile wherever a text of theirs is shown."""
    store = Store(paths)
    machine = Machine(id="box", processor=HOSTILE, cores=2, memory_bytes=2**34, system=HOSTILE, gpus=[HOSTILE])
    store.write_machine(machine)
    trained = Trained(steps=20, seconds=1.0, accuracy=0.5)
    store.write(record(form=HOSTILE, data=HOSTILE, training=trained))
    store.write(record(cell="mxnet-1.5", release="mxnet-1.5", fate="crashed", reason=HOSTILE, samples=[]))
    group = Group(suite="small", machine="box", device="cpu", engine="venv", profile="quick")
    store.write_skips(group, "small", {"numpy-2": HOSTILE})
    suite = catalog.suites["small"]
    quick = msgspec.structs.replace(suite.profiles["quick"], about=HOSTILE)
    suite = msgspec.structs.replace(
        suite, title=HOSTILE, about=HOSTILE, notes=(HOSTILE,), throughput=HOSTILE, profiles={"quick": quick},
        published_elsewhere=("somebody",),
    )  # fmt: skip
    source = msgspec.structs.replace(
        catalog.published["somebody"], title=HOSTILE, column=HOSTILE, source=HOSTILE, hardware=HOSTILE, versions=HOSTILE,
        numbers=(number(label=HOSTILE, cell="", absent=HOSTILE, columns={HOSTILE: HOSTILE}),),
    )  # fmt: skip
    return msgspec.structs.replace(catalog, suites={"small": suite}, published={"somebody": source}), store


def test_no_text_from_outside_is_more_than_words_on_a_page(hostile: tuple[Catalog, Store], paths: Paths) -> None:
    catalog, store = hostile
    page = pages(catalog, paths, store)[paths.reports / "small.md"]
    rendered = cmarkgfm.github_flavored_markdown_to_html(page)
    ours = {"h1", "h2", "p", "table", "thead", "tbody", "tr", "th", "td", "code", "ol", "ul", "li"}
    assert {tag.split()[0] for tag in re.findall(r"<([^/>][^>]*)>", rendered)} == ours
    assert not set("\x1b\u202e") & set(page)
    table = rendered.split("</table>")[0]
    columns = table.count("<th ")
    assert table.count("<td ") == columns * (table.count("<tr>") - 1)
    seen = " ".join(html.unescape(re.sub(r"<[^>]*>", "", rendered)).replace("\u2060", "").split())
    assert seen.count(SHOWN) > 20


def test_publishing_twice_gives_the_same_file(hostile: tuple[Catalog, Store]) -> None:
    catalog, store = hostile
    text = "before\n<!-- matrix:small -->\nold\n<!-- /matrix:small -->\nafter\n"
    fresh = published(text, blocks(catalog, store), "README.md")
    assert fresh.count("<!--") == 2
    assert published(fresh, blocks(catalog, store), "README.md") == fresh


def test_a_marker_within_a_line_is_no_marker(catalog: Catalog, store: Store) -> None:
    text = "<!-- matrix:small -->\nwrite <!-- /matrix:small -->\nbehind it\n<!-- /matrix:small -->\n"
    assert "behind it" not in published(text, blocks(catalog, store), "README.md")
    with pytest.raises(Mistake, match="no place for a table"):
        published("write <!-- matrix:small -->\n<!-- /matrix:small -->\n", blocks(catalog, store), "README.md")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"suite": "gone", "workload": "gone"}, "no suite is named 'gone' any more"),
        ({"profile": "gone"}, "suite 'small' has no profile 'gone' any more"),
        ({"workload": "gone"}, "suite 'small' does not time 'gone' any more"),
        ({"cell": "gone-1.0"}, "no cell is named 'gone-1.0' any more"),
    ],
)
def test_a_record_that_the_catalogue_no_longer_has_is_left_out_and_named(
    catalog: Catalog, paths: Paths, store: Store, changes: dict[str, str], said: str
) -> None:
    before = pages(catalog, paths, store)
    path = store.write(record(launch=3, **changes))
    lines: list[str] = []
    assert pages(catalog, paths, Store(paths, lines.append)) == before
    assert lines == [f"{paths.shown(path)} is left out: {said}; delete it, or bring that back"]
    assert path.is_file()


def test_a_suite_that_now_times_another_workload_has_no_table_until_it_runs(paths: Paths, store: Store) -> None:
    folder = paths.matrix / "workloads"
    (folder / "other.toml").write_text((folder / "small.toml").read_text())
    suite = paths.matrix / "suites" / "small.toml"
    suite.write_text(suite.read_text().replace('workload = "small"', 'workload = "other"'))
    assert pages(read_catalog(paths), paths, store) == {}
    assert len(store.left_out) == 6


def test_a_suite_without_rows_in_a_profile_has_an_empty_table(paths: Paths, store: Store) -> None:
    suite = paths.matrix / "suites" / "small.toml"
    text = suite.read_text().replace("[[rows]]", '[[rows]]\nprofiles = ["paper"]')
    quick = text[text.index("[profiles.quick]") : text.index("[[rows]]")]
    suite.write_text(text.replace("[[rows]]", quick.replace("quick", "paper") + "[[rows]]", 1))
    assert "Measured 2026-11-21" in pages(read_catalog(paths), paths, store)[paths.reports / "small.md"]


def test_one_record_of_another_batch_does_not_empty_a_table(catalog: Catalog, paths: Paths, store: Store) -> None:
    store.write(record(cell="keras-2.2-theano-1.0", release="keras-2.2-theano-1.0", batch=3))
    text = pages(catalog, paths, store)[paths.reports / "small.md"]
    assert "Small, CPU, batch 2, venv" in text
    assert cells(text, "torch-2.13")["Time"] == "10.0 ms"


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
    launches = [[1.0, 1.1, 1.2], [1.3, 1.4, 1.5], [1.2, 1.3]]
    found = estimate(launches)
    assert found.median == pytest.approx(1.25)
    assert found.interval is not None
    low, high = found.interval
    assert 1.0 <= low < 1.25 < high <= 1.5
    assert (found.samples, found.launches, found.noisy) == (8, 3, True)
    assert estimate(launches) == found


def test_the_interval_is_that_of_resampling_launch_by_launch_and_sample_by_sample() -> None:
    draw = random.Random(3)
    launches = [
        [1 + shift + draw.gauss(0, 0.02) for _ in range(count)] for shift, count in ((0, 9), (0.1, 5), (0.2, 7))
    ]
    medians = []
    for _ in range(20000):
        chosen = draw.choices(launches, k=3)
        medians.append(median(sample for launch in chosen for sample in draw.choices(launch, k=len(launch))))
    medians.sort()
    found = estimate(launches).interval
    assert found == pytest.approx((medians[500], medians[19500]), abs=0.015)


@pytest.mark.parametrize("launches", [1, 2, 3])
def test_fewer_than_three_launches_give_no_interval_and_the_page_says_so(
    catalog: Catalog, paths: Paths, launches: int
) -> None:
    store = Store(paths)
    for launch in range(1, launches + 1):
        store.write(record(launch=launch))
    text = pages(catalog, paths, store)[paths.reports / "small.md"]
    assert cells(text, "torch-2.13")["95 % interval"] == ("10.0 – 11.0 ms" if launches == 3 else "")
    assert "three launches or more give an interval." in text


def test_a_report_does_each_part_of_its_work_once(
    catalog: Catalog, paths: Paths, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: Counter[str] = Counter()

    def counted(module: str, name: str) -> None:
        target, attribute = f"runner.{module}", name
        before = operator.attrgetter(attribute)(importlib.import_module(target))
        monkeypatch.setattr(f"{target}.{attribute}", lambda *a, **k: (done.update([name]), before(*a, **k))[1])

    for module, name in (
        ("tables", "estimate"),
        ("stats", "interval"),
        ("tables", "suite_entries"),
        ("store", "decoded"),
    ):
        counted(module, name)
    pages(catalog, paths, store)
    files = len(list(paths.results.rglob("*.json")))
    # Three cells have times, of two launches at most; the suite has one table.
    assert done == {"estimate": 3, "suite_entries": 1, "decoded": files}


def test_the_committed_pages_and_readme_are_what_the_committed_records_render_to() -> None:
    paths = checkout_paths()
    catalog, store = read_catalog(paths), Store(paths)
    for path, text in pages(catalog, paths, store).items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is stale: make report"
    readme = Path(paths.root / "README.md").read_text(encoding="utf-8")
    assert published(readme, blocks(catalog, store), "README.md") == readme, "README.md is stale: make report"
