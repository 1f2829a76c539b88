"""What a person gets wrong in matrix/ is one line with file and key; what is right hangs together."""

import re
from collections.abc import Callable

import pytest
from checkouts import ROOT

from runner.catalog import Catalog
from runner.cells import Device
from runner.errors import Mistake
from runner.expand import expand, nearest_runnable, row_label, suite_entries
from runner.locks import SEED, SEED_FILE, TOOLS, tools_file
from runner.paths import Paths, checkout_paths
from runner.reading import read_catalog
from runner.recipes import lock_problems, recipe_for
from runner.references import mathematics, reference_for

SUITE = "matrix/suites/small.toml"
TF = "matrix/frameworks/tensorflow.toml"
GLUON = "matrix/frameworks/gluon.toml"
KNET = "matrix/frameworks/knet.toml"


def edited(paths: Paths, file: str, old: str, new: str) -> None:
    path = paths.root / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        (SUITE, "launches = 2", "lunches = 2", ["small.toml", "profiles", "'lunches'", "perhaps 'launches'"]),
        (SUITE, "batch = 2", 'batch = "2"', ["small.toml: profiles.quick.batch", "int"]),
        (
            SUITE,
            "blocks = 3",
            "block_seconds = 1, warm_up_steps = 0",
            ["small.toml", "quick.sampling", "needs a warm-up"],
        ),
        (SUITE, "launches = 2", "launches = = 2", ["small.toml", "not valid TOML", "line"]),
        (SUITE, 'releases = ["numpy-2"]', 'releases = ["nunpy-*"]', ["small.toml", "'nunpy-*'"]),
        (SUITE, '"nchw"', '"ncwh"', ["small.toml", "layout", "'ncwh'", "perhaps 'nchw'"]),
        (SUITE, "layout =", "layuot =", ["small.toml", "'layuot'", "perhaps 'layout'"]),
        (SUITE, 'workload = "small"', 'workload = "smal"', ["small.toml", "'smal'", "perhaps 'small'"]),
        (TF, 'version = "1.15.0"', 'version = "latest"', [": releases.tf-1.15.version: Expected a version"]),
        (TF, '"tf-1.0"', '"theano-1.0"', ["theano-1.0", "tensorflow.toml", "theano.toml"]),
        (TF, 'releases = ["tf-1.*"]', 'releases = ["tf-9*"]', ["tensorflow.toml", "cannot", "'tf-9*'"]),
        (
            TF,
            'releases = ["tf-2.10"]',
            'releases = ["tf-2.1O"]',
            ["tensorflow.toml", "faults", "'tf-2.1O'", "perhaps 'tf-2.21'"],
        ),
        (TF, 'version = "1.0.0"', 'verison = "1.0.0"', ["tensorflow.toml", "'verison'", "perhaps 'version'"]),
        (GLUON, '"mxnet-1.3"', '"mxnet-13"', ["gluon.toml", "gluon-1.3.stack_of", "'mxnet-13'", "perhaps 'mxnet-1.3'"]),
        (GLUON, '"mxnet-1.3"', '"gluon-1.5"', ["gluon.toml", "gluon-1.3.stack_of", "'gluon-1.5'", "'mxnet-1.5'"]),
        (GLUON, '"mxnet-1.3"', '"mxnet-1.3"\npython = "3.6"', ["gluon.toml", "gluon-1.3", "leave them out"]),
        (GLUON, 'stack_of = "mxnet-1.3"', "", ["gluon.toml", "gluon-1.3", "name its python"]),
        (GLUON, '"mxnet-1.3"', '"mxnet-1.3"\njulia = "1.8"', ["gluon.toml", "gluon-1.3", "leave them out"]),
        (KNET, 'julia = "1.8"', "", ["knet.toml", "knet-1.4", "name its python, its julia"]),
        (KNET, 'julia = "1.8"', 'julia = "1.8"\npython = "3.6"', ["knet.toml", "knet-1.4", "not both"]),
    ],
)
def test_a_mistake_names_file_and_key(paths: Paths, file: str, old: str, new: str, said: list[str]) -> None:
    edited(paths, file, old, new)
    with pytest.raises(Mistake) as mistake:
        read_catalog(paths)
    text = str(mistake.value)
    assert "\n" not in text
    for word in said:
        assert word in text


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda c: c.cell("tf-1.8-ncwh"), "perhaps 'tf-1.8-nchw'"),
        (lambda c: c.release("tf-1.88"), "perhaps 'tf-1.8'"),
        (lambda c: expand(c, ("smal",), (), "quick", "cpu"), "perhaps 'small'"),
        (lambda c: expand(c, (), ("tf-9*",), "quick", "cpu"), "'tf-9*'"),
        (lambda c: expand(c, (), (), "quikc", "cpu"), "perhaps 'quick'"),
    ],
)
def test_a_mistyped_name_is_answered_with_the_nearest(
    catalog: Catalog, ask: Callable[[Catalog], object], said: str
) -> None:
    with pytest.raises(Mistake, match="no ") as mistake:
        ask(catalog)
    assert said in str(mistake.value)


