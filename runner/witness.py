"""Judges a witness against the reference: does this cell compute the same network as everyone else?"""

import math
from collections.abc import Iterator

import numpy as np

from runner.protocol import Witness

TOLERANCE = 1e-3
"""Relative, for outputs and losses: float32 stays near 1e-5 for VGG16; a wrong padding or a forgotten bias is above 1e-2."""

UPDATE_TOLERANCE = 1e-2
"""Relative, for the norms of first updates: where two values of a pooling window or a relu's input and zero nearly tie,
float32 and float64 send the gradient different ways; in VGG16's first layers that makes up to 0.2 %."""


def disagreements(
    found: Witness,
    reference: Witness,
    tolerance: float = TOLERANCE,
    update_tolerance: float = UPDATE_TOLERANCE,
    full_step: float = 0.0,
) -> tuple[str, ...]:
    """Every way in which the found witness differs from the reference, the plainest first; none means agreement."""
    errors = update_errors(found.update_norms, reference.update_norms, full_step)
    return (
        *_output_disagreements(found, reference, tolerance),
        *(
            f"first update of {name} has norm {found.update_norms.get(name, float('nan')):.4g}, not {reference.update_norms[name]:.4g}"
            for name, error in errors.items()
            if not error <= update_tolerance
        ),
    )


def _output_disagreements(found: Witness, reference: Witness, tolerance: float) -> Iterator[str]:
    if found.parameters != reference.parameters:
        yield f"{found.parameters:,} parameters, not {reference.parameters:,}"
    outputs = outputs_error(found, reference)
    if not outputs <= tolerance:  # so that nan disagrees
        yield f"first outputs off by {outputs:.1e}"
    for step, (loss, truth) in enumerate(zip(found.losses, reference.losses, strict=False), start=1):
        if not loss_error(loss, truth, reference) <= tolerance:
            yield f"loss of step {step} is {loss:.6g}, not {truth:.6g}"
    if len(found.losses) != len(reference.losses):
        yield f"{len(found.losses)} losses, not {len(reference.losses)}"


def update_errors(found: dict[str, float], reference: dict[str, float], full_step: float = 0.0) -> dict[str, float]:
    """The relative error of each parameter's first update; small updates count against a thousandth of the largest.

    A gradient of zero in exact arithmetic (a bias before batch norm) is left out: in float32 it is rounding
    noise, which an adaptive optimizer blows up to a full step, without any effect on what the network computes.
    Such an optimizer does the same to a single number whose gradient is nearly zero, so one full step is granted.
    """
    largest = max(reference.values(), default=0.0)
    learning = {name: truth for name, truth in reference.items() if truth > 1e-6 * largest}
    return {
        name: beyond(found.get(name, float("nan")), truth, full_step) / max(truth, 1e-3 * largest)
        for name, truth in learning.items()
    }


def beyond(norm: float, truth: float, full_step: float) -> float:
    """How far a norm is from the true one, less what one number makes that takes a full step or none."""
    granted = truth - math.sqrt(max(truth**2 - full_step**2, 0.0))
    difference = abs(norm - truth)
    return difference if math.isnan(difference) else max(difference - granted, 0.0)


def largest_error(found: Witness, reference: Witness) -> float:
    """The worst relative difference over outputs and losses."""
    losses = (loss_error(a, b, reference) for a, b in zip(found.losses, reference.losses, strict=False))
    errors = [outputs_error(found, reference), *losses]
    return float("inf") if any(np.isnan(errors)) else max(errors)


def largest_update_error(found: Witness, reference: Witness, full_step: float = 0.0) -> float:
    """The worst relative difference over the norms of first updates; 0 in inference, which has none."""
    errors = list(update_errors(found.update_norms, reference.update_norms, full_step).values())
    return float("inf") if any(np.isnan(errors)) else max(errors, default=0.0)


def outputs_error(found: Witness, reference: Witness) -> float:
    """The relative L2 distance of the first outputs, or the relative difference of the norms where that is larger."""
    a, b = np.asarray(found.outputs.first), np.asarray(reference.outputs.first)
    if a.shape != b.shape:
        return float("inf")
    distance = float(np.linalg.norm(a - b) / max(float(np.linalg.norm(b)), 1e-12))
    return max(distance, relative(found.outputs.norm, reference.outputs.norm))


def loss_error(loss: float, truth: float, reference: Witness) -> float:
    """The difference over the largest reference loss: a loss that has nearly vanished is no scale of its own."""
    return abs(loss - truth) / max(*(abs(value) for value in reference.losses), 1e-12)


def relative(value: float, truth: float) -> float:
    return abs(value - truth) / max(abs(truth), 1e-12)
