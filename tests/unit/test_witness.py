"""The judge: what agrees, what does not, and that nothing slips through as nan."""

import msgspec
import pytest

from runner.protocol import Outputs, Witness
from runner.witness import disagreements, largest_error

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
