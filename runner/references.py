"""The truth a witness is held against: computed once in float64, kept in matrix/references with what it is of."""

import hashlib
from pathlib import Path
from typing import Any

import msgspec

from runner.catalog import Workload
from runner.errors import Mistake
from runner.layers import Lowered, lower
from runner.networks import network_named
from runner.paths import Paths
from runner.protocol import Change, Request, Witness, WorkloadRequest

# The format of a reference. History: 1, the first; 2, the first changes of moving averages.
REFERENCE_SCHEMA = 2


class Reference(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """matrix/references/<workload>-b<batch>.json; `key` is the digest of all that decides the numbers."""

    schema: int = REFERENCE_SCHEMA
    workload: str
    batch: int
    key: str
    witness: Witness
    others: dict[str, Witness] = {}  # of the other forms of the workload that frameworks have, by name
    averages: dict[
        str, dict[str, Change]
    ] = {}  # by form: the first changes, or those that differ from the plain form's

    @property
    def forms(self) -> dict[str, Witness]:
        """Every witness that is right, the plain one first and without a name."""
        return {"": self.witness, **self.others}


class Mathematics(msgspec.Struct, frozen=True, kw_only=True):
    """What is computed, whatever computes it."""

    layers: tuple[Lowered, ...]
    workload: WorkloadRequest
    seed: int
    witness_steps: int

    @property
    def network(self) -> list[dict[str, Any]]:
        return [layer.as_json() for layer in self.layers]

    @property
    def key(self) -> str:
        parts = (self.network, self.workload, self.seed, self.witness_steps)
        return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()[:16]


def mathematics(name: str, workload: Workload, batch: int) -> Mathematics:
    """A workload at a batch size."""
    request = WorkloadRequest(
        name=name, mode=workload.mode, batch=batch, classes=workload.classes,
        optimizer=workload.optimizer, data=workload.data, l2=workload.l2,
    )  # fmt: skip
    return Mathematics(
        layers=lower(network_named(workload.network)),
        workload=request,
        seed=workload.seed,
        witness_steps=workload.witness_steps,
    )


def reference_path(paths: Paths, name: str, batch: int) -> Path:
    return paths.references / f"{name}-b{batch}.json"


def reference_for(paths: Paths, name: str, wanted: Mathematics) -> Reference:
    """The kept reference.

    Raises:
        Mistake: where it is missing, damaged, or of other mathematics than the catalogue's today.
    """
    batch = wanted.workload.batch
    path = reference_path(paths, name, batch)
    again = f"compute it with: python -m runner reference {name} --batch {batch}"
    if not path.is_file():
        raise Mistake(f"{paths.shown(path)} is missing, so no number could be proven; {again}")
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Reference)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise Mistake(f"{paths.shown(path)} is damaged ({error}); {again}") from None
    if found.key != wanted.key:
        raise Mistake(f"{paths.shown(path)} is of another network or workload than matrix/ describes now; {again}")
    return found


def forms_of(wanted: Mathematics) -> dict[str, Mathematics]:
    """The forms that a workload has: Adam's epsilon stands in two places, of which a framework has one for good."""
    optimizer = wanted.workload.optimizer
    if wanted.workload.mode == "inference" or optimizer.kind != "adam":
        return {"": wanted}
    hat = msgspec.structs.replace(optimizer, epsilon_hat=True)
    return {
        "": wanted,
        "epsilon hat": msgspec.structs.replace(
            wanted, workload=msgspec.structs.replace(wanted.workload, optimizer=hat)
        ),
    }


def reference_request(wanted: Mathematics, threads: int) -> Request:
    """What the numpy adapter is asked, to make the reference."""
    return Request(
        cell="reference", adapter="numpy", options={"averages": "in forms"}, device="cpu", threads=threads, seed=wanted.seed,
        workload=wanted.workload, network=wanted.network, witness_steps=wanted.witness_steps, sampling=None,
    )  # fmt: skip


def with_still_averages(reference: Reference) -> Reference:
    """The reference for a cell that keeps no moving averages: it has one form more, in which they never move."""
    plain = reference.averages.get("", {})
    if not plain:
        return reference
    still = {name: Change(first=[0.0] * len(change.first), norm=0.0) for name, change in plain.items()}
    return msgspec.structs.replace(reference, averages=reference.averages | {"no moving averages": still})


def averages_of(witness: Witness) -> dict[str, dict[str, Change]]:
    """By form, the changes of a reference's averages: all of the plain form, of another what differs from the plain one."""
    plain = witness.averages_in_forms.get("", {})
    return {
        form: {name: change for name, change in changes.items() if form == "" or change != plain[name]}
        for form, changes in sorted(witness.averages_in_forms.items())
        if changes
    }


def without_averages(witness: Witness) -> Witness:
    return msgspec.structs.replace(witness, averages={}, averages_in_forms={})
