"""The job folder's two files: the request that the guest reads and the answer that it leaves."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from runner.fields import Count, CountOrNone, Seconds, SecondsOrNone, Share

# The format of request.json and answer.json, and of the guest that reads and writes them.
# History: 1, the first; 2, training runs; 3, moving averages in the witness, and words for numbers that are not finite.
GUEST_SCHEMA = 3

Pixel = Annotated[float, msgspec.Meta(ge=-1000, le=1000)]
Status = Literal["ok", "unsupported", "wrong_witness", "out_of_memory", "crashed"]

Tally = Annotated[int, Meta(ge=0, le=2**53)]
Duration = Annotated[float, Meta(ge=0, le=1e8)]

Real = float | Literal["nan", "inf", "-inf"]
"""What a framework computed. JSON has no NaN and no infinity, so a guest writes their names; float() reads all of these."""


Plain = str | int | float | bool | None
Facts = dict[str, Plain | list[Plain] | dict[str, Plain | list[Plain] | dict[str, Plain]]]
"""What a guest says of its place and its framework, no deeper than this."""


class Sampling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long a launch warms up and how many timed blocks of how many steps follow."""

    warm_up_steps: CountOrNone = (
        1  # 0 leaves it to the steps of the witness; not with dropout, which is built in after them
    )
    warm_up_seconds: SecondsOrNone = 0.0
    blocks: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 10
    block_steps: Count = 1
    block_seconds: SecondsOrNone = 0.0  # a block has more steps than block_steps where it would be shorter than this
    limit_seconds: Seconds = 600.0  # after this, and three blocks, no further block starts


class Optimizer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One update rule with its constants; those that the kind does not use stay out."""

    kind: Literal["sgd", "momentum", "adam", "adadelta"]
    learning_rate: Annotated[float, msgspec.Meta(ge=0, le=100)]
    momentum: Share | None = None
    beta1: Share | None = None
    beta2: Share | None = None
    rho: Share | None = None
    epsilon: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    epsilon_hat: bool = False  # Adam's epsilon added before the bias correction of the root, not after it

    @property
    def full_step(self) -> float:
        """By how much the first step changes any number, be its gradient large or small, where the rule has it so; else 0."""
        return self.learning_rate if self.kind == "adam" else 0.0


class Images(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="images"):
    """A first batch of images from U[low, high)."""

    low: Pixel = 0.0
    high: Pixel = 1.0


class Tokens(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="tokens"):
    """A first batch of sequences of ids below `vocabulary`."""

    vocabulary: Count


class WorkloadRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What of a workload the guest needs."""

    name: str
    mode: Literal["training", "inference"]
    batch: int
    classes: int
    optimizer: Optimizer
    data: Images | Tokens
    l2: float = 0.0  # times the sum of squares of all convolution weights, added to the loss


class Training(msgspec.Struct, frozen=True, kw_only=True):
    """A training run over the samples in a file of the job folder; the digest is of what that file holds."""

    file: str
    digest: str


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """request.json. `network` holds the lowered layers; `sampling` is null where only the witness is wanted."""

    schema: int = GUEST_SCHEMA
    cell: str
    adapter: str
    options: dict[str, str]
    device: Literal["cpu", "gpu"]
    threads: int
    seed: int
    workload: WorkloadRequest
    network: list[dict[str, Any]]
    witness_steps: int
    sampling: Sampling | None
    training: Training | None = None


class WarmUp(msgspec.Struct, frozen=True, kw_only=True):
    """What ran before the first timed block; no steps where the steps of the witness were all the warm-up."""

    steps: Tally
    seconds: Duration


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One timed block."""

    steps: Annotated[int, Meta(ge=1, le=2**53)]
    seconds: Annotated[float, Meta(gt=0, le=1e8)]


class Outputs(msgspec.Struct, frozen=True, kw_only=True):
    """The first outputs of each sample of the batch and the L2 norm of them all."""

    first: list[list[Real]]
    norm: Real


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """By how much the first step changed the numbers of a parameter: the first of them, and the L2 norm of all."""

    first: list[Real]
    norm: Real


class Witness(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a cell says of the network it computes; inference has outputs alone."""

    parameters: Tally
    outputs: Outputs
    losses: list[Real] = []
    update_norms: dict[str, Real] = {}  # of the parameters that are trained
    averages: dict[str, Change] = {}  # of those that are not: the moving averages; records before schema 3 have none
    averages_in_forms: dict[str, dict[str, Change]] = {}  # of the reference: by form, as frameworks keep them


class Trained(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a training run: the share of the test samples that were classified right, and its time."""

    steps: Annotated[int, Meta(ge=1, le=2**53)]
    seconds: Annotated[float, Meta(gt=0, le=1e8)]
    accuracy: Annotated[float, Meta(ge=0, le=1)]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """answer.json, as far as the guest came: a failed guest leaves out what it did not reach."""

    schema: int
    status: Status
    reason: str = ""
    facts: Facts = {}
    costs_seconds: dict[str, Duration] = {}
    witness: Witness | None = None
    warm_up: WarmUp | None = None
    samples: list[Sample] = []
    training: Trained | None = None
    peak_memory_bytes: Tally = 0


class StateEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="state"):
    """A line of the guest's stdout: what it does from now on."""

    state: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_ .-]{1,60}$")]


class SampleEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="sample"):
    """A line of the guest's stdout: a timed block that is done."""

    steps: Annotated[int, msgspec.Meta(ge=1, le=10**9)]
    seconds: Annotated[float, msgspec.Meta(gt=0, le=10**7)]


GuestEvent = StateEvent | SampleEvent


def event_in(line: str) -> GuestEvent | None:
    """Return the event that a line of a guest's stdout is; None for whatever else is printed there."""
    try:
        return msgspec.json.decode(line, type=GuestEvent)  # type: ignore[no-any-return, call-overload, unused-ignore]
    except (msgspec.DecodeError, RecursionError):
        return None
