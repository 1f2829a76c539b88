"""The guest in Julia: its JSON, its streams and its arrays against numpy's, and the whole of it against the reference."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from checkouts import ROOT
from conformance import HEAD, NETWORKS, OPTIMIZERS, Crashed, as_trained, ask, differences, reference, request
from test_training import samples

sys.path.insert(0, str(ROOT / "images" / "guest"))

import data
import weights

from runner import layers as l
from runner.protocol import Answer, Request, Training

JULIA = shutil.which("julia") or ""
GUEST = ROOT / "images" / "guest" / "julia"
PLAIN = l.Network(
    name="plain", input_shape=(3, 4, 5), layers=(l.Flatten(), l.Dense(units=11), l.Relu(), l.Dense(units=7, gain=1.0))
)

pytestmark = [
    pytest.mark.skipif(not JULIA, reason="no julia on PATH; on Debian: sudo tests/install-parts.sh"),
    pytest.mark.xdist_group("julia"),  # one at a time: it is the cores that they would share
]


def julia(code: str, *arguments: object) -> str:
    """What this code prints with the guest's functions at hand; an error of Julia's is one of the test's."""
    told = f"include({json.dumps(str(GUEST / 'guest.jl'))}); using .Guest; {code}"
    done = subprocess.run(
        [JULIA, "--startup-file=no", "-e", told, *map(str, arguments)],
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/tmp"), "JULIA_NUM_THREADS": "1"},
        timeout=120, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_json_is_read_and_written(tmp_path: Path) -> None:
    values = [
        {}, [], [[]], {"a": {"b": [1, 2.5, None, True, False]}}, "", 'quote " backslash \\ newline \n tab \t nul \u0000',
        "é ☃ 𝄞", 0, -1, 2**62, 0.1, 1e-300, -1.7976931348623157e308, 5e-324, 1 / 3, 123456789.123, 1e22, -0.0,
    ]  # fmt: skip
    (tmp_path / "escaped").write_text(json.dumps(values, indent=1))
    (tmp_path / "plain").write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")
    for name in ("escaped", "plain"):
        found = julia("print(Guest.json(Guest.parse_json(read(ARGS[1], String))))", tmp_path / name)
        assert json.loads(found) == values
        assert repr(json.loads(found)) == repr(values)  # a float stays one, a zero keeps its sign
    assert julia('print(Guest.json(Dict("b" => [1, (2,)], "a" => [NaN, Inf32, -Inf, 0.1f0])))') == (
        '{"a": ["nan", "inf", "-inf", 0.10000000149011612], "b": [1, [2]]}'
    )


def test_what_is_no_json_is_refused_with_its_place(tmp_path: Path) -> None:
    bad = ["", "[1,]", '{"a" 1}', "[1 2]", '"open', "tru", "1.2.3", '"\\q"', '"\\u12"', "[] []", "nul", '{"a":}', "'a'"]
    (tmp_path / "bad").write_text(json.dumps(bad))
    code = """
    for text in Guest.parse_json(read(ARGS[1], String))
        println(try Guest.parse_json(text) catch error; sprint(showerror, error) end)
    end"""
    lines = julia(code, tmp_path / "bad").splitlines()
    assert len(lines) == len(bad)
    assert all(line.startswith("not JSON: ") and " expected at byte " in line for line in lines), lines


def test_the_stream_is_numpys_to_the_last_bit() -> None:
    code = """
    stream = Guest.RandomState(parse(UInt32, ARGS[1]))
    doubles = Guest.uniform!(stream, Vector{Float64}(undef, 1000), -0.3, 1.7)
    singles = Guest.uniform!(stream, Vector{Float32}(undef, 1000), -0.3, 1.7)
    numbers = [Guest.randint!(stream, Vector{Int32}(undef, 300), bound) for bound in (1, 2, 7, 30000, 65536)]
    print(Guest.json([reinterpret(UInt64, doubles), reinterpret(UInt32, singles), vcat(numbers...)]))"""
    for seed in (0, 1, 12345, 2**32 - 1):
        stream = np.random.RandomState(seed)
        doubles, singles = stream.uniform(-0.3, 1.7, 1000), stream.uniform(-0.3, 1.7, 1000).astype(np.float32)
        numbers = np.concatenate([stream.randint(0, bound, 300) for bound in (1, 2, 7, 30000, 65536)])
        found = json.loads(julia(code, seed))
        assert found == [doubles.view(np.uint64).tolist(), singles.view(np.uint32).tolist(), numbers.tolist()]


@pytest.mark.parametrize("name", ["vgg-bn", "residual", "gru"])
def test_weights_and_the_first_batch_are_those_of_python(name: str, tmp_path: Path) -> None:
    asked = msgspec.to_builtins(request("plain", NETWORKS[name], {}))
    (tmp_path / "request.json").write_text(json.dumps(asked))
    code = """
    asked = Guest.parse_json(read(ARGS[1], String))
    work, layers = asked["workload"], asked["network"]
    kept = Dict{String,Any}(Guest.draw(layers, 3))
    kept["inputs"], kept["labels"] =
        Guest.first_batch(work["data"], work["batch"], layers[1]["in_shape"], work["classes"], 4)
    print(Guest.json(Dict(name => [reverse(size(a)), bytes2hex(collect(reinterpret(UInt8, vec(a))))] for (name, a) in kept)))"""
    work, layers = asked["workload"], asked["network"]
    expected = weights.draw(layers, 3)
    expected["inputs"], expected["labels"] = data.first_batch(
        work["data"], work["batch"], layers[0]["in_shape"], work["classes"], 4
    )
    found = json.loads(julia(code, tmp_path / "request.json"))
    assert found == {name: [list(array.shape), array.tobytes().hex()] for name, array in expected.items()}


def test_arrays_of_files_are_read_with_their_axes_reversed(tmp_path: Path) -> None:
    arrays = {
        "images": np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5),
        "order": np.arange(6).reshape(3, 2),
        "labels": np.array([3, -1, 2], np.int32),
        "scale": np.float32(0.1),
        "mean": np.linspace(0, 1, 6, dtype=np.float32).reshape(1, 2, 3),
        "nothing": np.zeros((0, 3)),
    }
    np.savez(tmp_path / "plain.npz", **arrays)
    np.savez_compressed(tmp_path / "small.npz", **arrays)
    code = """
    found = Guest.read_npz(ARGS[1])
    print(Guest.json(Dict(name => [reverse(size(a)), vec(a)] for (name, a) in found)))"""
    found = json.loads(julia(code, tmp_path / "plain.npz"))
    assert found == {name: [list(a.shape), a.ravel().tolist()] for name, a in arrays.items()}
    with pytest.raises(AssertionError, match="is compressed"):
        julia(code, tmp_path / "small.npz")


