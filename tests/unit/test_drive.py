"""A whole run over a fake engine: what runs, what is kept, what fails alone, what an interrupt leaves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from checkouts import REFERENCE
from searches import Only311

from runner import datasets
from runner.catalog import Catalog, Rows, TrainingRun
from runner.datasets import Samples, Size
from runner.drive import Choice, drive
from runner.engines import Exit, Launch, NotBuilt, Prepared
from runner.errors import Mistake
from runner.events import Event
from runner.interpreters import Interpreters
from runner.jobs import SAMPLES_SEEN, Work, cell_environment, progress_of
from runner.machine import Machine
from runner.paths import Paths
from runner.protocol import GUEST_SCHEMA, Answer, Change, Request, Sample, SampleEvent, Trained, WarmUp, Witness
from runner.recipes import Recipe
from runner.references import Reference
from runner.store import Store
from runner.witness import Verdict, verdict_on

KEPT = msgspec.json.decode(REFERENCE.read_bytes(), type=Reference)
TRUTH = msgspec.structs.replace(KEPT.witness, averages=KEPT.averages[""])
GOOD = Answer(
    schema=GUEST_SCHEMA,
    status="ok",
    witness=TRUTH,
    warm_up=WarmUp(steps=1, seconds=0.5),
    samples=[Sample(steps=1, seconds=0.5)] * 3,
)
Act = Callable[[Path], Exit]


def answering(answer: Answer | bytes) -> Act:
    def act(folder: Path) -> Exit:
        content = answer if isinstance(answer, bytes) else msgspec.json.encode(answer)
        (folder / "answer.json").write_bytes(content)
        return Exit(code=0, timed_out=False, seconds=4.0)

    return act


def ending(log: str = "", **exit_: object) -> Act:
    def act(folder: Path) -> Exit:
        (folder.parent / "guest.log").write_text(f"+ python guest\n{log}")
        return msgspec.convert({"code": 0, "timed_out": False, "seconds": 1.0} | exit_, Exit)

    return act


def interrupt(folder: Path) -> Exit:
    raise KeyboardInterrupt


class FakeEngine:
    """Does what a test says for a cell; a good answer for the others."""

    name = "venv"

    def __init__(
        self, acts: dict[str, Act], unbuildable: tuple[str, ...] = (), interpreters: Interpreters | None = None
    ) -> None:
        self.acts = acts
        self.interpreters = interpreters
        self.unbuildable = unbuildable
        self.ran: list[str] = []

    def reason_against(self, recipe: Recipe) -> str | None:
        if self.interpreters and (missing := self.interpreters.missing(recipe.release.python)):
            return f"needs {missing}"
        return "no Python 3.11 on this machine" if recipe.release_id == "numpy-2" else None

    def key(self, recipe: Recipe) -> str:
        return recipe.key

    def prepare(self, recipe: Recipe) -> Prepared:
        if recipe.release_id in self.unbuildable:
            raise NotBuilt(f"no matching distribution (log: {Path.home()}/log)")
        return Prepared(recipe=recipe, place="python", key=recipe.key)

    def run(self, prepared: Prepared, launch: Launch) -> Exit:
        request = msgspec.json.decode((launch.folder / "request.json").read_bytes(), type=Request)
        self.ran.append(request.cell)
        launch.log.write_text("")
        launch.on_event(SampleEvent(steps=2, seconds=0.9))
        trained = Trained(steps=20, seconds=1.0, accuracy=0.5) if request.training else None
        good = msgspec.structs.replace(GOOD, training=trained)
        return self.acts.get(request.cell, answering(good))(launch.folder)


MACHINE = Machine(id="box", processor="P", cores=2, memory_bytes=2**34, system="S")
ALL = Choice(suites=(), globs=(), device="cpu", profile="quick", launches=None, dry_run=False, again=False)
ABLE = ["tf-1.8-nhwc", "tf-1.8-nhwc-fused", "theano-1.0", "keras-2.2-theano-1.0", "mxnet-1.5", "torch-2.13"]


class Runs:
    """drive() with a fake engine, its lines kept."""

    def __init__(self, catalog: Catalog, paths: Paths) -> None:
        self.catalog, self.paths, self.lines = catalog, paths, list[str]()
        self.data: Any = "synthetic"
        self.interpreters: Interpreters | None = None

    def __call__(self, engine: FakeEngine, choice: Choice = ALL) -> list[str]:
        def make_work(recipes: list[Recipe], tell: object) -> Work:
            return Work(
                catalog=self.catalog,
                paths=self.paths,
                store=Store(self.paths),
                engine=engine,
                machine=MACHINE,
                threads=2,
                data=self.data,
                tell=tell,
                interpreters=self.interpreters,
            )

        self.lines.clear()
        return drive(self.catalog, self.paths, choice, make_work, self.lines.append)

    def fates(self) -> dict[str, tuple[str, str]]:
        return {r.cell: (r.fate, r.reason) for r in Store(self.paths).all() if r.launch == 1}


@pytest.fixture
def runs(catalog: Catalog, paths: Paths) -> Runs:
    return Runs(catalog, paths)


def test_every_launch_is_kept_and_cells_take_turns(runs: Runs) -> None:
    engine = FakeEngine({})
    assert runs(engine) == []
    assert sorted(engine.ran[:6]) == sorted(engine.ran[6:]) == sorted(ABLE)
    assert len(list(Store(runs.paths).all())) == 12
    assert "✓" in (runs.paths.reports / "small.md").read_text()


def test_a_second_run_does_nothing_and_a_changed_one_only_what_is_stale(runs: Runs) -> None:
    runs(FakeEngine({}))
    again = FakeEngine({})
    runs(again)
    assert again.ran == []
    assert any("0 jobs to run (0 launches), 6 current, 3 cannot run here" in line for line in runs.lines)
    framework = runs.catalog.frameworks["theano"]
    release = msgspec.structs.replace(framework.releases["theano-1.0"], environment={"A": "1"})
    changed = msgspec.structs.replace(framework, releases=framework.releases | {"theano-1.0": release})
    runs.catalog = msgspec.structs.replace(runs.catalog, frameworks=runs.catalog.frameworks | {"theano": changed})
    stale = FakeEngine({})
    runs(stale)
    assert stale.ran == ["theano-1.0", "theano-1.0"]


def test_the_first_launch_trains_on_samples_that_lie_beside_its_request(runs: Runs) -> None:
    suite, workload = runs.catalog.suites["small"], runs.catalog.workloads["small"]
    training = TrainingRun(train=40, test=20)
    quick = msgspec.structs.replace(suite.profiles["quick"], training=training)
    runs.catalog = msgspec.structs.replace(
        runs.catalog,
        suites={"small": msgspec.structs.replace(suite, profiles={"quick": quick})},
        workloads={"small": msgspec.structs.replace(workload, dataset="cifar10")},
    )
    asked: list[tuple[bool, bool]] = []

    def trains(folder: Path) -> Exit:
        request = msgspec.json.decode((folder / "request.json").read_bytes(), type=Request)
        asked.append((request.training is not None, (folder / "samples.npz").is_file()))
        found = Trained(steps=20, seconds=1.0, accuracy=0.5) if request.training else None
        return answering(msgspec.structs.replace(GOOD, training=found))(folder)

    assert runs(FakeEngine({"torch-2.13": trains})) == []
    assert asked == [(True, True), (False, False)]
    (first, second) = [r for r in Store(runs.paths).all() if r.cell == "torch-2.13"]
    assert (first.training and first.training.accuracy, first.data) == (0.5, "synthetic")
    assert (second.training, second.data) == (None, "")


@pytest.mark.parametrize(
    ("asked", "own", "taken"),
    [
        ("auto", "auto", "auto"),
        ("auto", "synthetic", "synthetic"),
        ("real", "synthetic", "real"),
        ("synthetic", "auto", "synthetic"),
    ],
)
def test_a_profile_too_short_for_real_data_says_so_until_somebody_asks(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, asked: str, own: str, taken: str
) -> None:
    suite = runs.catalog.suites["small"]
    training = msgspec.convert({"train": 40, "test": 20, "data": own}, TrainingRun)
    quick = msgspec.structs.replace(suite.profiles["quick"], training=training)
    small = msgspec.structs.replace(suite, profiles={"quick": quick})
    workload = msgspec.structs.replace(runs.catalog.workloads["small"], dataset="cifar10")
    runs.catalog = msgspec.structs.replace(runs.catalog, suites={"small": small}, workloads={"small": workload})
    runs.data = asked
    wanted = set[object]()

    def samples_for(cache: Path, dataset: str, size: Size, **how: object) -> Samples:
        wanted.add(how["data"])
        return datasets.samples_for(cache, dataset, size, data="synthetic", environ={}, tell=lambda _: None)

    monkeypatch.setattr("runner.jobs.samples_for", samples_for)
    runs(FakeEngine({}))
    assert wanted == {taken}


@pytest.mark.parametrize(
    ("act", "fate", "said"),
    [
        (ending("boom\nValueError: no\n", code=1), "crashed", "exit 1, left no answer: ValueError: no"),
        (ending("", code=0), "crashed", "exit 0, left no answer: it printed nothing"),
        (ending("Aborted", code=-6), "crashed", "killed by signal 6: Aborted"),
        (ending("", code=-9, out_of_memory=True), "out_of_memory", "killed for want of memory"),
        (ending("", code=-15, timed_out=True), "timeout", "not done after 60 s"),
        (answering(b"garbage"), "crashed", "left an answer that cannot be read"),
        (
            answering(Answer(schema=GUEST_SCHEMA, status="unsupported", reason="no such kernel")),
            "unsupported",
            "no such kernel",
        ),
        (
            answering(msgspec.structs.replace(GOOD, witness=msgspec.structs.replace(TRUTH, parameters=1))),
            "wrong_witness",
            "1 parameters, not",
        ),
    ],
)
def test_a_bad_guest_costs_its_own_cell_only(runs: Runs, act: Act, fate: str, said: str) -> None:
    failures = runs(FakeEngine({"theano-1.0": act}))
    assert failures == ([] if fate == "unsupported" else ["theano-1.0"])
    found, reason = runs.fates()["theano-1.0"]
    assert found == fate
    assert said in reason
    assert {f for c, (f, _) in runs.fates().items() if c != "theano-1.0"} == {"ok"}
    assert said.split(":")[0] in (runs.paths.reports / "small.md").read_text()


def test_what_a_guest_told_of_before_it_died_is_kept(runs: Runs) -> None:
    runs(FakeEngine({"theano-1.0": ending("Aborted", code=-6)}))
    (record, _) = [r for r in Store(runs.paths).all() if r.cell == "theano-1.0"]
    assert record.samples == [Sample(steps=2, seconds=0.9)]


def test_a_record_does_not_tell_where_on_its_machine_things_lie(runs: Runs) -> None:
    def dies(folder: Path) -> Exit:
        paths = runs.paths
        return ending(f"{folder}/a.py {paths.environments}/b.py {paths.root}/c.py {Path.home()}/d.py", code=1)(folder)

    runs(FakeEngine({"theano-1.0": dies}))
    (record, _) = [r for r in Store(runs.paths).all() if r.cell == "theano-1.0"]
    assert record.log == "<launch>/a.py <environments>/b.py <checkout>/c.py ~/d.py"
    assert record.reason.endswith(record.log)


def test_the_reason_that_a_guest_gives_is_one_line_of_fair_length_without_places_or_secrets(runs: Runs) -> None:
    reason = f"no kernel\n\x1b[31min {runs.paths.root}/c.py from https://user:token@index/path " + "x" * 10**6
    runs(FakeEngine({"theano-1.0": answering(Answer(schema=GUEST_SCHEMA, status="unsupported", reason=reason))}))
    found = runs.fates()["theano-1.0"][1]
    assert found.startswith("no kernel")
    assert found.isprintable()
    assert len(found) < 1000
    assert "<checkout>/c.py" in found
    assert "token" not in found


def test_a_home_at_the_root_leaves_a_log_as_it_is(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/")
    assert paths.impersonal("/usr/lib/a.py") == "/usr/lib/a.py"


def test_an_environment_that_cannot_be_made_stops_nothing_else(runs: Runs) -> None:
    assert runs(FakeEngine({}, unbuildable=("tf-1.8",))) == ["tf-1.8-nhwc", "tf-1.8-nhwc-fused"]
    assert runs.fates()["tf-1.8-nhwc"] == ("not_built", "no matching distribution (log: ~/log)")
    assert runs.fates()["mxnet-1.5"][0] == "ok"


class Breaking(FakeEngine):
    """Has a bug in one of its methods, for one release."""

    def __init__(self, method: str, release: str) -> None:
        super().__init__({})
        self.method, self.release = method, release

    def breaks(self, method: str, release: str) -> None:
        if (method, release) == (self.method, self.release):
            raise KeyError("[/device:GPU:0]")

    def reason_against(self, recipe: Recipe) -> str | None:
        self.breaks("reason_against", recipe.release_id)
        return super().reason_against(recipe)

    def key(self, recipe: Recipe) -> str:
        self.breaks("key", recipe.release_id)
        return super().key(recipe)

    def prepare(self, recipe: Recipe) -> Prepared:
        self.breaks("prepare", recipe.release_id)
        return super().prepare(recipe)

    def run(self, prepared: Prepared, launch: Launch) -> Exit:
        self.breaks("run", prepared.recipe.release_id)
        return super().run(prepared, launch)


def test_a_bug_of_the_runner_while_a_launch_runs_is_the_fate_of_that_launch(runs: Runs) -> None:
    assert runs(Breaking("run", "theano-1.0")) == ["theano-1.0"]
    fates = runs.fates()
    assert fates.pop("theano-1.0") == ("crashed", "the runner could not carry it through: KeyError: '[/device:GPU:0]'")
    assert {fate for fate, _ in fates.values()} == {"ok"}
    (record, _) = [r for r in Store(runs.paths).all() if r.cell == "theano-1.0"]
    assert record.log.startswith("Traceback")
    assert "in breaks" in record.log


def test_a_bug_of_the_runner_while_an_environment_is_made_stops_nothing_else(runs: Runs) -> None:
    assert runs(Breaking("prepare", "theano-1.0")) == ["theano-1.0"]
    fates = runs.fates()
    assert fates.pop("theano-1.0") == ("not_built", "the runner could not prepare it: KeyError: '[/device:GPU:0]'")
    assert {fate for fate, _ in fates.values()} == {"ok"}
    (record, _) = [r for r in Store(runs.paths).all() if r.cell == "theano-1.0"]
    assert "in breaks" in record.log


@pytest.mark.parametrize(("method", "failures"), [("reason_against", []), ("key", ["theano-1.0"])])
def test_a_bug_of_the_runner_before_a_launch_is_a_skip_with_its_reason(
    runs: Runs, method: str, failures: list[str]
) -> None:
    assert runs(Breaking(method, "theano-1.0")) == failures
    assert set(runs.fates()) == set(ABLE) - {"theano-1.0"}
    assert any("theano-1.0" in line and "KeyError: '[/device:GPU:0]'" in line for line in runs.lines)
    assert "KeyError" in (runs.paths.reports / "small.md").read_text()


def test_an_old_record_that_cannot_be_judged_runs_again(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    runs(FakeEngine({}))
    store = Store(runs.paths)
    (first, _) = [r for r in store.all() if r.cell == "theano-1.0"]
    strange = msgspec.structs.replace(TRUTH, parameters=7)
    store.write(msgspec.structs.replace(first, witness=strange))

    def verdict_that_fails(found: Witness, *more: Any) -> Verdict:
        if found == strange:
            raise ValueError("no judgement on this")
        return verdict_on(found, *more)

    monkeypatch.setattr("runner.jobs.verdict_on", verdict_that_fails)
    again = FakeEngine({})
    runs(again)
    assert again.ran == ["theano-1.0"]
    assert runs.fates()["theano-1.0"][0] == "ok"


def test_a_display_that_fails_does_not_end_the_run(runs: Runs) -> None:
    said: list[str] = []

    def fragile(line: str) -> None:
        if "mxnet" in line:
            raise UnicodeEncodeError("ascii", line, 0, 1, "no")
        said.append(line)

    runs.lines = type("Fragile", (list,), {"append": lambda self, line: fragile(line), "clear": lambda self: None})()
    assert runs(FakeEngine({})) == []
    assert {fate for fate, _ in runs.fates().values()} == {"ok"}
    assert any(line.startswith("progress is no longer shown: UnicodeEncodeError") for line in said)


@pytest.mark.timeout(60)
def test_a_reader_that_goes_away_while_environments_are_made_ends_the_run_and_hangs_nothing(runs: Runs) -> None:
    def gone(line: str) -> None:
        if "jobs to run" not in line and "skipped" not in line:
            raise BrokenPipeError

    runs.lines = type("Gone", (list,), {"append": lambda self, line: gone(line), "clear": lambda self: None})()
    with pytest.raises(BrokenPipeError):
        runs(FakeEngine({}))


def test_an_interrupt_keeps_what_was_measured_and_the_next_run_goes_on(runs: Runs) -> None:
    first = FakeEngine({"mxnet-1.5": interrupt})
    with pytest.raises(KeyboardInterrupt):
        runs(first)
    kept = len(list(Store(runs.paths).all()))
    assert kept == len(first.ran) - 1 > 0
    second = FakeEngine({})
    runs(second)
    assert len(second.ran) == 12 - kept


def test_a_failed_launch_runs_again_and_a_wrong_witness_does_not(runs: Runs) -> None:
    wrong = answering(msgspec.structs.replace(GOOD, witness=msgspec.structs.replace(TRUTH, losses=[0.0, 0.0, 0.0])))
    runs(FakeEngine({"mxnet-1.5": ending(code=1), "theano-1.0": wrong}))
    second = FakeEngine({})
    runs(second)
    assert second.ran == ["mxnet-1.5", "mxnet-1.5"]


def test_a_dry_run_runs_and_writes_nothing(runs: Runs) -> None:
    engine = FakeEngine({})
    runs(engine, msgspec.structs.replace(ALL, dry_run=True))
    assert engine.ran == []
    assert not runs.paths.reports.exists()
    assert "would run torch-2.13 small: launches 1, 2" in runs.lines
    assert "skipped numpy-2 small: no Python 3.11 on this machine" in runs.lines


@pytest.mark.parametrize("again", [False, True])
def test_just_those_launches_are_announced_that_run(runs: Runs, again: bool) -> None:
    three = msgspec.structs.replace(ALL, launches=3, globs=("torch*", "mx*", "theano*"))
    runs(FakeEngine({}), three)
    for cell in ("torch-2.13", "mxnet-1.5", "theano-1.0"):
        (runs.paths.results / "box" / "small" / cell / "quick-cpu-venv-2.json").unlink()
    choice = msgspec.structs.replace(three, again=again)
    runs(FakeEngine({}), msgspec.structs.replace(choice, dry_run=True))
    assert f"would run torch-2.13 small: launches {'1, 2, 3' if again else '2'}" in runs.lines
    engine = FakeEngine({})
    runs(engine, choice)
    count = 9 if again else 3
    assert len(engine.ran) == count
    assert f"3 jobs to run ({count} launches), 0 current, 0 cannot run here" in runs.lines
    assert any(f"({count} of {count} launches)" in line for line in runs.lines)


def test_a_damaged_record_counts_as_absent_and_its_launch_replaces_it(runs: Runs) -> None:
    runs(FakeEngine({}))
    path = runs.paths.results / "box" / "small" / "torch-2.13" / "quick-cpu-venv-2.json"
    path.write_bytes(path.read_bytes()[:200])
    (runs.paths.results / "box" / "machine.json").write_text("{")
    engine = FakeEngine({})
    runs(engine)
    assert engine.ran == ["torch-2.13"]
    assert len(list(Store(runs.paths).all())) == 12
    assert Store(runs.paths).machines() == {"box": MACHINE}


@pytest.mark.parametrize("field", ["cell", "machine", "suite"])
def test_a_record_of_another_place_moves_nothing_out_of_the_results(runs: Runs, field: str) -> None:
    runs(FakeEngine({}))
    path = runs.paths.results / "box" / "small" / "torch-2.13" / "quick-cpu-venv-2.json"
    content = msgspec.json.decode(path.read_bytes())
    # Another verdict than today's, so that it would be written anew.
    path.write_bytes(msgspec.json.encode(content | {field: "../../../../../elsewhere", "witness_error": 0.5}))
    before = sorted(runs.paths.root.parent.rglob("*"))
    engine = FakeEngine({})
    runs(engine)
    assert engine.ran == ["torch-2.13"]
    assert sorted(runs.paths.root.parent.rglob("*")) == before


def test_launches_and_filter_narrow_a_run(runs: Runs) -> None:
    engine = FakeEngine({})
    runs(engine, msgspec.structs.replace(ALL, globs=("torch*", "mx*"), launches=1))
    assert sorted(engine.ran) == ["mxnet-1.5", "torch-2.13"]


@pytest.mark.parametrize(("mode", "fate"), [("0", "wrong_witness"), ("2", "ok")])
def test_averages_may_stand_still_only_where_an_option_keeps_none(runs: Runs, mode: str, fate: str) -> None:
    suite = runs.catalog.suites["small"]
    row = Rows(releases=("keras-1.2-theano-0.9",), options={"bn_mode": (mode,)})
    small = msgspec.structs.replace(suite, rows=(row,))
    runs.catalog = msgspec.structs.replace(runs.catalog, suites={"small": small})
    still = {name: Change(first=[0.0] * len(change.first), norm=0.0) for name, change in TRUTH.averages.items()}
    answer = msgspec.structs.replace(GOOD, witness=msgspec.structs.replace(TRUTH, averages=still))
    cell = "keras-1.2-theano-0.9" + ("-mode2" if mode == "2" else "")
    runs(FakeEngine({cell: answering(answer)}))
    assert runs.fates()[cell][0] == fate


def test_without_a_reference_nothing_is_measured(runs: Runs) -> None:
    (runs.paths.references / "small-b2.json").unlink()
    with pytest.raises(Mistake, match=r"small-b2.json is missing, .*runner reference small --batch 2"):
        runs(FakeEngine({}))


def test_a_reference_of_another_network_is_refused(runs: Runs) -> None:
    workload = runs.paths.matrix / "workloads" / "small.toml"
    workload.write_text(workload.read_text().replace("0.01", "0.02"))
    from runner.reading import read_catalog

    runs.catalog = read_catalog(runs.paths)
    with pytest.raises(Mistake, match="another network or workload"):
        runs(FakeEngine({}))


def with_only_311(runs: Runs, *, reachable: bool, dry_run: bool = False) -> tuple[FakeEngine, Only311]:
    """A run over the small suite, of which MXNet 1.9 needs Python 3.8 and the others but PyTorch 2.13 Python 3.6."""
    suite = runs.paths.matrix / "suites" / "small.toml"
    suite.write_text(suite.read_text().replace('"mxnet-1.5", ', '"mxnet-1.5", "mxnet-1.9", '))
    from runner.reading import read_catalog

    runs.catalog = read_catalog(runs.paths)
    runs.interpreters = interpreters = Only311(reachable=reachable)
    engine = FakeEngine({}, interpreters=interpreters)
    runs(engine, msgspec.structs.replace(ALL, dry_run=dry_run))
    return engine, interpreters


def test_a_run_says_first_how_many_rows_need_a_python_and_the_way_to_it(runs: Runs) -> None:
    engine, _ = with_only_311(runs, reachable=True)
    line = "5 of 10 rows need Python 3.6, which is not here: `pyenv` brings it"
    assert [text for text in runs.lines if "3.6" in text] == [line]
    assert runs.lines.index(line) < next(n for n, text in enumerate(runs.lines) if "jobs to run" in text)
    assert set(engine.ran) == {"torch-2.13", "mxnet-1.9"}


def test_a_python_that_can_be_fetched_is_fetched_once_before_anything_runs(runs: Runs) -> None:
    _, interpreters = with_only_311(runs, reachable=True)
    assert interpreters.asked == ["3.8"]
    assert runs.lines[0] == "fetching Python 3.8"


def test_a_python_that_cannot_be_fetched_is_a_reason_to_skip_and_no_failure(runs: Runs) -> None:
    engine, interpreters = with_only_311(runs, reachable=False)
    assert interpreters.asked == ["3.8"]
    assert "1 of 10 rows needs Python 3.8, which is not here: `pyenv` brings it" in runs.lines
    assert set(engine.ran) == {"torch-2.13"}
    assert "needs Python 3.8, which is not here" in (runs.paths.reports / "small.md").read_text()


def test_a_dry_run_fetches_nothing_and_says_what_a_run_would(runs: Runs) -> None:
    _, interpreters = with_only_311(runs, reachable=True, dry_run=True)
    assert interpreters.asked == []
    assert "1 of 10 rows needs Python 3.8, which is not here: a run fetches it" in runs.lines


def test_no_python_is_fetched_for_what_is_current(runs: Runs) -> None:
    with_only_311(runs, reachable=True)
    again = Only311(reachable=True)
    runs.interpreters = again
    runs(FakeEngine({}, interpreters=again))
    assert again.asked == []


def test_of_a_guest_that_tells_of_ever_more_blocks_some_are_kept() -> None:
    seen: list[Sample] = []
    heard: list[Event] = []
    on_event = progress_of(heard.append, "numpy-2 small", 1, seen)
    for _ in range(SAMPLES_SEEN + 5):
        on_event(SampleEvent(steps=2, seconds=0.5))
    assert len(seen) == SAMPLES_SEEN
    assert heard[-1].detail == "250.0 ms a step"


@pytest.mark.parametrize("release", ["torch-2.13", "jax-0.12", "keras-3-jax", "tf-2.15"])
def test_on_a_gpu_float32_is_not_rounded_to_tf32(catalog: Catalog, paths: Paths, release: str) -> None:
    cell = next(cell for cell in catalog.cells() if cell.release == release)
    assert cell_environment(catalog, paths, cell, "gpu")["NVIDIA_TF32_OVERRIDE"] == "0"
    assert "NVIDIA_TF32_OVERRIDE" not in cell_environment(catalog, paths, cell, "cpu")
    jax = "highest" if "jax" in release else None
    assert cell_environment(catalog, paths, cell, "gpu").get("JAX_DEFAULT_MATMUL_PRECISION") == jax