def test_a_suite_expands_in_the_order_of_its_rows(catalog: Catalog) -> None:
    assert [e.cell.id for e in suite_entries(catalog, catalog.suite("small"))] == [
        "numpy-2",
        "tf-1.8-nhwc",
        "tf-1.8-nhwc-fused",
        "tf-1.8-nchw",
        "tf-1.8-nchw-fused",
        "theano-1.0",
        "keras-2.2-theano-1.0",
        "mxnet-1.5",
        "torch-2.13",
    ]


def test_a_row_is_named_after_the_options_that_the_suite_varies(catalog: Catalog) -> None:
    suite = catalog.suite("small")
    labels = {e.cell.id: row_label(catalog, suite, e) for e in suite_entries(catalog, suite)}
    assert labels["tf-1.8-nhwc-fused"] == "TensorFlow 1.8 NHWC fused BN"
    assert labels["theano-1.0"] == "Theano 1.0"


def test_a_row_may_have_a_workload_of_its_own_and_is_named_after_it(paths: Paths) -> None:
    workload = (paths.matrix / "workloads" / "small.toml").read_text()
    (paths.matrix / "workloads" / "plain.toml").write_text('label = "plain"\n' + workload)
    suite = (paths.matrix / "suites" / "small.toml").read_text()
    two = '\n[[rows]]\nworkload = "plain"\nreleases = ["numpy-2"]\n'
    (paths.matrix / "suites" / "small.toml").write_text(suite + two)
    catalog = read_catalog(paths)
    entries = suite_entries(catalog, catalog.suite("small"))
    of_numpy = [e for e in entries if e.cell.id == "numpy-2"]
    assert [e.workload for e in of_numpy] == ["small", "plain"]
    assert [row_label(catalog, catalog.suite("small"), e) for e in of_numpy] == [
        "NumPy 2 (reference)",
        "NumPy 2 (reference) plain",
    ]
    jobs = expand(catalog, ("small",), ("numpy-2",), "quick", "cpu")
    assert [job.workload for job in jobs] == ["small", "plain"]


def test_a_line_is_set_against_the_first_of_its_options_or_releases_or_the_same_cell_in_the_suites_workload(
    paths: Paths,
) -> None:
    workload = (paths.matrix / "workloads" / "small.toml").read_text()
    (paths.matrix / "workloads" / "plain.toml").write_text('label = "plain"\n' + workload)
    rows = """
[[rows]]
against = "options"
releases = ["tf-1.8"]
options = { layout = ["nhwc"], bn = ["unfused", "fused"] }

[[rows]]
against = "releases"
releases = ["mxnet-1.5", "torch-1.0", "mxnet-1.9"]

[[rows]]
against = "workload"
workload = "plain"
releases = ["torch-1.0"]
"""
    suite = (paths.matrix / "suites" / "small.toml").read_text().partition("[[rows]]")[0]
    (paths.matrix / "suites" / "small.toml").write_text(suite + rows)
    catalog = read_catalog(paths)
    assert {(e.cell.id, e.workload): e.base for e in suite_entries(catalog, catalog.suite("small"))} == {
        ("tf-1.8-nhwc", "small"): None,
        ("tf-1.8-nhwc-fused", "small"): ("tf-1.8-nhwc", "small"),
        ("mxnet-1.5", "small"): None,
        ("torch-1.0", "small"): None,
        ("mxnet-1.9", "small"): ("mxnet-1.5", "small"),
        ("torch-1.0", "plain"): ("torch-1.0", "small"),
    }


def test_a_suite_that_trains_needs_data_to_train_on(paths: Paths) -> None:
    edited(paths, SUITE, "launches = 2", "launches = 2\ntraining = { train = 40, test = 20 }")
    with pytest.raises(Mistake, match=r"small.toml: profiles: workload 'small' has no dataset"):
        read_catalog(paths)


def test_what_cannot_run_says_why_and_what_can(catalog: Catalog) -> None:
    cell = catalog.cell("tf-1.8-nchw-fused")
    assert "NHWC" in (catalog.reason_against(cell, "cpu") or "")
    assert nearest_runnable(catalog, cell, "cpu") == "tf-1.8-nhwc-fused"


@pytest.mark.parametrize("name", read_catalog(checkout_paths()).suites)
def test_every_profile_has_the_references_that_prove_its_numbers(name: str) -> None:
    paths = checkout_paths()
    catalog = read_catalog(paths)
    suite = catalog.suites[name]
    for profile, protocol in suite.profiles.items():
        for workload in {entry.workload for entry in suite_entries(catalog, suite, profile)}:
            reference_for(paths, workload, mathematics(workload, catalog.workloads[workload], protocol.batch))


def test_releases_of_one_stack_are_installed_once(catalog: Catalog) -> None:
    gluon, mxnet = (recipe_for(catalog, checkout_paths(), id_, "cpu") for id_ in ("gluon-1.9", "mxnet-1.9"))
    assert (gluon.key, gluon.lock_name) == (mxnet.key, "mxnet-1.9-cpu.txt")
    assert gluon.release.title != mxnet.release.title