def test_the_gates_of_a_gru_lie_as_cudnn_keeps_them() -> None:
    code = """
    include(joinpath(dirname(pathof_guest), "knet_gru.jl"))
    fill_(size...) = reshape(Float32.(1:prod(size)), size)
    given = (fill_(6, 3), 100 .+ fill_(6, 2), 200 .+ fill_(6), 300 .+ fill_(6))
    vector = gru_vector(given...)
    back = gru_arrays(vector, 3, 2)
    same = Tuple(back[name] for name in ("weight", "recurrent_weight", "bias", "recurrent_bias")) == given
    print(Guest.json([vector, same]))"""
    weight = np.arange(1, 19).reshape(3, 6)  # (inputs, 3 units), canonical
    recurrent = 100 + np.arange(1, 13).reshape(2, 6)
    gates = [matrix[:, g : g + 2].ravel(order="F") for matrix in (weight, recurrent) for g in (0, 2, 4)]
    expected = np.concatenate([*gates, 200 + np.arange(1, 7), 300 + np.arange(1, 7)])
    vector, same = json.loads(julia(code.replace("pathof_guest", json.dumps(str(GUEST / "guest.jl")))))
    assert vector == expected.tolist()
    assert same


def test_the_packages_of_a_manifest_are_told() -> None:
    code = "print(Guest.json(Guest.packages_in(read(ARGS[1], String))))"
    found = json.loads(julia(code, ROOT / "images" / "locks" / "knet-1.4.toml"))
    assert found["Knet"] == "1.4.10"
    assert found["CUDA"] == "3.13.1"


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The guest's file, with the plain adapter beside the others."""
    folder = tmp_path_factory.mktemp("guest") / "julia"
    shutil.copytree(GUEST, folder)
    shutil.copy(ROOT / "tests" / "guest" / "plain.jl", folder)
    return folder / "guest.jl"


