"""Judges a witness against the reference: does this cell compute the same network as everyone else?"""

from collections.abc import Iterator

import numpy as np

from runner.protocol import Witness

TOLERANCE = 1e-3
"""Relative. float32 against float64 stays near 1e-5 for VGG16; a wrong padding or a missing bias is above 1e-2."""


def disagreements(found: Witness, reference: Witness, tolerance: float = TOLERANCE) -> tuple[str, ...]:
    """Every way in which the found witness differs from the reference, the plainest first; none means agreement."""
    return tuple(_disagreements(found, reference, tolerance))


def _disagreements(found: Witness, reference: Witness, tolerance: float) -> Iterator[str]:
    if found.parameters != reference.parameters:
        yield f"{found.parameters:,} parameters, not {reference.parameters:,}"
    outputs = outputs_error(found, reference)
    if not outputs <= tolerance:  # so that nan disagrees
        yield f"first outputs off by {outputs:.1e}"
    for step, (loss, truth) in enumerate(zip(found.losses, reference.losses, strict=False), start=1):
        if not relative(loss, truth) <= tolerance:
            yield f"loss of step {step} is {loss:.6g}, not {truth:.6g}"
    if len(found.losses) != len(reference.losses):
        yield f"{len(found.losses)} losses, not {len(reference.losses)}"
    yield from _update_disagreements(found.update_norms, reference.update_norms, tolerance)


def _update_disagreements(found: dict[str, float], reference: dict[str, float], tolerance: float) -> Iterator[str]:
    floor = update_floor(reference)
    for name, truth in reference.items():
        change = found.get(name, float("nan"))
        if not abs(change - truth) <= tolerance * max(truth, floor):
            yield f"first update of {name} has norm {change:.4g}, not {truth:.4g}"


def update_floor(norms: dict[str, float]) -> float:
    """Below a thousandth of the largest update a norm is rounding: a bias before batch norm has gradient zero."""
    return 1e-3 * max(norms.values(), default=0.0)


def largest_error(found: Witness, reference: Witness) -> float:
    """The worst relative difference over outputs, losses and update norms."""
    floor = update_floor(reference.update_norms)
    updates = (
        abs(found.update_norms.get(name, float("nan")) - truth) / max(truth, floor)
        for name, truth in reference.update_norms.items()
    )
    losses = (relative(a, b) for a, b in zip(found.losses, reference.losses, strict=False))
    errors = [outputs_error(found, reference), *losses, *updates]
    return float("inf") if any(np.isnan(errors)) else max(errors)


def outputs_error(found: Witness, reference: Witness) -> float:
    """The relative L2 distance of the first outputs, or the relative difference of the norms where that is larger."""
    a, b = np.asarray(found.outputs.first), np.asarray(reference.outputs.first)
    if a.shape != b.shape:
        return float("inf")
    distance = float(np.linalg.norm(a - b) / max(float(np.linalg.norm(b)), 1e-12))
    return max(distance, relative(found.outputs.norm, reference.outputs.norm))


def relative(value: float, truth: float) -> float:
    return abs(value - truth) / max(abs(truth), 1e-12)
