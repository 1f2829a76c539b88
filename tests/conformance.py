"""Small networks, each with every layer of a kind, asked of an adapter in its real framework and of the reference.

Also a tool for who writes an adapter: `python tests/conformance.py INTERPRETER ADAPTER [OPTION=VALUE ...]`.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from runner import layers as l  # noqa: E402
from runner.engines import thread_variables  # noqa: E402
from runner.networks.vgg import vgg  # noqa: E402
from runner.protocol import (  # noqa: E402
    Answer,
    Images,
    Optimizer,
    Request,
    Sampling,
    Tokens,
    WorkloadRequest,
)
from runner.references import Reference, averages_of, without_averages  # noqa: E402
from runner.witness import Tolerances, Verdict, verdict_on  # noqa: E402

TOLERANCE = 1e-4  # relative, float32 against float64
SGD = Optimizer(kind="sgd", learning_rate=0.05)
SMALL_BLOCKS = ((4, 1), (6, 2))


def network(name: str, shape: tuple[int, ...], *chain: l.AnyLayer) -> l.Network:
    return l.Network(name=name, input_shape=shape, layers=chain)


CONV = l.Conv2d(filters=5, kernel=3, padding=1)
HEAD = (l.Flatten(), l.Dense(units=7, gain=1.0))
TEXT = (l.Embedding(vocabulary=20, dimension=6),)
BLOCK = (
    l.Conv2d(filters=5, kernel=3, padding=1),
    l.BatchNorm(),
    l.Relu(),
    l.Conv2d(filters=5, kernel=3, padding=1),
    l.BatchNorm(),
)
NETWORKS = {
    "vgg": network("vgg", (3, 12, 8), *vgg(SMALL_BLOCKS, 10, 7, batch_norm=False)),
    "vgg-bn": network("vgg-bn", (3, 12, 8), *vgg(SMALL_BLOCKS, 10, 7, batch_norm=True)),
    "strides": network("strides", (3, 11, 9), l.Conv2d(filters=5, kernel=3, stride=2, padding=1), l.Relu(),
                       l.Conv2d(filters=4, kernel=3, padding=0, bias=False), l.Relu(), *HEAD),
    "leaky-tanh-dropout": network("leaky-tanh-dropout", (2, 8, 8), CONV, l.LeakyRelu(slope=0.1), l.Dropout(rate=0.5),
                                  CONV, l.Tanh(), *HEAD),
    "pools": network("pools", (2, 9, 9), CONV, l.MaxPool(kernel=3, stride=2, padding=1), CONV,
                     l.AvgPool(kernel=2, stride=2), CONV, l.GlobalAvgPool(), l.Dense(units=7)),
    "residual": network("residual", (3, 8, 8), CONV, l.Residual(body=BLOCK), l.Relu(),
                        l.Residual(body=(l.Conv2d(filters=6, kernel=3, stride=2, padding=1), l.Relu()),
                                   shortcut=(l.Conv2d(filters=6, kernel=1, stride=2),)), l.Relu(), *HEAD),
    "gru": network("gru", (9,), *TEXT, l.Gru(units=5), l.Dense(units=7)),
    "gru-reset-before": network("gru-reset-before", (9,), *TEXT, l.Gru(units=5, reset_after=False), l.Dense(units=7)),
}  # fmt: skip


def as_trained(net: l.Network) -> l.Network:
    """The network with moving averages by which inference can tell it from one without normalisation."""
    return msgspec.structs.replace(net, layers=tuple(map(with_drawn_averages, net.layers)))


def with_drawn_averages(layer: l.AnyLayer) -> l.AnyLayer:
    match layer:
        case l.BatchNorm():
            return msgspec.structs.replace(layer, mean=(-0.1, 0.1), variance=(0.5, 1.5))
        case l.Residual(body=body, shortcut=shortcut):
            branches = [tuple(map(with_drawn_averages, branch)) for branch in (body, shortcut)]
            return l.Residual(body=branches[0], shortcut=branches[1])
        case _:
            return layer


OPTIMIZERS = {
    "sgd": SGD,
    "momentum": Optimizer(kind="momentum", learning_rate=0.05, momentum=0.9),
    "adam": Optimizer(kind="adam", learning_rate=0.01, beta1=0.9, beta2=0.999, epsilon=1e-8),
    "adadelta": Optimizer(kind="adadelta", learning_rate=1.0, rho=0.95, epsilon=1e-6),
}
FAST = Sampling(warm_up_steps=1, blocks=3)


def request(
    adapter: str, net: l.Network, options: dict[str, str], *, optimizer: Optimizer = SGD, sampling: Sampling | None = FAST,
    mode: str = "training", l2: float = 0.0, batch: int = 3,
) -> Request:  # fmt: skip
    tokens = isinstance(net.layers[0], l.Embedding)
    workload = WorkloadRequest(
        name=net.name, mode=mode, batch=batch, classes=7, optimizer=optimizer, l2=l2,
        data=Tokens(vocabulary=20) if tokens else Images(),
    )  # fmt: skip
    return Request(
        cell="test", adapter=adapter, options=options, device="cpu", threads=1, seed=1, workload=workload,
        network=[x.as_json() for x in l.lower(net)], witness_steps=3, sampling=sampling,
    )  # fmt: skip


class Crashed(AssertionError):
    """The guest ended without an answer, or its answer says that the framework failed."""


def ask(
    interpreter: str, asked: Request, environment: dict[str, str] | None = None, guest: Path = ROOT / "images/guest",
    samples: bytes = b"",
) -> Answer:  # fmt: skip
    """Run the real guest under this interpreter and read its answer."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "request.json").write_bytes(msgspec.json.encode(asked))
        Path(folder, "samples.npz").write_bytes(samples)
        environ = {"PATH": os.environ["PATH"], "HOME": folder, "TMPDIR": folder, **thread_variables(1)} | (
            environment or {}
        )
        done = subprocess.run(
            [interpreter, str(guest), folder], env=environ, timeout=300, capture_output=True, text=True, check=False,
        )  # fmt: skip
        answer = Path(folder, "answer.json")
        if not answer.exists():
            raise Crashed(f"no answer, exit {done.returncode}: {done.stderr[-2000:]}")
        found = msgspec.json.decode(answer.read_bytes(), type=Answer)
        if found.status == "crashed":
            raise Crashed(f"{found.reason}\n{done.stderr[-3000:]}")
        if done.returncode != 0:
            raise Crashed(f"exit {done.returncode}, having answered: {done.stderr[-2000:]}")
        return found


