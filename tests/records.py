"""Records made by hand, for tests of what reads them."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from runner.protocol import Outputs, Sample, WarmUp, Witness
from runner.records import Record

WITNESS = Witness(parameters=3, outputs=Outputs(first=[[1.0]], norm=1.0), losses=[2.0], update_norms={"a": 0.5})


def record(**changes: Any) -> Record:
    """A good launch of torch-2.13 on the small workload, with these fields changed."""
    base = Record(
        cell="torch-2.13",
        release="torch-2.13",
        options={"layout": "nchw", "compile": "off"},
        suite="small",
        workload="small",
        profile="quick",
        batch=2,
        device="cpu",
        engine="venv",
        machine="box",
        launch=1,
        threads=2,
        fingerprint="f" * 16,
        environment="e" * 16,
        started=datetime(2026, 11, 21, 12, tzinfo=UTC),
        seconds=3.0,
        fate="ok",
        costs_seconds={"import": 1.0},
        warm_up=WarmUp(steps=1, seconds=0.01),
        samples=[Sample(steps=2, seconds=0.02), Sample(steps=2, seconds=0.022), Sample(steps=2, seconds=0.021)],
        witness=WITNESS,
        witness_error=1e-6,
    )
    return msgspec.structs.replace(base, **changes)
