"""The judge: what agrees, what does not, and that nothing slips through as nan."""

import msgspec
import pytest
from records import record

from runner.jobs import judged
from runner.protocol import Outputs, Witness
from runner.references import Reference
from runner.witness import disagreements, largest_error, largest_update_error

TRUTH = Witness(
    parameters=10,
    outputs=Outputs(first=[[1.0, -2.0], [0.5, 0.25]], norm=2.5),
    losses=[1.5, 1.2, 0.9],
    update_norms={"a.weight": 0.1, "a.bias": 1e-9},
)


def test_the_reference_agrees_with_itself() -> None:
    assert disagreements(TRUTH, TRUTH) == ()
    assert largest_error(TRUTH, TRUTH) == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"parameters": 9}, "9 parameters, not 10"),
        ({"outputs": Outputs(first=[[1.0, -2.1], [0.5, 0.25]], norm=2.5)}, "first outputs off by"),
        ({"outputs": Outputs(first=[[1.0, -2.0], [0.5, 0.25]], norm=2.6)}, "first outputs off by"),
        ({"outputs": Outputs(first=[[1.0, -2.0]], norm=2.5)}, "first outputs off by inf"),
        ({"update_norms": {"a.weight": 0.102, "a.bias": 0.0}}, "first update of a.weight has norm 0.102, not 0.1"),
        ({"losses": [1.5, 1.3, 0.9]}, "loss of step 2 is 1.3, not 1.2"),
        ({"losses": [1.5, float("nan"), 0.9]}, "loss of step 2 is nan, not 1.2"),
        ({"losses": [1.5]}, "1 losses, not 3"),
        ({"update_norms": {"a.weight": 0.0, "a.bias": 0.0}}, "first update of a.weight has norm 0, not 0.1"),
        ({"update_norms": {}}, "first update of a.weight has norm nan, not 0.1"),
    ],
)
def test_every_difference_is_named(change: dict[str, object], said: str) -> None:
    found = msgspec.structs.replace(TRUTH, **change)
    assert any(text.startswith(said) for text in disagreements(found, TRUTH))


def test_float32_rounding_agrees_and_an_update_that_is_zero_in_theory_may_be_noise() -> None:
    found = msgspec.structs.replace(TRUTH, losses=[1.500001, 1.2, 0.9], update_norms={"a.weight": 0.1, "a.bias": 1e-9})
    assert disagreements(found, TRUTH) == ()
    assert 0 < largest_error(found, TRUTH) < 1e-5


def test_one_number_may_take_a_full_step_or_none_where_its_gradient_is_nearly_zero() -> None:
    step, numbers = 0.001, 32
    reference = msgspec.structs.replace(TRUTH, update_norms={"gamma": step * numbers**0.5})
    one, two = (
        msgspec.structs.replace(TRUTH, update_norms={"gamma": step * (numbers - without) ** 0.5}) for without in (1, 2)
    )
    assert disagreements(one, reference)
    assert disagreements(one, reference, full_step=step) == ()
    assert largest_update_error(one, reference, step) == pytest.approx(0, abs=1e-9)
    assert disagreements(two, reference, full_step=step)
    gone = msgspec.structs.replace(TRUTH, update_norms={"gamma": float("nan")})
    assert disagreements(gone, reference, full_step=step)


def test_a_witness_may_agree_with_any_form_of_its_workload_and_the_record_says_which() -> None:
    hat = msgspec.structs.replace(TRUTH, update_norms={"a.weight": 0.08, "a.bias": 1e-9})
    truth = Reference(workload="small", batch=2, key="k", witness=TRUTH, others={"epsilon hat": hat})
    plain, other = (judged(record(witness=witness), truth) for witness in (TRUTH, hat))
    assert (plain.fate, plain.form, plain.update_error) == ("ok", "", 0)
    assert (other.fate, other.form, other.update_error) == ("ok", "epsilon hat", 0)
    neither = judged(record(witness=msgspec.structs.replace(TRUTH, losses=[1.5, 1.3, 0.9])), truth)
    assert (neither.fate, neither.reason) == ("wrong_witness", "loss of step 2 is 1.3, not 1.2")