def reference(asked: Request) -> Reference:
    """What numpy says in float64 of what is asked."""
    options = {"averages": "in forms"}
    found = ask(sys.executable, msgspec.structs.replace(asked, adapter="numpy", sampling=None, options=options))
    assert found.witness, found.reason
    return Reference(
        workload=asked.workload.name, batch=asked.workload.batch, key="", witness=without_averages(found.witness),
        averages=averages_of(found.witness),
    )  # fmt: skip


def judgement(found: Answer, truth: Reference, tolerance: float = TOLERANCE) -> Verdict:
    """What the judge says, with one tolerance for all."""
    assert found.witness
    return verdict_on(found.witness, truth.forms, truth.averages, Tolerances(plain=tolerance, update=tolerance))


def differences(found: Answer, truth: Reference, tolerance: float = TOLERANCE) -> tuple[str, ...]:
    return judgement(found, truth, tolerance).disagreements


def main() -> None:
    interpreter, adapter, *rest = sys.argv[1:]
    options = dict(word.split("=", 1) for word in rest if "=" in word and not word.isupper() and word[0].islower())
    environment = dict(word.split("=", 1) for word in rest if "=" in word and word[0].isupper())
    cases = [(f"{n}", request(adapter, net, options)) for n, net in NETWORKS.items()]
    cases += [
        (f"vgg-bn {k} l2", request(adapter, NETWORKS["vgg-bn"], options, optimizer=o, l2=1e-3))
        for k, o in OPTIMIZERS.items()
    ]
    cases += [("vgg-bn inference", request(adapter, as_trained(NETWORKS["vgg-bn"]), options, mode="inference"))]
    for name, asked in cases:
        try:
            found, truth = ask(interpreter, asked, environment), reference(asked)
        except AssertionError as error:
            print(f"{name:30} FAILED {error}")
            continue
        if found.status != "ok":
            print(f"{name:30} {found.status}: {found.reason}")
            continue
        verdict = judgement(found, truth)
        print(
            f"{name:30} error {max(verdict.error, verdict.update_error):.1e} "
            f"{'; '.join(verdict.disagreements) or f'agrees {verdict.form}'}  {json.dumps(found.costs_seconds)}"
        )


if __name__ == "__main__":
    main()