def plain(
    guest: Path, fault: str = "", network: l.Network = PLAIN, *, content: bytes = b"", **more: object
) -> tuple[Request, Answer]:
    """What is asked of the plain adapter, and its answer."""
    asked = request("plain", network, {"fault": fault} if fault else {}, **more)
    if content:
        asked = msgspec.structs.replace(asked, training=Training(file="samples.npz", digest=""))
    return asked, ask(JULIA, asked, guest=guest, samples=content)


def test_a_right_adapter_agrees_with_the_reference(guest: Path) -> None:
    asked, found = plain(guest)
    assert found.status == "ok", found.reason
    assert found.witness
    assert found.warm_up
    assert not differences(found, reference(asked))
    assert len(found.samples) == 3
    assert set(found.costs_seconds) == {"import", "weights", "build", "read_back", "first_step"}
    assert found.facts["framework"] == {"versions": {"plain": "1"}, "device": "cpu"}
    assert found.facts["implementation"] == "Julia"
    assert found.peak_memory_bytes > 2**20


def test_inference_without_samples(guest: Path) -> None:
    asked, found = plain(guest, mode="inference", sampling=None)
    assert not differences(found, reference(asked))
    assert found.samples == []


@pytest.mark.parametrize("fault", ["no bias", "stuck"])
def test_a_wrong_adapter_does_not_agree(guest: Path, fault: str) -> None:
    asked, found = plain(guest, fault, sampling=None)
    assert differences(found, reference(asked))


def test_what_can_be_learnt_is_learnt(guest: Path) -> None:
    shallow = l.Network(name="shallow", input_shape=(3, 12, 8), layers=(l.Flatten(), l.Dense(units=7, gain=1.0)))
    _, found = plain(guest, network=shallow, content=samples(learnable=True), batch=6)
    assert found.training, found.reason
    assert found.training.accuracy > 0.9
    assert found.training.steps == 60
    assert found.training.seconds > 0


@pytest.mark.parametrize(
    ("fault", "more", "status", "reason"),
    [
        ("rounded", {}, "wrong_witness", "dense_1.bias reads back with a difference of 0.000"),
        ("starved", {}, "out_of_memory", "OutOfMemoryError: no message"),
        ("", {"optimizer": OPTIMIZERS["adam"]}, "unsupported", "plain steps by SGD alone"),
        ("", {"network": NETWORKS["vgg"]}, "unsupported", "the adapter Plain has no conv2d"),
    ],
)
def test_what_goes_wrong_is_a_status_with_one_line(
    guest: Path, fault: str, more: dict[str, object], status: str, reason: str
) -> None:
    _, found = plain(guest, fault, **more)
    assert found.status == status
    assert found.reason.startswith(reason)
    assert found.samples == []


def test_a_crash_is_named_in_one_line_with_its_trace_on_stderr(guest: Path) -> None:
    with pytest.raises(Crashed, match=r"ErrorException: it fell over\n(.|\n)*Stacktrace"):
        plain(guest, "crash")


