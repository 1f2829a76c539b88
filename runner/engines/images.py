"""Builds images: a context of our own, a log for each, what may not stay left in the builder stage, facts in labels."""

import io
import shlex
import tarfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from runner.dockerfiles import Dockerfile, quoted
from runner.engines import NotBuilt
from runner.engines.containers import IMAGE, remedy_for
from runner.files import make_folder
from runner.manifests import project_of
from runner.processes import telling_line
from runner.recipes import Recipe
from runner.redaction import redacted, secrets_of

BUILD_SECONDS = 3600.0
SAID = 60  # of the last lines of a build, among which the cause of a failure is looked for
CA_BUNDLE = "/build/ca.pem"


class BuildSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a build may know of this network, and the image must not: a mirror, an index, a proxy, a CA bundle."""

    mirror: str = ""  # put in front of every base image: host[:port][/path]
    pip_settings: dict[str, str] = {}  # pip.conf's [global] section
    find_links: tuple[Path, ...] = ()  # folders of wheels on this machine, sent along
    ca_bundle: Path | None = None
    proxies: dict[str, str] = {}
    julia_settings: dict[str, str] = {}  # variables of Julia's Pkg
    timeout_seconds: float = BUILD_SECONDS
    network: str | None = None

    @property
    def secrets(self) -> tuple[str, ...]:
        """What of these settings no log and no message may say."""
        mirror = {"mirror": f"https://{self.mirror}"} if self.mirror else {}
        return secrets_of(self.pip_settings | self.proxies | self.julia_settings | mirror)


JULIA_SETTINGS = ("JULIA_PKG_SERVER", "JULIA_PKG_SERVER_REGISTRY_PREFERENCE", "JULIA_PKG_USE_CLI_GIT")
INDEX_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "timeout", "retries")


def settings_of(
    pip: Mapping[str, str], environ: Mapping[str, str], mirror: str = "", ca_bundle: Path | None = None
) -> BuildSettings:
    """The caller's own network settings: pip's, the proxy variables, and a CA bundle (pip's where none is named)."""
    remote = {name: url for name in INDEX_SETTINGS if (url := without_folders(pip.get(name, "")))}
    folders = [Path(word.removeprefix("file://")) for word in pip.get("find-links", "").split()]
    proxies = {
        name: environ[word]
        for name in ("http_proxy", "https_proxy", "no_proxy")
        for word in (name, name.upper())
        if word in environ
    }
    bundle = ca_bundle or (Path(pip["cert"]) if pip.get("cert") else None)
    return BuildSettings(
        mirror=mirror,
        pip_settings=remote,
        find_links=tuple(folder for folder in folders if folder.is_dir()),
        ca_bundle=bundle if bundle and bundle.is_file() else None,
        proxies=proxies,
        julia_settings={name: environ[name] for name in JULIA_SETTINGS if name in environ},
    )


def without_folders(urls: str) -> str:
    """The indexes less those that are folders of this machine, which a build does not see."""
    return " ".join(url for url in urls.split() if not url.startswith(("file:", "/")))


def build(client: Any, file: Dockerfile, settings: BuildSettings, logs: Path) -> None:
    """Build the image and tag it, unless the engine has it.

    Raises:
        NotBuilt: with the root cause in one line and the log's place.
    """
    from docker.errors import DockerException, ImageNotFound
    from requests.exceptions import RequestException

    try:
        client.images.get(file.tag)
        return
    except ImageNotFound:
        pass
    log = make_folder(logs) / f"{file.recipe.release_id}-{file.recipe.device}-{file.key}.log"
    try:
        image = built(client, file, settings, log)
        label(client, file, image)
    except (DockerException, RequestException, BuildFailed) as error:
        said = redacted(str(error), settings.secrets)
        raise NotBuilt(f"{remedy_for(said)} (log: {log})") from None


class BuildFailed(Exception):
    """The engine ran the Dockerfile and a step of it failed."""


def built(client: Any, file: Dockerfile, settings: BuildSettings, log: Path) -> str:
    """The id of the image; everything the engine prints goes into the log as it comes."""
    arguments = {"BASE": mirrored(file.base.reference, settings.mirror)}
    if file.base.conda_image:
        arguments["CONDA"] = mirrored(file.base.conda_image, settings.mirror)
    from requests.exceptions import ConnectionError  # noqa: A004 - how requests tells a read that timed out
    from urllib3.exceptions import ReadTimeoutError  # and how it comes where the SDK reads the raw stream

    stream = client.api.build(
        fileobj=io.BytesIO(context_of(file, settings)),
        custom_context=True,
        rm=True,
        forcerm=True,
        decode=True,
        buildargs=arguments | proxy_arguments(settings.proxies),
        network_mode=settings.network,
        timeout=int(settings.timeout_seconds),
    )
    deadline = time.monotonic() + settings.timeout_seconds
    image = ""
    said: deque[str] = deque(maxlen=SAID)
    secrets = settings.secrets
    try:
        with log.open("w", encoding="utf-8") as sink:
            sink.write(file.text + "\n")
            for event in stream:
                text = redacted(str(event.get("stream") or event.get("status") or event.get("error") or ""), secrets)
                sink.write(text if text.endswith("\n") else text + "\n")
                sink.flush()
                said.append(text)
                image = str((event.get("aux") or {}).get("ID", image))
                if "error" in event:
                    raise BuildFailed(cause(said, str(event["error"])))
                if time.monotonic() > deadline:
                    raise BuildFailed(f"not done after {settings.timeout_seconds:.0f} s")
    except (ConnectionError, ReadTimeoutError) as error:
        if "timed out" not in str(error).lower():
            raise
        raise BuildFailed(f"not done after {settings.timeout_seconds:.0f} s") from None
    finally:
        stream.close()  # which ends the build in the engine, if it still runs
    return image


def cause(said: Iterable[str], error: str) -> str:
    """The root cause: the last line before the engine's own that speaks of an error, else the engine's."""
    told = telling_line("".join([*said][:-1]))
    return told if "error" in told.lower() else error


def mirrored(image: str, mirror: str) -> str:
    """The image behind a mirror; an official image lives there under library/."""
    if not mirror:
        return image
    return f"{mirror.rstrip('/')}/{image if '/' in image.partition('@')[0] else 'library/' + image}"


def proxy_arguments(proxies: Mapping[str, str]) -> dict[str, str]:
    """Docker's predefined build arguments: known during the build, kept in no layer and no history."""
    return {name: value for key, value in proxies.items() for name in (key.lower(), key.upper())}


def context_of(file: Dockerfile, settings: BuildSettings) -> bytes:
    """The build context as a tar: the Dockerfile, and build/ with what only the builder stage copies."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in context_files(file, settings):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def context_files(file: Dockerfile, settings: BuildSettings) -> Iterator[tuple[str, bytes]]:
    yield "Dockerfile", file.text.encode()
    if settings.ca_bundle:
        yield "build/ca.pem", settings.ca_bundle.read_bytes()
    yield from INSTALLER_FILES[file.recipe.language.name](file.recipe, settings)


def pip_files(recipe: Recipe, settings: BuildSettings) -> Iterator[tuple[str, bytes]]:
    """What pip and conda read."""
    yield "build/requirements.txt", recipe.lock.encode()
    yield "build/tools.txt", recipe.tools.encode()
    pip = dict(settings.pip_settings)
    conda = ["channel_priority: flexible"]
    if settings.ca_bundle:
        pip["cert"] = CA_BUNDLE
        conda.append(f"ssl_verify: {CA_BUNDLE}")
    for folder in settings.find_links:
        for wheel in sorted(folder.glob("*.whl")):
            if wheel_wanted(wheel, recipe.lock + recipe.tools):
                yield f"build/wheels/{wheel.name}", wheel.read_bytes()
                pip["find-links"] = "/build/wheels"
    yield "build/pip.conf", "\n".join(["[global]", *(f"{k} = {v}" for k, v in sorted(pip.items())), ""]).encode()
    yield "build/condarc", ("\n".join(conda) + "\n").encode()


def julia_files(recipe: Recipe, settings: BuildSettings) -> Iterator[tuple[str, bytes]]:
    """What Julia's Pkg reads, and variables for the shell that starts it; its downloads heed the proxies' as they are."""
    yield "build/Manifest.toml", recipe.lock.encode()
    yield "build/Project.toml", project_of(recipe.lock, recipe.stack.requirements).encode()
    variables = dict(settings.julia_settings)
    if settings.ca_bundle:
        variables |= {"JULIA_SSL_CA_ROOTS_PATH": CA_BUNDLE, "SSL_CERT_FILE": CA_BUNDLE}
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in sorted(variables.items())]
    yield "build/settings.sh", "".join(lines).encode()


INSTALLER_FILES: dict[str, Callable[[Recipe, BuildSettings], Iterator[tuple[str, bytes]]]] = {
    "python": pip_files,
    "julia": julia_files,
}


def wheel_wanted(wheel: Path, lock: str) -> bool:
    """Whether a lock pins this very wheel's name and version."""
    name, version = wheel.name.split("-")[:2]
    return f"{name.lower().replace('_', '-')}=={version}" in lock.lower()


def label(client: Any, file: Dockerfile, image: str) -> None:
    """Tag the image, with what is in it written on it: packages, system packages, base and its digest."""
    facts = {
        "key": file.key,
        "release": file.recipe.release_id,
        "device": file.recipe.device,
        "base": file.base.reference,
        "base_id": client.images.get(image).attrs.get("RootFS", {}).get("Layers", [""])[0],
        "packages": listed(client, image, ["cat", "/opt/env/packages.txt"]),
        "apt": listed(client, image, ["dpkg-query", "-W", "-f", "${Package}=${Version}\n"]),
    }
    text = f"FROM {image}\nLABEL {IMAGE}={quoted(msgspec.json.encode(facts).decode())}\n"
    client.images.build(fileobj=io.BytesIO(text.encode()), tag=file.tag, rm=True, forcerm=True)


def listed(client: Any, image: str, command: list[str]) -> list[str]:
    """What a command prints in the image, without network, a line each."""
    printed: bytes = client.containers.run(image, command, network_mode="none", remove=True, stderr=False)
    return printed.decode().splitlines()


def image_facts(client: Any, file: Dockerfile) -> dict[str, Any]:
    """What the image's label says of it, and its id."""
    image = client.images.get(file.tag)
    facts: dict[str, Any] = msgspec.json.decode(image.labels[IMAGE])
    return facts | {"image": image.id}
