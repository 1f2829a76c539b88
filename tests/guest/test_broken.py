"""Adapters that compute another network, each in a way that really happens; the witness must catch every one."""

import shutil
import sys
from functools import cache
from pathlib import Path

import msgspec
import pytest
from checkouts import ROOT
from conformance import NETWORKS, ask, reference, request

from runner.layers import GlobalAvgPool, Network
from runner.networks.resnet import bottleneck, preactivated, stem
from runner.protocol import Answer, Request
from runner.references import Reference
from runner.witness import TOLERANCE, largest_error, verdict_on

FAULTS = {
    "padding at the end only, as SAME does with a stride": """
    def conv2d(self, x, layer):
        shifted = np.zeros_like(x)
        shifted[:, :, :-1, :-1] = x[:, :, 1:, 1:]
        return OnNumpy.conv2d(self, shifted if layer["stride"] == 2 else x, layer)
""",
    "a forgotten bias": """
    def dense(self, x, layer):
        return OnNumpy.dense(self, x, layer) - self.value(layer, "bias")
""",
    "a skipped layer": """
    def relu(self, x, layer):
        return x if layer["name"] == "relu_1" else OnNumpy.relu(self, x, layer)
""",
    "flipped kernels": """
    def conv2d(self, x, layer):
        return OnNumpy.conv2d(self, x[:, :, ::-1, ::-1], layer)[:, :, ::-1, ::-1]
""",
    "another epsilon": """
    def batch_norm(self, x, layer):
        return OnNumpy.batch_norm(self, x, dict(layer, epsilon=0.1))
""",
    "a gradient of zero with the loss right, as torch.compile once gave": """
    def update(self, gradients):
        OnNumpy.update(self, dict((k, g * ("conv" not in k)) for k, g in gradients.items()))
""",
    "moving averages instead of the batch in training": """
    def forward(self, inputs, training):
        return OnNumpy.forward(self, inputs, False)
""",
    "rows of a dense weight in channels-last order": """
    def flatten(self, x, layer):
        return OnNumpy.flatten(self, np.ascontiguousarray(x.transpose(0, 2, 3, 1)), layer)
""",
    "a tenth of the learning rate": """
    def sgd(self, name, gradient):
        return 0.1 * OnNumpy.sgd(self, name, gradient)
""",
}
NETWORK_OF = {"padding at the end only, as SAME does with a stride": "strides"}

FAULTS_OF_AVERAGES = {
    "a thousand more with each batch": """
    def keep_average(self, layer, part, found):
        OnNumpy.keep_average(self, layer, part, found)
        self.values[layer["name"] + "." + part] += 1000
""",
    "never updated": """
    def keep_average(self, layer, part, found):
        pass
""",
    "the momentum inverted": """
    def keep_average(self, layer, part, found):
        OnNumpy.keep_average(self, dict(layer, momentum=1 - layer["momentum"]), part, found)
""",
    "the mean for the variance": """
    def keep_average(self, layer, part, found):
        OnNumpy.keep_average(self, layer, "moving_variance", found)
""",
    "updated twice in a step": """
    def keep_average(self, layer, part, found):
        OnNumpy.keep_average(self, layer, part, found)
        OnNumpy.keep_average(self, layer, part, found)
""",
    "of another layer's batch": """
    def keep_average(self, layer, part, found):
        if layer["name"] == "batch_norm_3":
            OnNumpy.keep_average(self, dict(layer, name="batch_norm_2"), part, found)
        elif layer["name"] != "batch_norm_2":
            OnNumpy.keep_average(self, layer, part, found)
""",
}


@cache
def truth_of(name: str) -> Reference:
    return reference(request("numpy", NETWORKS[name], {}))


def broken(folder: Path, code: str, asked: Request) -> Answer:
    """What the reference adapter says once it is broken by this code."""
    guest = folder / "guest"
    shutil.copytree(ROOT / "images" / "guest", guest)
    adapter = (
        f"import numpy as np\nfrom on_numpy import OnNumpy\n\n\nclass Broken(OnNumpy):{code}\n\nADAPTER = Broken\n"
    )
    (guest / "on_broken.py").write_text(adapter)
    return ask(sys.executable, msgspec.structs.replace(asked, adapter="broken"), guest=guest)


def judged_wrong(found: Answer, truth: Reference) -> tuple[str, ...]:
    """What the judge has against an answer that says ok."""
    assert found.status == "ok", found.reason
    assert found.witness
    return verdict_on(found.witness, truth.forms, truth.averages).disagreements


@pytest.mark.parametrize("fault", FAULTS)
def test_the_witness_catches(fault: str, tmp_path: Path) -> None:
    name = NETWORK_OF.get(fault, "vgg-bn")
    asked = request("broken", NETWORKS[name], {}, sampling=None)
    assert judged_wrong(broken(tmp_path, FAULTS[fault], asked), truth_of(name))


