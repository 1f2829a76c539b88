"""Judges a witness against the reference: does this cell compute the same network as everyone else?"""

import math
from collections.abc import Iterator, Mapping

import msgspec
import numpy as np

from runner.protocol import Change, Real, Witness

TOLERANCE = 1e-3
"""Relative, for outputs, losses and moving averages: float32 stays near 1e-5 for VGG16; a wrong padding or a forgotten bias
is above 1e-2."""

UPDATE_TOLERANCE = 1e-2
"""Relative, for the norms of first updates: where two values of a pooling window or a relu's input and zero nearly tie,
float32 and float64 send the gradient different ways; in VGG16's first layers that makes up to 0.2 %."""

Averages = Mapping[str, Mapping[str, Change]]
"""By form, the first changes of moving averages; the plain form, without a name, has all, another those that it has otherwise."""


class Tolerances(msgspec.Struct, frozen=True, kw_only=True):
    """What two witnesses of one network may differ by; `full_step` as its optimizer says."""

    plain: float = TOLERANCE
    update: float = UPDATE_TOLERANCE
    full_step: float = 0.0


USUAL = Tolerances()


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Which form of its workload a witness agrees with, or every way in which it agrees with none."""

    form: str
    disagreements: tuple[str, ...]
    error: float
    update_error: float


def verdict_on(
    found: Witness, forms: Mapping[str, Witness], averages: Averages, tolerances: Tolerances = USUAL
) -> Verdict:
    """The judgement on a witness, by the first form that it agrees with or else by the plain one.

    Forms of the network as a whole and those of its moving averages do not depend on each other.
    """
    every = {name: disagreements(found, right, tolerances) for name, right in forms.items()}
    form = next((name for name, differing in every.items() if not differing), "")
    kept, strange = form_of_averages(found.averages, averages, tolerances.plain)
    return Verdict(
        form=", ".join(name for name in (form, kept) if name),
        disagreements=(*every[form], *strange),
        error=largest_error(found, forms[form]),
        update_error=largest_update_error(found, forms[form], tolerances.full_step),
    )


def disagreements(found: Witness, reference: Witness, tolerances: Tolerances = USUAL) -> tuple[str, ...]:
    """Every way in which outputs, losses and updates differ from the reference's, the plainest first; none means agreement."""
    errors = update_errors(found.update_norms, reference.update_norms, tolerances.full_step)
    return (
        *_output_disagreements(found, reference, tolerances.plain),
        *(
            f"first update of {name} has norm {shown(found.update_norms.get(name, 'nan'))}, not {shown(reference.update_norms[name])}"
            for name, error in errors.items()
            if not error <= tolerances.update
        ),
    )


def _output_disagreements(found: Witness, reference: Witness, tolerance: float) -> Iterator[str]:
    if found.parameters != reference.parameters:
        yield f"{found.parameters:,} parameters, not {reference.parameters:,}"
    outputs = outputs_error(found, reference)
    if not outputs <= tolerance:  # so that nan disagrees
        yield f"first outputs off by {'NaN' if math.isnan(outputs) else f'{outputs:.1e}'}"
    for step, (loss, truth) in enumerate(zip(found.losses, reference.losses, strict=False), start=1):
        if not loss_error(loss, truth, reference) <= tolerance:
            yield f"loss of step {step} is {shown(loss, 6)}, not {shown(truth, 6)}"
    if len(found.losses) != len(reference.losses):
        yield f"{len(found.losses)} losses, not {len(reference.losses)}"


def shown(number: Real, digits: int = 4) -> str:
    """A number for a sentence."""
    value = float(number)
    return "NaN" if math.isnan(value) else f"{value:.{digits}g}"


