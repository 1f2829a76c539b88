"""The docker engine against a real daemon: what a container may, how it ends, and whose it is."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from checkouts import ROOT
from memory import memory_growth
from standins import until

from runner.dockerfiles import dockerfile, read_bases
from runner.engines import Exit, Launch, NotBuilt, Prepared
from runner.engines import docker as docker_engine
from runner.engines.containers import KEEPER, OWNER, reap
from runner.engines.docker import DockerEngine, connected, gpu_way
from runner.errors import Mistake
from runner.owners import Owner
from runner.paths import Paths
from runner.protocol import GuestEvent
from runner.recipes import recipe_for

pytestmark = pytest.mark.xdist_group("docker")

ANSWERING = """
import json, os, sys
def answer(**found):
    with open(os.path.join(sys.argv[1], "answer.json"), "w") as file:
        json.dump(found, file)
"""


@pytest.fixture
def numpy_image(engine: DockerEngine) -> Prepared:
    return engine.prepare(recipe_for(engine.catalog, engine.paths, "numpy-2", "cpu"))


class Guests:
    """Runs a few lines of Python as the guest, in the numpy image."""

    def __init__(self, engine: DockerEngine, image: Prepared, folder: Path) -> None:
        self.engine, self.image, self.folder = engine, image, folder
        self.events: list[GuestEvent] = []

    def __call__(self, code: str, timeout: float = 60.0, **launch: Any) -> tuple[Exit, Any]:
        guest, job = self.folder / "guest", self.folder / "job"
        for folder in (guest, job):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        (guest / "__main__.py").write_text(ANSWERING + textwrap.dedent(code))
        (job / "request.json").write_text("{}")
        self.engine.guest = guest
        ended = self.engine.run(
            self.image,
            Launch(
                folder=job,
                log=job / "guest.log",
                environment={"TOLD": "yes"},
                threads=1,
                timeout_seconds=timeout,
                on_event=self.events.append,
                **launch,
            ),
        )
        answer = job / "answer.json"
        return ended, json.loads(answer.read_text()) if answer.exists() else None


@pytest.fixture
def guests(engine: DockerEngine, numpy_image: Prepared, tmp_path: Path) -> Guests:
    return Guests(engine, numpy_image, tmp_path)


def test_a_container_is_shut_in(guests: Guests) -> None:
    ended, found = guests(
        """
        import socket
        def tried(action):
            try:
                action()
                return "done"
            except (OSError, IOError) as error:
                return os.strerror(error.errno)
        status = dict(line.rstrip().split(":", 1) for line in open("/proc/self/status"))
        answer(
            uid=os.getuid(), gid=os.getgid(), told=os.environ["TOLD"],
            capabilities=int(status["CapEff"], 16), no_new_privileges=status["NoNewPrivs"].strip(),
            root=tried(lambda: open("/touched", "w")), prefix=tried(lambda: open(sys.prefix + "/touched", "w")),
            tmp=tried(lambda: open("/tmp/touched", "w")),
            interfaces=[name for _, name in socket.if_nameindex()],
            first=open("/proc/1/comm").read().strip(), threads=os.environ["OMP_NUM_THREADS"],
            socket=os.path.exists("/var/run/docker.sock"), shm=os.statvfs("/dev/shm").f_blocks * os.statvfs("/dev/shm").f_frsize,
        )
        """
    )
    assert ended.code == 0
    assert (found["uid"], found["gid"]) == (os.getuid(), os.getgid())
    assert found["capabilities"] == 0
    assert found["no_new_privileges"] == "1"
    assert found["root"] == found["prefix"] == "Read-only file system"
    assert found["tmp"] == "done"
    assert found["interfaces"] == ["lo"]
    assert found["first"] in ("docker-init", "tini")
    assert not found["socket"]
    assert found["shm"] == 2**30
    assert (found["told"], found["threads"]) == ("yes", "1")


def of_guests(client: Any, label: str = OWNER) -> list[Any]:
    """The running containers of ours that run a guest."""
    return [one for one in client.containers.list(filters={"label": label}) if KEEPER not in one.labels]


def test_the_limits_are_set_on_the_container(engine: DockerEngine, guests: Guests, client: Any) -> None:
    seen: dict[str, Any] = {}

    def look(event: GuestEvent) -> None:
        (container,) = of_guests(client, f"{OWNER}={engine.owner.text}")
        seen.update(container.attrs["HostConfig"], Mounts=container.attrs["Mounts"])

    guests.events = type("Looks", (list,), {"append": lambda self, event: look(event)})()
    guests(
        "import time; print(json.dumps({'event': 'state', 'state': 'x'})); sys.stdout.flush(); time.sleep(1.5)",
        cpuset="0",
    )
    assert seen["Memory"] == seen["MemorySwap"] > 2**30
    assert (seen["PidsLimit"], seen["CpusetCpus"], seen["NetworkMode"]) == (4096, "0", "none")
    assert seen["CapDrop"] == ["ALL"]
    assert not seen["Binds"]
    assert seen["LogConfig"]["Type"] == "none"
    assert [(m["Type"], m["Destination"]) for m in seen["Mounts"]] == [("volume", "/job")]


def test_cores_that_the_engine_has_not_are_refused_before_anything_is_built(engine: DockerEngine, client: Any) -> None:
    cores = client.info()["NCPU"]
    engine.check_cores(f"0-{cores - 1}")
    with pytest.raises(Mistake, match=rf"--cpuset 0,{cores}: the Docker engine has the cores 0 to {cores - 1}"):
        engine.check_cores(f"0,{cores}")


def test_events_come_while_the_guest_runs_and_its_stderr_is_in_the_log(guests: Guests, tmp_path: Path) -> None:
    ended, _ = guests(
        """
        import time
        print(json.dumps({"event": "state", "state": "one", "clock": time.time()})); sys.stdout.flush()
        sys.stderr.write("a word\\n")
        time.sleep(2)
        print("not json"); print(json.dumps({"event": "state", "state": "two"}))
        """
    )
    assert [event.state for event in guests.events] == ["one", "two"]
    assert (tmp_path / "job" / "guest.log").read_text() == "a word\n"
    assert ended.seconds > 2


def test_a_timeout_stops_the_container_itself(guests: Guests, client: Any) -> None:
    start = time.monotonic()
    ended, _ = guests("import time; time.sleep(600)", timeout=2)
    assert ended.timed_out
    assert time.monotonic() - start < 30
    assert client.containers.list(all=True, filters={"label": OWNER}) == []


@pytest.mark.parametrize(("code", "exit_code"), [("sys.exit(7)", 7), ("os.kill(os.getpid(), 6)", -6)])
def test_how_a_guest_ended_is_told_as_for_a_process(guests: Guests, code: str, exit_code: int) -> None:
    ended, answer = guests(code)
    assert (ended.code, ended.timed_out, ended.out_of_memory, answer) == (exit_code, False, False, None)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("os.symlink('/etc/passwd', sys.argv[1] + '/answer.json')", "no plain file"),
        ("os.symlink('nowhere', sys.argv[1] + '/answer.json')", "no plain file"),
        ("os.mkdir(sys.argv[1] + '/answer.json')", "no plain file"),
        ("os.mkfifo(sys.argv[1] + '/answer.json')", "no plain file"),
        ("open(sys.argv[1] + '/answer.json', 'w').truncate(40 * 2**30)", "more than 16 MiB"),
    ],
    ids=["link", "dangling link", "folder", "pipe", "40 GB of nothing"],
)
def test_an_answer_that_is_no_plain_file_of_fair_size_is_not_taken(guests: Guests, code: str, said: str) -> None:
    ended, answer = guests(code)
    assert answer is None
    assert said in ended.error
    assert "\n" not in ended.error


def test_what_a_guest_prints_takes_no_memory_of_ours(guests: Guests, tmp_path: Path) -> None:
    with memory_growth() as grown:
        guests(
            """
            print(json.dumps({"event": "state", "state": "first"})); sys.stdout.flush()
            for stream in (sys.stdout, sys.stderr):
                for _ in range(150):
                    stream.write("x" * 2**20)
            print(); print(json.dumps({"event": "state", "state": "last"}))
            """
        )
    assert grown() < 50 * 2**20
    assert [event.state for event in guests.events] == ["first", "last"]
    assert (tmp_path / "job" / "guest.log").stat().st_size < 2**20


def test_a_guest_cannot_fill_the_disk_of_the_engine(guests: Guests, client: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(docker_engine, "JOB_ROOM", 20 * 2**20)
    before = client.volumes.list()
    _, found = guests(
        """
        said = ""
        try:
            with open(sys.argv[1] + "/big", "wb") as file:
                for _ in range(50):
                    file.write(bytes(2**20))
        except OSError as error:
            said = os.strerror(error.errno)
        os.remove(sys.argv[1] + "/big")
        answer(said=said)
        """
    )
    assert found == {"said": "No space left on device"}
    assert client.volumes.list() == before


def test_want_of_memory_is_told_apart(engine: DockerEngine, guests: Guests) -> None:
    engine.memory_bytes = 64 * 2**20
    ended, _ = guests("block = bytearray(500 * 2**20); print(sum(block[::4096]))")
    assert ended.out_of_memory


def test_a_gpu_where_there_is_none_is_one_line_with_the_remedy(
    engine: DockerEngine, guests: Guests, client: Any
) -> None:
    recipe = msgspec.structs.replace(guests.image.recipe, device="gpu")
    guests.image = msgspec.structs.replace(guests.image, recipe=recipe)
    for way, said in ((None, "NVIDIA container toolkit"), ("runtime", "no runtime called nvidia")):
        if way is None or "nvidia" not in client.info()["Runtimes"]:
            engine.gpu_way = way
            ended, _ = guests("answer(a=1)")
            assert said in ended.error
            assert "\n" not in ended.error
    assert client.containers.list(all=True, filters={"label": OWNER}) == []


def test_a_registered_runtime_is_used_and_told_which_gpu(
    guests: Guests, client: Any, register_nvidia: Callable[..., None]
) -> None:
    """runc itself stands in for NVIDIA's runtime, which is runc with a hook."""
    register_nvidia()
    assert gpu_way(client.info()) == "runtime"
    guests.engine.gpu_way = "runtime"
    recipe = msgspec.structs.replace(guests.image.recipe, device="gpu")
    guests.image = msgspec.structs.replace(guests.image, recipe=recipe)
    ended, found = guests("answer(gpu=os.environ['NVIDIA_VISIBLE_DEVICES'])")
    assert ended.code == 0, ended.error
    assert found == {"gpu": "0"}