def test_what_is_a_choice_on_the_gpu_alone_is_no_part_of_a_cell_on_the_cpu(catalog: Catalog) -> None:
    tuned, untuned = catalog.cell("torch-1.0"), catalog.cell("torch-1.0-untuned")
    assert catalog.reason_against(untuned, "cpu") == "autotune is a choice on the GPU alone"
    assert catalog.reason_against(untuned, "gpu") is None
    assert "autotune" not in catalog.options_on(tuned, "cpu")
    assert catalog.options_on(untuned, "gpu")["autotune"] == "off"


def test_a_lock_must_pin_everything_with_a_hash() -> None:
    assert list(lock_problems("a==1 \\\n    --hash=sha256:00\n")) == []
    assert list(lock_problems("a>=1 --hash=sha256:00\n")) == ["'a>=1' is not a requirement pinned with =="]
    assert list(lock_problems("a==1\n")) == ["'a==1' has no hash"]
    assert list(lock_problems("# nothing\n")) == ["it pins nothing"]


def test_a_damaged_lock_is_one_line_with_the_way_to_mend_it(paths: Paths, catalog: Catalog) -> None:
    (paths.root / "images").unlink()
    paths.locks.mkdir(parents=True)
    with pytest.raises(Mistake, match=r"tf-1.8-cpu.txt is missing; .*runner lock tf-1.8"):
        recipe_for(catalog, paths, "tf-1.8", "cpu")
    (paths.locks / "tf-1.8-cpu.txt").write_text("tensorflow\n")
    with pytest.raises(Mistake, match=r"tf-1.8-cpu.txt: 'tensorflow' is not .*runner lock tf-1.8"):
        recipe_for(catalog, paths, "tf-1.8", "cpu")


class TestTheCommittedCatalogue:
    """What is in matrix/ and images/ fits together."""

    def test_every_release_has_a_lock_an_adapter_and_a_template(self) -> None:
        catalog = read_catalog(checkout_paths())
        for name, framework in catalog.frameworks.items():
            assert (ROOT / "images" / f"{name}.Dockerfile.j2").is_file()
            for id_, release in framework.releases.items():
                assert (ROOT / "images" / "guest" / release.language.adapter_file(release.adapter)).is_file(), id_
                assert release.cpu is None or recipe_for(catalog, checkout_paths(), id_, "cpu").key

    def test_every_python_has_a_lock_of_its_tools_and_no_lock_tells_where_it_was_made(self) -> None:
        locks = checkout_paths().locks
        pins = {tools_file(python): set(tools) for python, tools in TOOLS.items()} | {SEED_FILE: set(SEED)}
        for name, wanted in pins.items():
            text = (locks / name).read_text()
            assert list(lock_problems(text)) == []
            assert wanted <= set(re.findall(r"^\S+==\S+", text, re.MULTILINE))
        for path in locks.glob("*.txt"):
            assert "://" not in path.read_text(), path

    @pytest.mark.parametrize("profile", ["quick", "paper"])
    def test_every_published_number_is_of_a_line_of_its_suite(self, profile: str) -> None:
        catalog = read_catalog(checkout_paths())
        for name, source in catalog.published.items():
            for number in source.numbers:
                suite = catalog.suite(number.suite)
                lines = {(e.cell.id, e.workload) for e in suite_entries(catalog, suite, profile)}
                if name in suite.published_elsewhere:
                    assert source.column
                    continue
                assert number.absent or (number.cell, number.workload or suite.workload) in lines

    def test_a_published_number_stands_beside_the_network_and_the_options_that_it_was_of(self) -> None:
        """Six of the programs for CIFAR-10 pooled before the relu; TensorFlow's had NCHW and Winograd besides."""
        catalog = read_catalog(checkout_paths())
        numbers = {n.label: n for n in catalog.published["rosetta-stone-2017"].numbers if n.suite == "cifar10-cnn"}
        pooled_first = {label for label, number in numbers.items() if number.workload == "cifar10-cnn-pool-first"}
        assert pooled_first == {"MXNet", "Caffe2", "Gluon", "Knet(Julia)", "PyTorch", "Tensorflow"}
        options = {"layout": "nchw", "xla": "off", "bn": "unfused", "winograd": "on"}
        assert catalog.cell(numbers["Tensorflow"].cell).options == options

    @pytest.mark.parametrize(
        ("cell", "device", "runs"),
        [
            ("keras-3-tf", "cpu", True), ("keras-3-tf-xla", "cpu", True), ("keras-3-tf-no-jit", "cpu", False),
            ("keras-3-tf", "gpu", True), ("keras-3-tf-xla", "gpu", False), ("keras-3-tf-no-jit", "gpu", True),
            ("keras-3-jax", "cpu", True), ("keras-3-jax-xla", "cpu", False), ("keras-3-jax-no-jit", "cpu", True),
        ],
    )  # fmt: skip
    def test_what_keras_3_chooses_by_itself_is_one_cell_not_two(self, cell: str, device: Device, runs: bool) -> None:
        catalog = read_catalog(checkout_paths())
        assert (catalog.reason_against(catalog.cell(cell), device) is None) == runs