def form_of_averages(
    found: Mapping[str, Change], forms: Averages, tolerance: float = TOLERANCE
) -> tuple[str, tuple[str, ...]]:
    """The form that moving averages have, or else none and every way in which they differ from the nearest.

    Forms that fit alike, as those of the variance do in a large batch, differ by no more than rounding does, which a tenth of
    the tolerance is taken for: then it is the one with the shortest name.
    """
    plain = dict(forms.get("", {}))
    errors = {form: average_errors(found, plain | dict(changes)) for form, changes in forms.items()}
    differing = {form: [name for name, error in of.items() if not error <= tolerance] for form, of in errors.items()}

    def distance(form: str) -> tuple[int, float, int]:
        return len(differing[form]), max((tolerance / 10, *errors[form].values())), len(form)

    nearest = min(forms, key=distance, default="")
    rights = plain | dict(forms.get(nearest, {}))
    strange = tuple(
        f"first change of {name} has norm {shown(found[name].norm)}, not {shown(rights[name].norm)}"
        if name in found
        else f"nothing is told of {name} after the first step"
        for name in differing.get(nearest, [])
    )
    return "" if strange else nearest, strange


def average_errors(found: Mapping[str, Change], reference: Mapping[str, Change]) -> dict[str, float]:
    """The relative error of each moving average's first change, infinite where nothing is told of it."""
    largest = max((float(change.norm) for change in reference.values()), default=0.0)
    return {
        name: change_error(found[name], right, largest) if name in found else float("inf")
        for name, right in reference.items()
    }


def change_error(found: Change, right: Change, largest: float) -> float:
    """The relative distance of the first numbers, or of the norms where that is larger.

    A small change counts against a thousandth of the largest.
    """
    if len(found.first) != len(right.first):
        return float("inf")
    least = max(1e-3 * largest, 1e-12)
    a, b = np.asarray(found.first, float), np.asarray(right.first, float)
    distance = float(np.linalg.norm(a - b)) / max(float(np.linalg.norm(b)), least)
    of_norms = abs(float(found.norm) - float(right.norm)) / max(float(right.norm), least)
    error = worst((distance, of_norms))
    return float("inf") if math.isnan(error) else error


def update_errors(found: Mapping[str, Real], reference: Mapping[str, Real], full_step: float = 0.0) -> dict[str, float]:
    """The relative error of each parameter's first update; small updates count against a thousandth of the largest.

    A gradient of zero in exact arithmetic (a bias before batch norm) is left out: in float32 it is rounding
    noise, which an adaptive optimizer blows up to a full step, without any effect on what the network computes.
    Such an optimizer does the same to a single number whose gradient is nearly zero, so one full step is granted.
    """
    truths = {name: float(truth) for name, truth in reference.items()}
    largest = max(truths.values(), default=0.0)
    learning = {name: truth for name, truth in truths.items() if truth > 1e-6 * largest}
    return {
        name: beyond(float(found.get(name, "nan")), truth, full_step) / max(truth, 1e-3 * largest)
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
    return worst((outputs_error(found, reference), *losses))


def largest_update_error(found: Witness, reference: Witness, full_step: float = 0.0) -> float:
    """The worst relative difference over the norms of first updates; 0 in inference, which has none."""
    return worst(tuple(update_errors(found.update_norms, reference.update_norms, full_step).values()))


def worst(errors: tuple[float, ...]) -> float:
    """The largest of these, NaN where one is NaN (which max() would pass over), 0 where there are none."""
    return float("nan") if any(map(math.isnan, errors)) else max(errors, default=0.0)


def outputs_error(found: Witness, reference: Witness) -> float:
    """The relative L2 distance of the first outputs, or the relative difference of the norms where that is larger."""
    if [len(row) for row in found.outputs.first] != [len(row) for row in reference.outputs.first]:
        return float("inf")
    a, b = np.asarray(found.outputs.first, float), np.asarray(reference.outputs.first, float)
    distance = float(np.linalg.norm(a - b) / max(float(np.linalg.norm(b)), 1e-12))
    return worst((distance, relative(found.outputs.norm, reference.outputs.norm)))


def loss_error(loss: Real, truth: Real, reference: Witness) -> float:
    """The difference over the largest reference loss: a loss that has nearly vanished is no scale of its own."""
    return abs(float(loss) - float(truth)) / max(*(abs(float(value)) for value in reference.losses), 1e-12)


def relative(value: Real, truth: Real) -> float:
    return abs(float(value) - float(truth)) / max(abs(float(truth)), 1e-12)