def test_events_alone_are_on_stdout(guest: Path, tmp_path: Path) -> None:
    (tmp_path / "request.json").write_bytes(msgspec.json.encode(request("plain", PLAIN, {})))
    command = [JULIA, "--startup-file=no", str(guest), str(tmp_path)]
    done = subprocess.run(command, timeout=120, capture_output=True, text=True, check=True)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [e["state"] for e in events if e["event"] == "state"] == [
        "import", "weights", "build", "read_back", "first_step", "warm_up", "sampling",
    ]  # fmt: skip
    assert [e["steps"] for e in events if e["event"] == "sample"] == [1, 1, 1]
    assert "talks on stdout" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answer.json", "request.json"]


def test_a_request_of_another_schema_is_refused(guest: Path, tmp_path: Path) -> None:
    (tmp_path / "request.json").write_text('{"schema": 1}')
    done = subprocess.run([JULIA, str(guest), str(tmp_path)], timeout=120, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "this guest reads requests of schema 3, not 1" in done.stderr
    assert not (tmp_path / "answer.json").exists()


def on_stand_in(asked: Request, depot: Path) -> Answer:
    """The Knet adapter's answer where a stand-in is what it finds under the name of Knet."""
    stand_in = ROOT / "tests" / "guest" / "stand-in"
    return ask(
        JULIA, asked, {"JULIA_LOAD_PATH": f"{stand_in}:@stdlib", "JULIA_DEPOT_PATH": str(depot)}, GUEST / "guest.jl"
    )  # fmt: skip


def agrees(asked: Request, depot: Path) -> Answer:
    """The adapter's answer, held against the reference."""
    found = on_stand_in(asked, depot)
    assert found.status == "ok", found.reason
    assert not differences(found, reference(asked))
    return found


@pytest.fixture(scope="module")
def depot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where Julia keeps what it compiles of the stand-in."""
    return tmp_path_factory.mktemp("depot")


# Small, for every gradient is a difference of two losses.
SHAPED = (l.Conv2d(filters=3, kernel=3), l.BatchNorm(), l.Relu(), *HEAD)


@pytest.mark.parametrize("name", ["vgg-bn", "strides", "leaky-tanh-dropout", "pools", "residual", "gru"])
def test_the_knet_adapter_means_what_the_reference_means(name: str, depot: Path) -> None:
    """Layouts and keywords as Knet's sources tell them; what Knet itself computes is for Knet to show."""
    agrees(msgspec.structs.replace(request("knet", NETWORKS[name], {}, sampling=None), witness_steps=1), depot)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_knet_adapter_steps_as_the_reference_steps(optimizer: str, depot: Path) -> None:
    network = l.Network(name="small", input_shape=(2, 5, 4), layers=SHAPED)
    agrees(request("knet", network, {}, optimizer=OPTIMIZERS[optimizer], l2=1e-2, sampling=None), depot)


@pytest.mark.parametrize("axis", [1, 2])
def test_the_knet_adapter_normalises_over_another_axis(axis: int, depot: Path) -> None:
    layers = tuple(msgspec.structs.replace(x, axis=axis) if isinstance(x, l.BatchNorm) else x for x in SHAPED)
    agrees(request("knet", l.Network(name="axis", input_shape=(2, 6, 5), layers=layers), {}, sampling=None), depot)


@pytest.mark.parametrize("name", ["vgg-bn", "gru"])
def test_the_knet_adapter_infers(name: str, depot: Path) -> None:
    found = agrees(request("knet", as_trained(NETWORKS[name]), {}, mode="inference"), depot)
    assert len(found.samples) == 3
    assert found.facts["framework"]["device"] == "cpu"


def test_what_knet_cannot_do_is_unsupported(depot: Path) -> None:
    found = on_stand_in(request("knet", NETWORKS["gru-reset-before"], {}), depot)
    assert (found.status, found.reason) == (
        "unsupported", "Knet's GRU applies the reset gate after the recurrent product, never before it",
    )  # fmt: skip
    found = on_stand_in(msgspec.structs.replace(request("knet", NETWORKS["gru"], {}), device="gpu"), depot)
    assert (found.status, found.reason) == ("unsupported", "CUDA.jl sees no GPU that works")
