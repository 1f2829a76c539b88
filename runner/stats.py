"""Medians with their intervals, and whether a spread is too wide to trust."""

from collections.abc import Sequence

import msgspec

CONFIDENCE = 0.95
WIDE_SPREAD = 0.10  # interquartile range over median, past which a time is marked
FEW_SAMPLES = 5


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A median in seconds with its confidence interval and spread."""

    median: float
    low: float
    high: float
    spread: float  # interquartile range / median
    samples: int
    launches: int

    @property
    def noisy(self) -> bool:
        return self.spread > WIDE_SPREAD

    @property
    def few(self) -> bool:
        return self.samples < FEW_SAMPLES


def estimate(launches: Sequence[Sequence[float]]) -> Estimate:
    """The median over the samples (seconds a step) of all launches, each launch a sequence.

    The interval is the 95 % percentile bootstrap of the median, resampling launches first and then the samples
    within each, so that what differs between processes counts; the seed is fixed, so it comes out the same again.
    """
    import numpy as np

    groups = [np.asarray(group, dtype=np.float64) for group in launches if len(group)]
    pooled = np.concatenate(groups)
    median = float(np.median(pooled))
    stream = np.random.default_rng(0)
    medians = []
    for _ in range(1000):
        chosen = [groups[i] for i in stream.integers(0, len(groups), len(groups))]
        medians.append(np.median(np.concatenate([stream.choice(group, len(group)) for group in chosen])))
    low, high = np.quantile(medians, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    quarter, three_quarters = np.quantile(pooled, [0.25, 0.75])
    return Estimate(
        median=median, low=float(low), high=float(high), spread=float((three_quarters - quarter) / median),
        samples=len(pooled), launches=len(groups),
    )  # fmt: skip
