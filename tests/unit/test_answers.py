"""Answers that fit their schema and cannot be, and guests that end badly behind an answer."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from conformance import NETWORKS, request

from runner.answers import contradictions
from runner.engines import Exit
from runner.jobs import answer_in, answer_to, fate_of
from runner.protocol import GUEST_SCHEMA, Answer, Request, Training

ASKED = request("numpy", NETWORKS["vgg"], {})  # three samples of a step or more, and three losses
INFERENCE = request("numpy", NETWORKS["vgg"], {}, mode="inference")
WITNESS = {"parameters": 9, "outputs": {"first": [[0.5] * 7] * 3, "norm": 1.0}, "losses": [2.0, 1.5, 1.0]}
GOOD: dict[str, Any] = {
    "schema": GUEST_SCHEMA,
    "status": "ok",
    "witness": WITNESS,
    "warm_up": {"steps": 1, "seconds": 0.1},
    "samples": [{"steps": 2, "seconds": 0.2}] * 3,
    "costs_seconds": {"import": 1.0},
    "peak_memory_bytes": 2**30,
}
SECONDS = 3.0  # of the launch


def left(folder: Path, content: bytes | dict[str, Any], asked: Request = ASKED) -> tuple[Answer | None, str]:
    """What is made of an answer that a guest left."""
    raw = content if isinstance(content, bytes) else msgspec.json.encode(content)
    (folder / "answer.json").write_bytes(raw)
    return answer_to(asked, folder, SECONDS)


def test_a_good_answer_is_taken(tmp_path: Path) -> None:
    answer, damage = left(tmp_path, GOOD)
    assert answer
    assert (answer.status, damage) == ("ok", "")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (GOOD | {"samples": [{"steps": 0, "seconds": 0.2}] * 3}, "Expected `int` >= 1"),
        (GOOD | {"samples": [{"steps": 2, "seconds": -0.2}] * 3}, "Expected `float` > 0"),
        (GOOD | {"samples": [{"steps": 2, "seconds": 0.0}] * 3}, "Expected `float` > 0"),
        (GOOD | {"samples": [{"steps": 2, "seconds": 1e308}] * 3}, "Expected `float` <="),
        (GOOD | {"samples": [{"steps": 2, "seconds": "nan"}] * 3}, "Expected `float`, got `str`"),
        (GOOD | {"warm_up": {"steps": -1, "seconds": 0.2}}, "Expected `int` >= 0"),
        (GOOD | {"costs_seconds": {"import": -1.0}}, "Expected `float` >= 0"),
        (GOOD | {"peak_memory_bytes": -1}, "Expected `int` >= 0"),
        (GOOD | {"training": {"steps": 1, "seconds": 1.0, "accuracy": 5.0}}, "Expected `float` <= 1"),
        (GOOD | {"facts": {"framework": {"versions": {"a": {"b": "c"}}}}}, "got `object`"),
        pytest.param(b'{"peak_memory_bytes": 1%s}' % (b"0" * 400), "Expected `int` <=", id="giant"),
        pytest.param(b'{"more": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "recursion", id="100,000 deep"),
        (b'{"schema": 3, "status": "ok", "reason": "\xff\xfe"}', "utf-8"),
        (b'{"schema": 3, "status": "ok", "reason": "cut', "truncated"),
        (b'{"schema": 3, "status": "ok", "samples": [{"steps": 1, "seconds": NaN}]}', "malformed"),
    ],
)
def test_an_answer_whose_numbers_cannot_be_is_refused(
    tmp_path: Path, content: bytes | dict[str, Any], said: str
) -> None:
    answer, damage = left(tmp_path, content)
    assert answer is None
    assert damage.startswith("left an answer that cannot be read (")
    assert said in damage


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": GUEST_SCHEMA + 4}, f"its schema is {GUEST_SCHEMA + 4}, not {GUEST_SCHEMA}"),
        ({"samples": []}, "it is ok without samples"),
        ({"warm_up": None}, "it is ok without a warm-up"),
        ({"witness": None}, "it is ok without a witness"),
        ({"samples": GOOD["samples"][:2]}, "it has 2 samples, and at least 3 were asked for"),
        ({"samples": GOOD["samples"] * 2}, "it has 6 samples, and 3 were asked for"),
        ({"samples": [{"steps": 2, "seconds": 2.0}] * 3}, "its steps took 6.1 s, and the whole launch 3 s"),
        ({"training": {"steps": 1, "seconds": 1.0, "accuracy": 0.5}}, "it has a training run, which was not asked for"),
        ({"facts": {"framework": "torch"}}, "its facts of the framework are no object"),
        ({"status": "wrong_witness"}, "it has a witness, and says that it could not take one"),
        ({"witness": WITNESS | {"losses": [2.0, 1.5]}}, "its witness has 2 losses, not 3"),
        ({"witness": WITNESS | {"outputs": {"first": [[0.5] * 7] * 2, "norm": 1.0}}}, "outputs of 2 samples, not of 3"),
        ({"witness": WITNESS | {"outputs": {"first": [[0.5], [0.5], []], "norm": 1.0}}}, "not as many outputs of each"),
    ],
)
def test_an_answer_that_contradicts_its_request_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    answer, damage = left(tmp_path, GOOD | change)
    assert answer is None
    assert damage.startswith("left an answer that cannot be: ")
    assert said in damage


def test_what_was_not_asked_for_cannot_be_answered(tmp_path: Path) -> None:
    witness_only = msgspec.structs.replace(ASKED, sampling=None)
    assert "samples, which was not asked for" in " ".join(contradictions(taken(GOOD), witness_only, SECONDS))
    crashed = {"schema": GUEST_SCHEMA, "status": "crashed", "samples": GOOD["samples"]}
    assert "it has 3 samples, and 0 were asked for" in left(tmp_path, crashed, witness_only)[1]
    assert "its witness has 3 losses, not 0" in left(tmp_path, GOOD, INFERENCE)[1]
    trains = msgspec.structs.replace(ASKED, training=Training(file="samples.npz", digest=""))
    assert "it is ok without a training run" in left(tmp_path, GOOD, trains)[1]
    moved = GOOD | {"witness": WITNESS | {"losses": [], "averages": {"a": {"first": [0.1], "norm": 0.1}}}}
    assert "changes of parameters, and nothing was trained" in left(tmp_path, moved, INFERENCE)[1]


def test_a_guest_that_failed_need_not_have_come_to_the_end(tmp_path: Path) -> None:
    failed = {"schema": GUEST_SCHEMA, "status": "crashed", "reason": "ValueError: no", "samples": GOOD["samples"][:1]}
    answer, damage = left(tmp_path, failed)
    assert answer
    assert (answer.reason, damage) == ("ValueError: no", "")


def taken(content: dict[str, Any]) -> Answer:
    return msgspec.convert(content, Answer)


def ended(**how: Any) -> Exit:
    return msgspec.convert({"code": 0, "timed_out": False, "seconds": SECONDS} | how, Exit)


@pytest.mark.parametrize(
    ("how", "fate", "reason"),
    [
        ({}, "ok", ""),
        ({"code": 3}, "crashed", "exit 3, having answered: Error: no"),
        ({"code": -11}, "crashed", "killed by signal 11, having answered: Error: no"),
        ({"code": -9, "timed_out": True}, "timeout", "not done after 60 s, having answered"),
        ({"code": -9, "out_of_memory": True}, "out_of_memory", "killed for want of memory, having answered"),
        ({"error": "the engine went away"}, "crashed", "the engine went away"),
    ],
)
def test_a_guest_that_answers_and_then_ends_badly_is_not_ok(how: dict[str, Any], fate: str, reason: str) -> None:
    assert fate_of(ended(**how), taken(GOOD), "", "+ python\nError: no\n", 60) == (fate, reason)
    said = taken({"schema": GUEST_SCHEMA, "status": "unsupported", "reason": "no such kernel"})
    assert fate_of(ended(**how), said, "", "", 60) == ("unsupported", "no such kernel")


def test_an_answer_is_one_file_in_the_job_folder(tmp_path: Path) -> None:
    assert answer_in(tmp_path) == (None, "left no answer")
