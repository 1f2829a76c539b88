"""The judge: what agrees, what does not, and that nothing slips through as nan."""

import msgspec
import pytest
from records import record

from runner.jobs import judged
from runner.protocol import Change, Outputs, Witness
from runner.records import Record
from runner.references import Reference, averages_of, with_still_averages
from runner.witness import Tolerances, disagreements, largest_error, largest_update_error

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
        ({"losses": [1.5, "nan", 0.9]}, "loss of step 2 is NaN, not 1.2"),
        ({"losses": [1.5, "-inf", 0.9]}, "loss of step 2 is -inf, not 1.2"),
        ({"outputs": Outputs(first=[["nan", -2.0], [0.5, 0.25]], norm="nan")}, "first outputs off by NaN"),
        ({"outputs": Outputs(first=[[1.0, -2.0], [0.5, 0.25]], norm="nan")}, "first outputs off by NaN"),
        ({"outputs": Outputs(first=[["inf", -2.0], [0.5, 0.25]], norm="inf")}, "first outputs off by inf"),
        ({"outputs": Outputs(first=[[1.0, -2.0], [0.5]], norm=2.5)}, "first outputs off by inf"),
        ({"update_norms": {"a.weight": "inf", "a.bias": 0.0}}, "first update of a.weight has norm inf, not 0.1"),
        ({"losses": [1.5]}, "1 losses, not 3"),
        ({"update_norms": {"a.weight": 0.0, "a.bias": 0.0}}, "first update of a.weight has norm 0, not 0.1"),
        ({"update_norms": {}}, "first update of a.weight has norm NaN, not 0.1"),
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
    assert disagreements(one, reference, tolerances=Tolerances(full_step=step)) == ()
    assert largest_update_error(one, reference, step) == pytest.approx(0, abs=1e-9)
    assert disagreements(two, reference, tolerances=Tolerances(full_step=step))
    gone = msgspec.structs.replace(TRUTH, update_norms={"gamma": "nan"})
    assert disagreements(gone, reference, tolerances=Tolerances(full_step=step))


def test_a_witness_may_agree_with_any_form_of_its_workload_and_the_record_says_which() -> None:
    hat = msgspec.structs.replace(TRUTH, update_norms={"a.weight": 0.08, "a.bias": 1e-9})
    truth = Reference(workload="small", batch=2, key="k", witness=TRUTH, others={"epsilon hat": hat})
    plain, other = (judged(record(witness=witness), truth) for witness in (TRUTH, hat))
    assert (plain.fate, plain.form, plain.update_error) == ("ok", "", 0)
    assert (other.fate, other.form, other.update_error) == ("ok", "epsilon hat", 0)
    neither = judged(record(witness=msgspec.structs.replace(TRUTH, losses=[1.5, 1.3, 0.9])), truth)
    assert (neither.fate, neither.reason) == ("wrong_witness", "loss of step 2 is 1.3, not 1.2")


def test_a_number_that_is_not_finite_is_kept_and_read_again_and_no_error_of_it_is_told() -> None:
    truth = Reference(workload="small", batch=2, key="k", witness=TRUTH)
    found = judged(record(witness=msgspec.structs.replace(TRUTH, losses=[1.5, "nan", "inf"])), truth)
    assert (found.fate, found.reason) == (
        "wrong_witness",
        "loss of step 2 is NaN, not 1.2; loss of step 3 is inf, not 0.9",
    )
    assert found.witness_error is None
    again = msgspec.json.decode(msgspec.json.encode(found), type=Record)
    assert again == found
    assert judged(again, truth) == found


def change(*numbers: float, more: float = 0.0) -> Change:
    return Change(first=list(numbers), norm=(sum(x * x for x in numbers) + more) ** 0.5)


# The changes of a mean and of a variance, as frameworks keep them.
PLAIN = {"bn.mean": change(0.01, -0.02), "bn.variance": change(0.03, 0.04)}
UNBIASED = {"bn.mean": change(0.01, -0.02), "bn.variance": change(0.031, 0.042)}
DEBIASED = {"bn.mean": change(1.0, -2.0), "bn.variance": change(3.1, 4.2)}
AVERAGED = Reference(
    workload="small",
    batch=2,
    key="k",
    witness=TRUTH,
    others={"epsilon hat": msgspec.structs.replace(TRUTH, update_norms={"a.weight": 0.08, "a.bias": 1e-9})},
    averages=averages_of(
        msgspec.structs.replace(
            TRUTH,
            averages_in_forms={
                "": PLAIN,
                "unbiased variance": UNBIASED,
                "debiased averages, unbiased variance": DEBIASED,
            },
        )
    ),
)


