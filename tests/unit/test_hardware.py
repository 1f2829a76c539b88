"""The gate: which CUDA a driver and a GPU allow, from the committed tables."""

import pytest

from runner.hardware import Gpu, Hardware, read_hardware
from runner.paths import checkout_paths


@pytest.fixture(scope="module")
def hardware() -> Hardware:
    return read_hardware(checkout_paths())


def gpu(name: str, capability: str, driver: str) -> Gpu:
    return Gpu(index=0, name=name, capability=capability, driver=driver)


H200 = gpu("NVIDIA H200", "9.0", "580.65.06")
TITAN_X = gpu("GTX TITAN X", "5.2", "470.82.01")
V100 = gpu("Tesla V100", "7.0", "440.33.01")


@pytest.mark.parametrize(
    ("cuda", "one", "said"),
    [
        ("13.0", H200, None),
        ("11.8", H200, None),
        ("8.0", H200, "compute capability 9.0, CUDA 8.0 ends at 6.2; the first CUDA that knows it is 11.8"),
        ("8.0", TITAN_X, None),
        ("11.8", TITAN_X, None),  # by minor version compatibility
        ("12.2", TITAN_X, "CUDA 12.2 needs driver 525.60.13 or newer, this machine has 470.82.01"),
        ("9.0", V100, None),
        ("10.2", V100, None),
        ("11.0", V100, "CUDA 11.0 needs driver 450.80.02 or newer"),
        ("13.0", gpu("Tesla V100", "7.0", "580.82.07"), "CUDA 13.0 begins at 7.5"),
    ],
)
def test_a_cell_is_refused_before_anything_is_built(hardware: Hardware, cuda: str, one: Gpu, said: str | None) -> None:
    reason = hardware.reason_against(cuda, one)
    if said is None:
        assert reason is None
    else:
        assert said in (reason or "")


def test_a_driver_says_its_newest_toolkit(hardware: Hardware) -> None:
    assert hardware.newest_toolkit("535.104.05") == "12.2.2"
    assert hardware.newest_toolkit("1.0") is None
