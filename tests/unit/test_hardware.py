"""The gate: which CUDA a driver and a GPU allow, from the committed tables, and what an engine makes of it."""

from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest
from searches import Only311

from runner import hardware as machine
from runner.catalog import Catalog
from runner.engines import Engine, Launch
from runner.engines.docker import Connection, DockerEngine
from runner.engines.host import HostEngine
from runner.engines.images import BuildSettings
from runner.engines.local import with_device
from runner.engines.venv import VenvEngine
from runner.hardware import Gpu, Hardware, Survey, Trouble, read_hardware, survey
from runner.paths import Paths, checkout_paths
from runner.recipes import recipe_for


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


@pytest.fixture(params=["docker", "venv", "host"])
def engine(request: pytest.FixtureRequest, catalog: Catalog, paths: Paths) -> Engine:
    client = SimpleNamespace(containers=SimpleNamespace(list=lambda **asked: []))
    match request.param:
        case "docker":
            return DockerEngine(catalog, paths, Connection(client=client, text=""), BuildSettings())
        case "venv":
            return VenvEngine(paths, {}, Only311(reachable=False))
        case _:
            return HostEngine(paths, {})


LOST = Trouble(text="GPU 0 cannot be used: GPU is lost", remedy="see dmesg")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Survey(), "no NVIDIA GPU on this machine"),
        (Survey(troubles=(LOST,)), "GPU 0 cannot be used: GPU is lost; see dmesg"),
        (Survey(gpus=(H200,)), "NVIDIA H200 has compute capability 9.0, CUDA 9.0 ends at 7.0"),
        (Survey(gpus=(V100,), troubles=(LOST,)), None),
        (Survey(gpus=(gpu("Tesla V100", "7.0", "375.26"),)), "CUDA 9.0 needs driver 384.81"),
    ],
)
def test_every_engine_asks_the_same_gate(
    engine: Engine, catalog: Catalog, paths: Paths, monkeypatch: pytest.MonkeyPatch, found: Survey, said: str | None
) -> None:
    monkeypatch.setattr(machine, "survey", lambda: found)
    reason = engine.reason_against(recipe_for(catalog, paths, "tf-1.8", "gpu")) or ""
    if said is None:
        assert not any(word in reason for word in ("GPU", "CUDA", "driver"))
    else:
        assert reason.startswith(said)
    assert "GPU" not in (engine.reason_against(recipe_for(catalog, paths, "tf-1.8", "cpu")) or "")


def test_a_guest_outside_containers_sees_the_chosen_gpu_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    third = Gpu(index=2, name="NVIDIA H200", capability="9.0", driver="580.65.06")
    monkeypatch.setattr(machine, "survey", lambda: Survey(gpus=(third,), troubles=(LOST,)))
    launch = Launch(
        folder=tmp_path, log=tmp_path / "log", environment={"A": "1"}, threads=1, timeout_seconds=1, on_event=print
    )
    assert with_device(launch, "cpu") == launch
    assert with_device(launch, "gpu").environment == {
        "A": "1",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": "2",
    }


@pytest.mark.parametrize("loaded", [True, False])
def test_a_driver_without_its_libraries_is_told_from_a_machine_without_a_gpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, loaded: bool
) -> None:
    def missing() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", missing)
    monkeypatch.setattr(machine, "CONTROL_DEVICE", tmp_path if loaded else tmp_path / "none")
    survey.cache_clear()
    try:
        found = survey()
    finally:
        survey.cache_clear()
    assert found.gpus == ()
    assert [trouble.remedy.partition(" ")[0] for trouble in found.troubles] == (["install"] if loaded else [])