def with_averages(averages: dict[str, Change], *, hat: bool = False) -> Record:
    witness = AVERAGED.others["epsilon hat"] if hat else TRUTH
    return record(witness=msgspec.structs.replace(witness, averages=averages))


@pytest.mark.parametrize(
    ("averages", "hat", "form"),
    [
        (PLAIN, False, ""),
        (UNBIASED, False, "unbiased variance"),
        (DEBIASED, False, "debiased averages, unbiased variance"),
        (UNBIASED, True, "epsilon hat, unbiased variance"),
        (PLAIN, True, "epsilon hat"),
    ],
)
def test_moving_averages_have_forms_of_their_own_whatever_the_optimizers_is(
    averages: dict[str, Change], hat: bool, form: str
) -> None:
    found = judged(with_averages(averages, hat=hat), AVERAGED)
    assert (found.fate, found.reason, found.form) == ("ok", "", form)


@pytest.mark.parametrize(
    ("averages", "said"),
    [
        ({}, "nothing is told of bn.mean after the first step; nothing is told of bn.variance after the first step"),
        (
            PLAIN | {"bn.mean": change(0.0, 0.0)},
            "first change of bn.mean has norm 0, not 0.02236",
        ),
        (PLAIN | {"bn.mean": change(-0.02, 0.01)}, "first change of bn.mean has norm 0.02236, not 0.02236"),
        (
            PLAIN | {"bn.variance": change(0.03, 0.04, more=0.1)},
            "first change of bn.variance has norm 0.3202, not 0.05",
        ),
        (PLAIN | {"bn.variance": change(0.03, 0.04, 0.0)}, "first change of bn.variance has norm 0.05, not 0.05"),
        (PLAIN | {"bn.mean": Change(first=["nan", 0.0], norm="nan")}, "first change of bn.mean has norm NaN"),
        (PLAIN | {"bn.mean": Change(first=[0.01, -0.02], norm="nan")}, "first change of bn.mean has norm NaN"),
    ],
)
def test_averages_of_no_form_are_a_wrong_witness_that_names_the_parameter(
    averages: dict[str, Change], said: str
) -> None:
    found = judged(with_averages(averages), AVERAGED)
    assert found.fate == "wrong_witness"
    assert found.reason.startswith(said)


def test_of_two_forms_that_are_near_the_nearest_is_named() -> None:
    """The unbiased variance of a batch of some thousand numbers is within the tolerance of the plain one."""
    unbiased = PLAIN | {"bn.variance": change(0.0300237, 0.0400316)}
    truth = msgspec.structs.replace(AVERAGED, averages={"": PLAIN, "unbiased variance": unbiased})
    assert judged(with_averages(PLAIN), truth).form == ""
    assert judged(with_averages(unbiased), truth).form == "unbiased variance"


def test_of_forms_that_fit_alike_the_one_with_the_shortest_name_is_named() -> None:
    forms = {"": PLAIN, "debiased averages, twice unbiased variance": DEBIASED, "debiased averages": DEBIASED}
    truth = msgspec.structs.replace(AVERAGED, averages=forms)
    assert judged(with_averages(DEBIASED), truth).form == "debiased averages"


def test_averages_that_stand_still_are_right_only_where_the_cell_is_known_to_keep_none() -> None:
    still = {name: change(0.0, 0.0) for name in PLAIN}
    assert judged(with_averages(still), AVERAGED).fate == "wrong_witness"
    found = judged(with_averages(still), with_still_averages(AVERAGED))
    assert (found.fate, found.form) == ("ok", "no moving averages")


def test_a_network_without_averages_has_no_form_of_them() -> None:
    plain = Reference(workload="small", batch=2, key="", witness=TRUTH)
    found = judged(record(witness=TRUTH), with_still_averages(plain))
    assert (found.fate, found.form) == ("ok", "")