def matrix(paths: Paths, *words: str) -> "subprocess.Popen[str]":
    suite = paths.matrix / "suites" / "small.toml"
    suite.write_text(suite.read_text().replace("blocks = 3", "blocks = 3, warm_up_seconds = 30.0"))
    argv = [sys.executable, "-m", "runner", "matrix", "small", "--engine", "docker", "--filter", "numpy-2", *words]
    return subprocess.Popen(argv, cwd=paths.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_ctrl_c_stops_the_container(numpy_image: Prepared, paths: Paths, client: Any) -> None:
    with matrix(paths) as process:
        until(lambda: of_guests(client), 60)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
    assert client.containers.list(all=True, filters={"label": OWNER}) == []


@pytest.mark.parametrize("which", [1, 2], ids=["the keeper", "the guest's own"])
def test_a_signal_while_a_container_is_made_leaves_none(
    guests: Guests, client: Any, monkeypatch: pytest.MonkeyPatch, which: int
) -> None:
    """The engine has made it and we have not heard its id: the moment at which one was left behind."""
    before, made = client.volumes.list(), []
    create = type(client.containers).create

    def interrupted(self: Any, *args: Any, **arguments: Any) -> Any:
        made.append(create(self, *args, **arguments))
        if len(made) == which:
            signal.raise_signal(signal.SIGINT)
        return made[-1]

    monkeypatch.setattr(type(client.containers), "create", interrupted)
    with pytest.raises(KeyboardInterrupt):
        guests("answer(a=1)")
    assert len(made) == which
    assert client.containers.list(all=True, filters={"label": OWNER}) == []
    assert client.volumes.list() == before


def test_the_orphan_of_a_dead_runner_is_reaped_and_no_other(numpy_image: Prepared, paths: Paths, client: Any) -> None:
    with matrix(paths) as process:
        until(lambda: of_guests(client), 60)
        process.kill()
    orphans = client.containers.list(filters={"label": OWNER})
    volumes = {mount["Name"] for orphan in orphans for mount in orphan.attrs["Mounts"]}
    assert (len(orphans), len(volumes)) == (2, 1)
    me = Owner.of_this_process()
    sleeping = {"command": ["sleep", "600"], "detach": True}
    living = client.containers.run(numpy_image.place, labels={OWNER: me.text}, **sleeping)
    elsewhere = msgspec.structs.replace(me, machine="abcdef", pid=1, ticks=0)
    foreign = client.containers.run(numpy_image.place, labels={OWNER: elsewhere.text}, **sleeping)
    unmarked = client.containers.run(numpy_image.place, **sleeping)
    try:
        assert sorted(reap(client, me)) == sorted(orphan.id for orphan in orphans)
        assert volumes.isdisjoint(volume.name for volume in client.volumes.list())
        for container in (living, foreign, unmarked):
            container.reload()
            assert container.status == "running"
    finally:
        for container in (living, foreign, unmarked):
            container.remove(force=True)


def test_the_orphan_of_a_runner_that_dies_while_we_wait_for_it_goes_before_our_launch(
    guests: Guests, client: Any
) -> None:
    dead = msgspec.structs.replace(guests.engine.owner, pid=2**22 + 1)
    orphan = client.containers.run(guests.image.place, ["sleep", "600"], labels={OWNER: dead.text}, detach=True)
    _, answer = guests("answer(a=1)")
    assert answer == {"a": 1}
    assert orphan.id not in [container.id for container in client.containers.list(all=True)]


def test_a_daemon_that_goes_away_costs_one_launch(guests: Guests, connection: Any) -> None:
    pid_file = Path("/var/run/docker.pid")
    if os.getuid() or os.environ.get("DOCKER_HOST") or not pid_file.exists():
        pytest.skip("not our daemon to restart")
    import threading

    def restart() -> None:
        time.sleep(2)
        daemon = int(pid_file.read_text())
        os.kill(daemon, signal.SIGTERM)
        until(lambda: not Path(f"/proc/{daemon}").exists(), 60)
        subprocess.run(
            [str(ROOT / "tests/engines/start-docker.sh")], check=True, timeout=120, stdout=subprocess.DEVNULL
        )

    restarter = threading.Thread(target=restart)
    restarter.start()
    ended, answer = guests("import time; time.sleep(60)", timeout=90)
    restarter.join()
    assert answer is None
    assert ended.error or ended.code != 0
    again, answer = guests("answer(alive=True)")
    assert (again.code, answer) == (0, {"alive": True})
    assert connection.client.containers.list(all=True, filters={"label": OWNER}) == []


def test_an_image_says_what_is_in_it_and_keeps_nothing_of_the_build(
    engine: DockerEngine, numpy_image: Prepared, client: Any
) -> None:
    facts = numpy_image.facts
    assert any(line.startswith("numpy==2") for line in facts["packages"])
    assert any(line.startswith("libc6=") for line in facts["apt"])
    assert facts["base"].startswith("python:3.11-slim")
    image = client.images.get(numpy_image.place)
    history = json.dumps(client.api.history(image.id)) + json.dumps(image.attrs)
    assert "ca.pem" not in history
    assert "pip.conf" not in history
    left = client.containers.run(
        image.id, ["sh", "-c", "ls -d /build /opt/tools 2>/dev/null; env"], remove=True
    ).decode()
    assert "/build" not in left
    assert "/opt/tools" not in left
    assert "proxy" not in left.lower()


def test_an_image_is_built_once(engine: DockerEngine, numpy_image: Prepared) -> None:
    start = time.monotonic()
    assert engine.prepare(numpy_image.recipe) == numpy_image
    assert time.monotonic() - start < 5


def test_a_build_that_fails_says_the_root_cause_and_where_its_log_is(engine: DockerEngine) -> None:
    recipe = recipe_for(engine.catalog, engine.paths, "numpy-2", "cpu")
    broken = msgspec.structs.replace(recipe, lock="nowhere-to-be-found-xyz==1.0 --hash=sha256:" + 64 * "0" + "\n")
    with pytest.raises(NotBuilt, match="nowhere-to-be-found-xyz") as failure:
        engine.prepare(broken)
    assert "\n" not in str(failure.value)
    log = Path(str(failure.value).rpartition("log: ")[2].rstrip(")"))
    assert "RUN" in log.read_text()


def test_a_build_that_takes_too_long_is_ended(engine: DockerEngine) -> None:
    engine.settings = msgspec.structs.replace(engine.settings, timeout_seconds=1.0)
    recipe = recipe_for(engine.catalog, engine.paths, "numpy-2", "cpu")
    slow = msgspec.structs.replace(recipe, lock=recipe.lock + f"# {time.time()}\n")
    with pytest.raises(NotBuilt, match="not done after 1 s"):
        engine.prepare(slow)


def test_a_mirror_stands_in_for_the_registry_and_leaves_the_tag_as_it_is(
    engine: DockerEngine, client: Any, tmp_path: Path
) -> None:
    registry = shutil.which("docker-registry")
    if registry is None:
        pytest.skip("no docker-registry; tests/install-parts.sh installs it")
    config = tmp_path / "registry.yml"
    config.write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {tmp_path}/registry}}}}\nhttp: {{addr: 127.0.0.1:5017}}\n"
    )
    base, mirror = "python:3.11-slim", "localhost:5017/hub"
    with subprocess.Popen(
        [registry, "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as serving:
        try:
            until(lambda: reachable("http://127.0.0.1:5017/v2/"))
            there = f"{mirror}/library/python"
            client.images.get(base).tag(there, tag="3.11-slim")
            client.images.push(there, tag="3.11-slim")
            client.images.remove(f"{there}:3.11-slim")
            engine.settings = msgspec.structs.replace(engine.settings, mirror=mirror)
            recipe = recipe_for(engine.catalog, engine.paths, "numpy-2", "cpu")
            plain = dockerfile(engine.paths, recipe, "numpy", next(read_bases(engine.paths).fitting(recipe)))
            client.images.remove(plain.tag)
            assert engine.reason_against_base(recipe) is None
            prepared = engine.prepare(recipe)
            assert prepared.place == plain.tag
            assert "localhost" not in json.dumps(client.images.get(prepared.place).labels)
        finally:
            serving.terminate()


def reachable(url: str) -> bool:
    import requests

    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False


def test_no_engine_is_one_line_with_the_next_step(tmp_path: Path) -> None:
    found = connected({"DOCKER_HOST": f"unix://{tmp_path}/none.sock", "PATH": os.environ["PATH"]})
    assert found.client is None
    assert "start Docker" in found.remedy


CELLS = ("numpy-2", "tf-1.8-nhwc", "tf-1.8-nhwc-fused", "theano-1.0", "keras-2.2-theano-1.0", "mxnet-1.5")


@pytest.mark.timeout(1500)
def test_real_cells_run_in_containers_with_their_witness(paths: Paths, connection: Any) -> None:
    suite = paths.matrix / "suites" / "small.toml"
    suite.write_text(suite.read_text().replace("timeout_seconds = 60", "timeout_seconds = 600"))
    words = [word for cell in CELLS for word in ("--filter", cell)]
    argv = [sys.executable, "-m", "runner", "matrix", "small", "--engine", "docker", "--launches", "1", *words]
    done = subprocess.run(argv, cwd=paths.root, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for cell in CELLS:
        (path,) = paths.results.glob(f"*/small/{cell}/quick-cpu-docker-1.json")
        record = json.loads(path.read_text())
        assert record["fate"] == "ok", record["reason"]
        assert record["witness_error"] < 1e-4
        assert record["facts"]["environment"]["packages"]
        assert record["facts"]["exit"]["image"].startswith("sha256:")
