"""The docker engine: every launch in a container of its own, through the Docker SDK, on a local or a remote daemon."""

import io
import os
import re
import tarfile
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from runner.catalog import Catalog
from runner.dockerfiles import Bases, Dockerfile, dockerfile, read_bases
from runner.engines import Exit, Launch, NotBuilt, Prepared, thread_variables
from runner.engines.containers import KEEPER, OWNER, engine_words, reap, remedy_for, shortened, wants_writable_root
from runner.engines.images import BuildSettings, build, image_facts, mirrored
from runner.engines.local import on_line
from runner.errors import Mistake
from runner.files import ANSWER_BYTES
from runner.hardware import gpu_index, reason_against_gpu
from runner.interrupts import interrupts_deferred
from runner.languages import Language
from runner.output import Excerpt, LineReader
from runner.owners import Owner
from runner.paths import Paths
from runner.recipes import Recipe
from runner.text import one_line

JOB = "/job"  # the folder of an image that a volume lies over; files enter and leave it through the archive API
JOB_ROOM = 2**30  # bytes of it, beside what we put there
MEMORY_SHARE = 0.9  # of the engine's memory; what is left keeps the engine and this runner alive
PROCESSES = 4096
SHARED_MEMORY = "1g"
NOT_PLAIN = 0x8F280000  # the bits of Go's file mode for folders, links, pipes, sockets, devices and other odd files
ANSWER_SECONDS = 60.0  # for a call of the engine that does not wait for a guest


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """A daemon that answers, or why none does."""

    client: Any | None
    text: str
    remedy: str = ""
    gpu_way: str | None = None  # device-requests | cdi | runtime


def connected(environ: Mapping[str, str]) -> Connection:
    """The daemon that DOCKER_HOST, the current context or the default socket names."""
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env(environment=dict(environ), timeout=int(ANSWER_SECONDS))
        info = client.info()
    except (DockerException, OSError, ValueError) as error:
        return Connection(client=None, text="none answers", remedy=remedy_for(str(error)))
    text = one_line(
        f"{info['ServerVersion']}, {info['NCPU']} cores, {info['MemTotal'] / 2**30:.0f} GiB, storage {info['Driver']}"
    )
    return Connection(client=client, text=text, gpu_way=gpu_way(info))


def gpu_way(info: Mapping[str, Any]) -> str | None:
    """How this daemon hands out GPUs, as far as it says."""
    if any("nvidia.com/gpu" in str(device) for device in info.get("DiscoveredDevices") or ()):
        return "cdi"
    if "nvidia" in (info.get("Runtimes") or {}):
        return "runtime"
    return None


