"""Medians with their intervals, and whether a spread is too wide to trust."""

from collections.abc import Sequence

import msgspec

CONFIDENCE = 0.95
WIDE_SPREAD = 0.10  # interquartile range over median, past which a time is marked
FEWEST_LAUNCHES = 3  # that give an interval
RESAMPLINGS = 1000


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A median in seconds with its spread and, where launches are enough for one, its confidence interval."""

    median: float
    interval: tuple[float, float] | None
    spread: float  # interquartile range / median
    samples: int
    launches: int

    @property
    def noisy(self) -> bool:
        return self.spread > WIDE_SPREAD


def estimate(launches: Sequence[Sequence[float]]) -> Estimate:
    """Return the median over the samples (seconds a step) of all launches, each launch a sequence.

    Fewer than three launches say too little of what differs between processes, so they give no interval.
    """
    import numpy as np

    groups = [group for group in launches if len(group)]
    pooled = [seconds for group in groups for seconds in group]
    quarter, median, three_quarters = (float(value) for value in np.quantile(pooled, [0.25, 0.5, 0.75]))
    return Estimate(
        median=median, interval=interval(groups) if len(groups) >= FEWEST_LAUNCHES else None,
        spread=(three_quarters - quarter) / median, samples=len(pooled), launches=len(groups),
    )  # fmt: skip


def interval(groups: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the median, resampling launches first and then samples within each.

    So what differs between processes counts. The seed is fixed, so the interval comes out the same again.
    """
    import numpy as np

    lengths = np.array([len(group) for group in groups])
    widest = int(lengths.max())
    samples = np.array([[*group, *[np.nan] * (widest - len(group))] for group in groups])
    stream = np.random.default_rng(0)
    launch = stream.integers(0, len(groups), (RESAMPLINGS, len(groups), 1))
    sample = stream.integers(0, lengths[launch], (RESAMPLINGS, len(groups), widest))
    drawn = np.where(np.arange(widest) < lengths[launch], samples[launch, sample], np.nan)
    medians = np.nanmedian(drawn.reshape(RESAMPLINGS, -1), axis=1)
    low, high = np.quantile(medians, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
