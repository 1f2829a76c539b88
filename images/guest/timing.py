"""Warm-up and samples: blocks of steps with the device synchronised on both sides of the clock, nowhere inside."""
from __future__ import absolute_import, division, print_function

import math


def warm_up(step, synchronize, sampling, clock):
    """Step until both the least number of steps and the least time are spent; {"steps", "seconds"}.

    Where none is asked for, the steps of the witness, which came before, are all the warm-up there is.
    """
    synchronize()
    start = clock()
    steps, seconds = 0, 0.0
    while steps < sampling["warm_up_steps"] or seconds < sampling["warm_up_seconds"]:
        step()
        synchronize()
        steps += 1
        seconds = clock() - start
    return {"steps": steps, "seconds": seconds}


def steps_in_block(warmed_up, sampling):
    """How many steps make a block: the given number, or more where that would be too short to time well."""
    step_seconds = max(warmed_up["seconds"] / max(warmed_up["steps"], 1), 1e-9)
    return max(sampling["block_steps"], int(math.ceil(sampling["block_seconds"] / step_seconds)))


def timed_block(step, synchronize, steps, clock):
    """One sample: {"steps", "seconds"}."""
    synchronize()
    start = clock()
    for _ in range(steps):
        step()
    synchronize()
    return {"steps": steps, "seconds": clock() - start}


def samples(step, synchronize, sampling, warmed_up, clock, on_sample):
    """The timed blocks, all of them; fewer than asked (but never under three) once `limit_seconds` are spent."""
    steps = steps_in_block(warmed_up, sampling)
    taken, start = [], clock()
    while len(taken) < sampling["blocks"]:
        taken.append(timed_block(step, synchronize, steps, clock))
        on_sample(taken[-1])
        if len(taken) >= 3 and clock() - start >= sampling["limit_seconds"]:
            break
    return taken