class DockerEngine:
    """Images under tags made of their content; containers without network, rights or, unless NVIDIA's hook needs it, a writable root."""

    name = "docker"

    def __init__(self, catalog: Catalog, paths: Paths, connection: Connection, settings: BuildSettings) -> None:
        self.catalog = catalog
        self.paths = paths
        self.client: Any = connection.client
        self.gpu_way = connection.gpu_way
        self.settings = settings
        self.bases: Bases = read_bases(paths)
        self.guest = paths.guest
        self.memory_bytes: int | None = None  # a limit of one's own instead of the share
        self.root_refusal = ""  # what the engine said against a read-only root, since when all have a writable one
        self.left: list[Any] = []  # our containers that a daemon did not remove, as it went away itself
        self.owner = Owner.of_this_process()
        reap(self.client, self.owner)

    def reason_against(self, recipe: Recipe) -> str | None:
        if next(self.bases.fitting(recipe), None) is None:
            return self.bases.why_none(recipe)
        return reason_against_gpu(self.paths, recipe.stack.cuda) if recipe.device == "gpu" else None

    def reason_against_base(self, recipe: Recipe) -> str | None:
        """Why none of the bases of a recipe can be had, asked of the engine and then of the registry."""
        from docker.errors import DockerException, ImageNotFound
        from requests.exceptions import RequestException

        reason = None
        for base in self.bases.fitting(recipe):
            try:
                self.client.images.get(base.reference)
                return None
            except ImageNotFound:
                pass
            try:
                self.client.images.get_registry_data(mirrored(base.reference, self.settings.mirror))
                return None
            except (DockerException, RequestException) as error:
                reason = f"{base.reference} cannot be had: {remedy_for(str(error))}"
        return reason

    def check_cores(self, cpuset: str) -> None:
        """Fail before the first build, not at the first container.

        Raises:
            Mistake: where the engine has no core of such a number.
        """
        cores = int(self.client.info()["NCPU"])
        if max(int(number) for number in re.findall(r"\d+", cpuset)) >= cores:
            raise Mistake(f"--cpuset {cpuset}: the Docker engine has the cores 0 to {cores - 1}")

    def key(self, recipe: Recipe) -> str:
        return self.dockerfile(recipe).key

    def dockerfile(self, recipe: Recipe) -> Dockerfile:
        """On the first base that fits; where none does, NotBuilt says why."""
        base = next(self.bases.fitting(recipe), None)
        if base is None:
            raise NotBuilt(self.bases.why_none(recipe))
        framework = self.catalog.framework_of(recipe.release_id).framework
        return dockerfile(self.paths, recipe, framework, base)

    def prepare(self, recipe: Recipe) -> Prepared:
        """Build the image unless the engine has its tag; each fitting base is tried, and the reasons are kept."""
        framework = self.catalog.framework_of(recipe.release_id).framework
        reasons = []
        for base in self.bases.fitting(recipe):
            file = dockerfile(self.paths, recipe, framework, base)
            try:
                build(self.client, file, self.settings, self.paths.logs)
            except NotBuilt as reason:
                reasons.append(f"on {base.image}: {reason}")
                continue
            return Prepared(recipe=recipe, place=file.tag, key=file.key, facts=image_facts(self.client, file))
        raise NotBuilt("; ".join(reasons) or self.bases.why_none(recipe))

    def run(self, prepared: Prepared, launch: Launch) -> Exit:
        """One container, from its creation to its removal; what the engine itself refuses is told as how it ended."""
        from docker.errors import DockerException
        from requests.exceptions import RequestException

        start = time.monotonic()
        self.left = [container for container in self.left if not removed(container)]
        try:
            reap(self.client, self.owner)  # the runner may have died for which this one waited
            return self.run_with_fitting_root(prepared, launch, start)
        except (DockerException, RequestException) as error:
            said = remedy_for(engine_words(error))
            return Exit(code=125, timed_out=False, seconds=time.monotonic() - start, error=said)

    def run_with_fitting_root(self, prepared: Prepared, launch: Launch, start: float) -> Exit:
        """A container with a read-only root; where NVIDIA's hook fails on that, with a writable one from then on."""
        from docker.errors import DockerException

        try:
            ended = self.run_container(prepared, launch, start)
        except DockerException as error:
            if self.root_refusal or prepared.recipe.device != "gpu" or not wants_writable_root(str(error)):
                raise
            self.root_refusal = shortened(engine_words(error))
            launch.on_note(
                "NVIDIA's hook fails on a container's read-only root; containers have a writable root from here on"
            )
            ended = self.run_container(prepared, launch, start)
        if not self.root_refusal:
            return ended
        return msgspec.structs.replace(ended, facts=ended.facts | {"root": "writable", "refusal": self.root_refusal})

    def run_container(self, prepared: Prepared, launch: Launch, start: float) -> Exit:
        ours: list[Any] = []  # in the order in which they are made

        def create(**arguments: Any) -> Any:
            with interrupts_deferred():
                ours.append(self.client.containers.create(prepared.place, **arguments))
            return ours[-1]

        errors = Excerpt()
        try:
            keeper = create(**self.keeper(launch))
            keeper.start()
            container = create(volumes_from=[keeper.id], **self.limits(prepared, launch))
            container.put_archive(JOB, job_archive(self.guest, launch.folder, prepared.recipe.language))
            # Attached before the start, so that nothing is missed though the engine keeps no log.
            stream = container.attach(stdout=True, stderr=True, stream=True, demux=True)
            log = threading.Thread(target=follow, args=(stream, launch, errors), daemon=True)
            log.start()
            container.start()
            timed_out = not waited(container, launch.timeout_seconds)
            if timed_out:
                container.kill()
                container.wait(timeout=ANSWER_SECONDS)
            log.join(timeout=10)
            container.reload()
            refused = fetch_answer(container, launch.folder)
            state = container.attrs["State"]
            code = int(state["ExitCode"])
            return Exit(
                code=128 - code if code > 128 else code,
                timed_out=timed_out,
                seconds=time.monotonic() - start,
                out_of_memory=bool(state.get("OOMKilled")),
                error=refused,
                facts={"image": container.attrs["Image"]},
            )
        finally:
            # Also on Ctrl-C, which comes out of the wait: the container itself goes, not only our view of it.
            with interrupts_deferred():
                self.left += [container for container in reversed(ours) if not removed(container)]
                errors.save(launch.log)

    def keeper(self, launch: Launch) -> dict[str, Any]:
        """The container that keeps the job folder, as arguments of the SDK: a limited piece of memory under an idle program.

        A volume in memory is there only while a running container has it: so files get in before the guest starts, and
        out after it ended. It has no name, and goes with the last container that has it.
        """
        from docker.types import DriverConfig, LogConfig, Mount

        size = JOB_ROOM + sum(path.stat().st_size for path in launch.folder.iterdir() if path.is_file())
        options = {"type": "tmpfs", "device": "tmpfs", "o": f"size={size},mode=1777,nosuid,nodev"}
        return {
            "entrypoint": ["sleep"],
            "command": ["infinity"],
            "environment": {"NVIDIA_VISIBLE_DEVICES": "void"},  # an engine may have NVIDIA's runtime by default
            "mounts": [Mount(JOB, None, type="volume", driver_config=DriverConfig("local", options), labels={OWNER: self.owner.text})],
            "labels": {OWNER: self.owner.text, KEEPER: ""},
            "user": f"{os.getuid()}:{os.getgid()}",
            "network_mode": "none",
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges"],
            "read_only": True,
            "pids_limit": 16,
            "init": True,
            "log_config": LogConfig(type="none"),
        }  # fmt: skip

    def limits(self, prepared: Prepared, launch: Launch) -> dict[str, Any]:
        """How a container is shut in, as arguments of the SDK."""
        from docker.types import LogConfig

        info, language = self.client.info(), prepared.recipe.language
        memory = self.memory_bytes or int(info["MemTotal"] * MEMORY_SHARE)
        environment = {"HOME": f"{JOB}/home", "TMPDIR": "/tmp", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}  # noqa: S108
        arguments: dict[str, Any] = {
            "command": language.command(language.name, f"{JOB}/guest", JOB),
            "environment": environment | thread_variables(launch.threads) | dict(launch.environment),
            "labels": {OWNER: self.owner.text},
            "user": f"{os.getuid()}:{os.getgid()}",
            "network_mode": "none",
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges"],
            "read_only": not self.root_refusal,
            "tmpfs": {"/tmp": f"rw,exec,nosuid,mode=1777,size={memory // 4}"},  # noqa: S108 - Theano compiles there
            "log_config": LogConfig(type="none"),
            "mem_limit": memory,
            "memswap_limit": memory,
            "pids_limit": PROCESSES,
            "shm_size": SHARED_MEMORY,
            "init": True,
        }
        if launch.cpuset:
            arguments["cpuset_cpus"] = launch.cpuset
        if prepared.recipe.device == "gpu":
            arguments["environment"]["NVIDIA_VISIBLE_DEVICES"] = str(gpu_index())
            arguments |= gpu_arguments(self.gpu_way, gpu_index())
        return arguments


