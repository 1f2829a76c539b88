"""Warm-up and blocks against a clock that a test turns."""

import sys

import pytest
from checkouts import ROOT

sys.path.insert(0, str(ROOT / "images" / "guest"))

import timing

SAMPLING = {
    "warm_up_steps": 2,
    "warm_up_seconds": 5.0,
    "blocks": 4,
    "block_steps": 3,
    "block_seconds": 0.0,
    "limit_seconds": 1e9,
}


class Clock:
    """Each step takes `step` seconds, and each synchronisation `drain`."""

    def __init__(self, step: float, drain: float = 0.0) -> None:
        self.now, self.step_seconds, self.drain, self.steps, self.synchronised = 0.0, step, drain, 0, 0

    def __call__(self) -> float:
        return self.now

    def step(self) -> None:
        self.now += self.step_seconds
        self.steps += 1

    def synchronize(self) -> None:
        self.now += self.drain
        self.synchronised += 1


def warmed_up(step_seconds: float) -> dict[str, float]:
    return {"steps": 2, "seconds": 2 * step_seconds}


def test_warm_up_spends_both_the_steps_and_the_seconds() -> None:
    clock = Clock(2.0)
    assert timing.warm_up(clock.step, clock.synchronize, SAMPLING, clock) == {"steps": 3, "seconds": 6.0}
    clock = Clock(9.0)
    assert timing.warm_up(clock.step, clock.synchronize, SAMPLING, clock)["steps"] == 2


def test_without_a_warm_up_of_its_own_a_launch_samples_blocks_of_the_given_steps() -> None:
    clock, sampling = Clock(2.0), dict(SAMPLING, warm_up_steps=0, warm_up_seconds=0.0)
    found = timing.warm_up(clock.step, clock.synchronize, sampling, clock)
    assert (found, clock.steps) == ({"steps": 0, "seconds": 0.0}, 0)
    assert timing.steps_in_block(found, sampling) == 3


def test_a_block_is_synchronised_on_both_sides_of_the_clock_and_nowhere_inside() -> None:
    clock = Clock(1.0, drain=0.5)
    assert timing.timed_block(clock.step, clock.synchronize, 4, clock) == {"steps": 4, "seconds": 4.5}
    assert clock.synchronised == 2


def test_all_blocks_are_kept() -> None:
    clock, seen = Clock(0.25), list[dict[str, float]]()
    taken = timing.samples(clock.step, clock.synchronize, SAMPLING, warmed_up(0.25), clock, seen.append)
    assert taken == seen == [{"steps": 3, "seconds": 0.75}] * 4


def test_blocks_grow_until_they_can_be_timed_well() -> None:
    assert timing.steps_in_block(warmed_up(0.01), dict(SAMPLING, block_seconds=1.0)) == 100
    assert timing.steps_in_block(warmed_up(10.0), dict(SAMPLING, block_seconds=1.0)) == 3


@pytest.mark.parametrize(("limit", "blocks"), [(0.0, 3), (2.9, 4), (1e9, 4)])
def test_the_limit_ends_sampling_after_three_blocks(limit: float, blocks: int) -> None:
    clock = Clock(0.25)
    sampling = dict(SAMPLING, limit_seconds=limit)
    assert (
        len(timing.samples(clock.step, clock.synchronize, sampling, warmed_up(0.25), clock, lambda sample: None))
        == blocks
    )