@pytest.mark.parametrize("fault", FAULTS_OF_AVERAGES)
def test_the_witness_catches_averages(fault: str, tmp_path: Path) -> None:
    asked = request("broken", NETWORKS["vgg-bn"], {}, sampling=None)
    said = judged_wrong(broken(tmp_path, FAULTS_OF_AVERAGES[fault], asked), truth_of("vgg-bn"))
    assert said
    assert all(text.startswith("first change of batch_norm_") and ".moving_" in text for text in said)


FORMS_OF_AVERAGES = {
    "unbiased variance": """
    def keep_average(self, layer, part, found):
        m = self.statistics[layer["name"]][3]
        OnNumpy.keep_average(self, layer, part, found * m / (m - 1) if part == "moving_variance" else found)
""",
    "epsilon in the variance": """
    def keep_average(self, layer, part, found):
        OnNumpy.keep_average(self, layer, part, found + layer["epsilon"] if part == "moving_variance" else found)
""",
    "debiased averages, twice unbiased variance": """
    def keep_average(self, layer, part, found):
        m = self.statistics[layer["name"]][3]
        correction = (m / (m - 1.0)) ** 2 if part == "moving_variance" else 1.0
        OnNumpy.keep_average(self, dict(layer, momentum=0.0), part, found * correction)
""",
    "averages of a second pass": """
    def step(self, batch):
        kept = dict((p["name"], self.values[p["name"]]) for p in self.described if not p["trainable"])
        loss = OnNumpy.step(self, batch)
        self.values.update(kept)
        self.forward(batch[0], training=True)
        return loss
""",
}


@pytest.mark.parametrize("form", FORMS_OF_AVERAGES)
def test_a_framework_may_keep_averages_in_a_form_of_its_own(form: str, tmp_path: Path) -> None:
    asked = request("broken", NETWORKS["vgg-bn"], {}, sampling=None)
    found, truth = broken(tmp_path, FORMS_OF_AVERAGES[form], asked), truth_of("vgg-bn")
    assert judged_wrong(found, truth) == ()
    assert found.witness
    assert verdict_on(found.witness, truth.forms, truth.averages).form == form


def test_logits_that_move_averages_stop_the_launch(tmp_path: Path) -> None:
    """Though the step that follows is right: what was moved, a first step is not seen to have moved."""
    code = """
    def logits(self, batch):
        return self.forward(batch[0], training=True)
"""
    found = broken(tmp_path, code, request("broken", NETWORKS["vgg-bn"], {}))
    assert found.status == "wrong_witness"
    assert found.reason.startswith("after logits, batch_norm_1.moving_mean reads back with a difference of ")
    assert found.samples == []


@pytest.mark.parametrize(("number", "said"), [("nan", "NaN"), ("inf", "inf"), ("-inf", "-inf")])
def test_a_loss_that_is_not_finite_is_a_wrong_witness_that_says_so(number: str, said: str, tmp_path: Path) -> None:
    code = f"""
    def loss(self, handle):
        return float("{number}") if self.steps == 2 else float(handle)
"""
    found = broken(tmp_path, code, request("broken", NETWORKS["vgg"], {}))
    assert judged_wrong(found, truth_of("vgg"))[0].startswith(f"loss of step 2 is {said}, not ")
    assert len(found.samples) == 3


RESNETS = {
    "v1.5": (*stem(), *bottleneck(stride_first=False)(8, 2, True), *bottleneck(stride_first=False)(8, 1, False)),
    "v2": (*stem(epsilon=2e-5), *preactivated(8, 2, projection=True), *preactivated(8, 1, projection=False)),
}


@pytest.mark.parametrize("name", RESNETS)
def test_a_resnet_without_normalisation_is_far_from_the_right_one(name: str, tmp_path: Path) -> None:
    """Its batch norms scale and shift, and leave moving averages out; so few layers are the least that this can show."""
    code = """
    def batch_statistics(self, x, others, shape, layer):
        return np.zeros(shape=[1] * x.ndim), np.ones(shape=[1] * x.ndim)
"""
    layers = (*RESNETS[name], GlobalAvgPool())
    asked = request("broken", Network(name="resnet", input_shape=(3, 32, 32), layers=layers), {}, mode="inference")
    found, truth = broken(tmp_path, code, asked), reference(asked)
    assert judged_wrong(found, truth)[0].startswith("first outputs off by ")
    assert found.witness
    assert largest_error(found.witness, truth.witness) > 50 * TOLERANCE


def test_a_parameter_that_reads_back_changed_stops_the_launch(tmp_path: Path) -> None:
    code = """
    def parameters(self):
        return dict((k, v * (1 + 1e-6 * k.endswith("gamma"))) for k, v in OnNumpy.parameters(self).items())
"""
    found = broken(tmp_path, code, request("broken", NETWORKS["vgg-bn"], {}))
    assert found.status == "wrong_witness"
    assert "gamma reads back with a difference" in found.reason
    assert found.samples == []