def gpu_arguments(way: str | None, index: int) -> dict[str, Any]:
    """The SDK's arguments for one GPU, in the way that this daemon knows."""
    from docker.types import DeviceRequest

    match way:
        case "cdi":
            return {"device_requests": [DeviceRequest(driver="cdi", device_ids=[f"nvidia.com/gpu={index}"])]}
        case "runtime":
            return {"runtime": "nvidia"}  # which GPU: NVIDIA_VISIBLE_DEVICES
        case _:
            return {"device_requests": [DeviceRequest(device_ids=[str(index)], capabilities=[["gpu"]])]}


def job_archive(guest: Path, folder: Path, language: Language) -> bytes:
    """A tar of the guest in this language and its request, owned by the caller, for the archive API."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        home = tarfile.TarInfo("home")
        home.type, home.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(owned(home))
        for path in sorted(folder.iterdir()):
            tar.add(path, path.name, filter=owned)
        for name, path in language.guest_files(guest):
            tar.add(path, f"guest/{name}", filter=owned)
    return buffer.getvalue()


def owned(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid, entry.gid = os.getuid(), os.getgid()
    return entry


def fetch_answer(container: Any, folder: Path) -> str:
    """Take answer.json out where the guest left one, and return why it stays there where it is no plain file of fair size.

    Its kind and size are known before the first byte comes: a sparse file of 40 GB is never read.
    """
    from docker.errors import NotFound

    try:
        stream, found = container.get_archive(f"{JOB}/answer.json")
    except NotFound:
        return ""
    if int(found["mode"]) & NOT_PLAIN:
        return "left an answer that cannot be read (it is no plain file)"
    if int(found["size"]) > ANSWER_BYTES:
        return f"left an answer that cannot be read (it has more than {ANSWER_BYTES / 2**20:.0f} MiB)"
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as tar:
        file = tar.extractfile("answer.json")
        if file is not None:
            (folder / "answer.json").write_bytes(file.read())
    return ""


def follow(stream: Iterable[tuple[bytes | None, bytes | None]], launch: Launch, errors: Excerpt) -> None:
    """Hand on the guest's events as they come, and keep its stderr."""
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    reader = LineReader(lambda line: on_line(line, launch), errors)
    with suppress(DockerException, RequestException, OSError):
        for out, err in stream:
            errors.write(err or b"")
            reader.read(out or b"")
    reader.finish()


def waited(container: Any, timeout: float) -> bool:
    """Whether the container ended within `timeout` seconds."""
    from requests.exceptions import ConnectionError as Unreachable
    from requests.exceptions import ReadTimeout

    deadline = time.monotonic() + timeout
    while (left := deadline - time.monotonic()) > 0:
        try:
            container.wait(timeout=left)
        except (ReadTimeout, Unreachable) as error:
            # requests tells a read that timed out in either way; any other loss of the daemon is for the caller.
            if isinstance(error, Unreachable) and "timed out" not in str(error).lower():
                raise
            continue
        return True
    return False


def removed(container: Any) -> bool:
    """Kill and remove a container with its volume; one that is gone already is as good. Whether it is gone."""
    from docker.errors import DockerException, NotFound
    from requests.exceptions import RequestException

    try:
        container.remove(force=True, v=True)
    except NotFound:
        return True
    except (DockerException, RequestException):
        return False
    return True
