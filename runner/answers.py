"""Answers that fit their schema and cannot be: what a guest says, held against what it was asked."""

from collections.abc import Iterator

from runner.protocol import GUEST_SCHEMA, Answer, Request, Sampling, Witness

SLACK_SECONDS = 1.0  # by which a guest's clock and the runner's may differ over a launch
LEAST_BLOCKS = 3  # that a guest takes even where its time for them is spent


def contradictions(answer: Answer, request: Request, seconds: float) -> Iterator[str]:
    """Every way in which an answer cannot be one to this request, of a launch that took so many seconds."""
    if answer.schema != GUEST_SCHEMA:
        yield f"its schema is {answer.schema}, not {GUEST_SCHEMA}"
    if not isinstance(answer.facts.get("framework", {}), dict):
        yield "its facts of the framework are no object"
    if answer.status == "wrong_witness" and answer.witness is not None:
        yield "it has a witness, and says that it could not take one"
    if answer.status == "ok":
        yield from _lacking(answer, request)
    if answer.witness is not None:
        yield from _of_witness(answer.witness, request)
    blocks = request.sampling.blocks if request.sampling else 0
    if len(answer.samples) > blocks:
        yield f"it has {len(answer.samples)} samples, and {blocks} were asked for"
    if request.sampling and answer.samples:
        yield from _of_samples(answer, request.sampling)
    told = sum(part.seconds for part in (*answer.samples, answer.warm_up, answer.training) if part is not None)
    if told > seconds + SLACK_SECONDS:
        yield f"its steps took {told:.6g} s, and the whole launch {seconds:.6g} s"


def _lacking(answer: Answer, request: Request) -> Iterator[str]:
    """What an answer that says ok has too little or too much of."""
    if answer.witness is None:
        yield "it is ok without a witness"
    for what, asked, found in (
        ("a warm-up", request.sampling, answer.warm_up),
        ("samples", request.sampling, answer.samples),
        ("a training run", request.training, answer.training),
    ):
        if asked and not found:
            yield f"it is ok without {what}"
        if found and not asked:
            yield f"it has {what}, which was not asked for"


def _of_witness(witness: Witness, request: Request) -> Iterator[str]:
    training = request.workload.mode == "training"
    lengths = {len(row) for row in witness.outputs.first}
    if len(witness.outputs.first) != request.workload.batch:
        yield f"its witness has outputs of {len(witness.outputs.first)} samples, not of {request.workload.batch}"
    elif len(lengths) != 1 or 0 in lengths:
        yield "its witness has not as many outputs of each sample"
    steps = request.witness_steps if training else 0
    if len(witness.losses) != steps:
        yield f"its witness has {len(witness.losses)} losses, not {steps}"
    if not training and (witness.update_norms or witness.averages):
        yield "its witness has changes of parameters, and nothing was trained"


def _of_samples(answer: Answer, sampling: Sampling) -> Iterator[str]:
    if answer.status == "ok" and len(answer.samples) < min(LEAST_BLOCKS, sampling.blocks):
        yield f"it has {len(answer.samples)} samples, and at least {min(LEAST_BLOCKS, sampling.blocks)} were asked for"
    if any(sample.steps < sampling.block_steps for sample in answer.samples):
        yield f"it has a sample of less than {sampling.block_steps} steps"
