"""Adapters that compute another network, each in a way that really happens; the witness must catch every one."""

import shutil
import sys
from pathlib import Path

import pytest
from checkouts import ROOT
from conformance import NETWORKS, ask, reference, request

from runner.witness import disagreements

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


@pytest.mark.parametrize("fault", FAULTS)
def test_the_witness_catches(fault: str, tmp_path: Path) -> None:
    guest = tmp_path / "guest"
    shutil.copytree(ROOT / "images" / "guest", guest)
    code = f"import numpy as np\nfrom on_numpy import OnNumpy\n\n\nclass Broken(OnNumpy):{FAULTS[fault]}\n\nADAPTER = Broken\n"
    (guest / "on_broken.py").write_text(code)
    asked = request("broken", NETWORKS[NETWORK_OF.get(fault, "vgg-bn")], {}, sampling=None)
    found = ask(sys.executable, asked, guest=guest)
    truth = reference(asked)
    assert found.status == "ok", found.reason
    assert found.witness
    assert truth.witness
    assert disagreements(found.witness, truth.witness)


def test_a_parameter_that_reads_back_changed_stops_the_launch(tmp_path: Path) -> None:
    guest = tmp_path / "guest"
    shutil.copytree(ROOT / "images" / "guest", guest)
    code = """
from on_numpy import OnNumpy


class Broken(OnNumpy):
    def parameters(self):
        return dict((k, v * (1 + 1e-6 * k.endswith("gamma"))) for k, v in OnNumpy.parameters(self).items())


ADAPTER = Broken
"""
    (guest / "on_broken.py").write_text(code)
    found = ask(sys.executable, request("broken", NETWORKS["vgg-bn"], {}), guest=guest)
    assert found.status == "wrong_witness"
    assert "gamma reads back with a difference" in found.reason
    assert found.samples == []
