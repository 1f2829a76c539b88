#!/usr/bin/env python
"""Makes stand-ins for the official base images, under their official names, where no registry can be reached.

`make-bases.py [X.Y ...]` debootstraps Debian once and lays the local CPython of each version into it where the
official image has its own: /usr/local. It needs root, debootstrap and a Docker engine. An image that exists is
left alone: one of ours when it has the same content, an official one always. Like the official images, these trust
Debian's certificates only, so a build that needs another authority has to bring its bundle itself.
"""

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import findpython
import platformdirs

from runner.interpreters import pyenv_roots

VERSIONS = ("3.6", "3.8", "3.11")
SUITE = "bookworm"
DEBIAN = f"debian:{SUITE}-slim"
LABEL = "matrix-runner.stand-in"  # its value is a digest of what the image is made of
LAYOUT = "1"  # counts the changes of what `distributed` and `add` take over

# What the standard library's extension modules link to, and what the official slim images have besides.
LIBRARIES = [
    "ca-certificates",
    "netbase",
    "tzdata",
    "libbz2-1.0",
    "libdb5.3",
    "libexpat1",
    "libffi8",
    "libgdbm6",
    "libgdbm-compat4",
    "liblzma5",
    "libncursesw6",
    "libnsl2",
    "libreadline8",
    "libsqlite3-0",
    "libssl3",
    "libtirpc3",
    "libuuid1",
    "zlib1g",
]

# Emptied as Debian's own slim images do it.
UNWANTED = (
    "usr/share/doc/*", "usr/share/man/*", "usr/share/info/*", "usr/share/locale/*", "usr/share/lintian/*",
    "var/cache/apt/*", "var/lib/apt/lists/*", "var/cache/debconf/*", "var/log/*.log", "var/log/apt/*",
    "etc/hostname", "etc/resolv.conf",
)  # fmt: skip

DOCKERFILE = f"""\
FROM {DEBIAN}
ENV PATH=/usr/local/bin:$PATH LANG=C.UTF-8 PYTHON_VERSION={{version}}
COPY root/ /
RUN ldconfig \\
 && python -B -m ensurepip --default-pip \\
 && find /usr/local -name '*.pyc' -delete \\
 && python -B -c "import bz2, ctypes, curses, readline, sqlite3, ssl"
CMD ["python"]
LABEL {LABEL}={{label}}
"""


def main(versions: tuple[str, ...]) -> None:
    client = docker.from_env(timeout=600)
    make_debian(client)
    for version in versions:
        make_python(client, version)


def make_debian(client: docker.DockerClient) -> None:
    label = digest_of(SUITE, *LIBRARIES, *UNWANTED)
    if exists(client, DEBIAN, label):
        return
    started = time.monotonic()
    archive = platformdirs.user_cache_path("matrix-runner") / "test-bases" / f"{SUITE}-{label}.tar"
    if not archive.exists():
        debootstrap(archive)
    repository, tag = DEBIAN.split(":")
    changes = ['CMD ["bash"]', f"LABEL {LABEL}={label}"]
    client.api.import_image_from_file(str(archive), repository=repository, tag=tag, changes=changes)
    report(client, DEBIAN, started)


def debootstrap(archive: Path) -> None:
    """Write a minimal Debian as one tar, renamed into place when it is whole."""
    if shutil.which("debootstrap") is None:
        raise SystemExit("make-bases: debootstrap is not installed; tests/install-parts.sh installs it")
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        root, log = Path(folder, "root"), Path(folder, "log")
        command = ["debootstrap", "--variant=minbase", f"--include={','.join(LIBRARIES)}", SUITE, str(root)]
        print("make-bases:", *command, flush=True)
        with log.open("wb") as output:
            if subprocess.run(command, stdout=output, stderr=output, timeout=900).returncode:
                raise SystemExit(f"make-bases: debootstrap failed:\n{log.read_text(errors='replace')[-2000:]}")
        for path in (path for pattern in UNWANTED for path in root.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        part = archive.with_suffix(".part")
        with tarfile.open(part, "w") as tar:
            tar.add(root, arcname=".")
        part.rename(archive)


def make_python(client: docker.DockerClient, version: str) -> None:
    image = f"python:{version}-slim"
    prefix, full_version = interpreter(version)
    debian = client.images.get(DEBIAN)
    label = digest_of(LAYOUT, str(debian.id), full_version, DOCKERFILE)
    if exists(client, image, label):
        return
    started = time.monotonic()
    with tempfile.TemporaryFile() as context:
        with tarfile.open(fileobj=context, mode="w") as tar:
            add_text(tar, "Dockerfile", DOCKERFILE.format(version=full_version, label=label))
            for path in sorted(distributed(prefix)):
                add(tar, path, prefix)
        context.seek(0)
        client.images.build(fileobj=context, custom_context=True, tag=image, rm=True)
    report(client, image, started)


def interpreter(version: str) -> tuple[Path, str]:
    """The installation prefix of a CPython of this version that stands alone in a folder, and its full version."""
    ask = "import sys, platform; print(getattr(sys, 'base_prefix', sys.prefix) + '\\n' + platform.python_version())"
    for executable in executables(version):
        answer = subprocess.run([executable, "-c", ask], capture_output=True, text=True, timeout=60, check=False)
        prefix, _, full_version = answer.stdout.strip().partition("\n")
        if answer.returncode == 0 and prefix != "/usr":  # the system's is strewn over /usr among everything else
            return Path(prefix), full_version
    raise SystemExit(f"make-bases: no Python {version} of its own folder found; install one: pyenv install {version}")


def executables(version: str) -> Iterator[Path]:
    for pyenv in pyenv_roots(os.environ):
        yield from sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}"), reverse=True)
    for found in findpython.find_all(*map(int, version.split("."))):  # slower: it starts every interpreter there is
        yield found.executable


def distributed(prefix: Path) -> Iterator[Path]:
    """The files of CPython itself: no tests, caches, static libraries; no packages, whose pip may trust others too."""
    unwanted = {"__pycache__", "site-packages", "test", "tests", "idle_test", "turtledemo"}
    for folder, folders, files in os.walk(prefix):
        here = Path(folder).relative_to(prefix)
        if not here.parts:
            folders[:] = ["bin", "include", "lib"]
        if here == Path("bin"):
            files = [name for name in files if name.startswith(("python", "pydoc"))]
        folders[:] = sorted(set(folders) - unwanted)
        yield from (Path(folder, name) for name in files if not name.endswith((".a", ".pyc")))
        yield from (Path(folder, name) for name in folders if Path(folder, name).is_symlink())


def add(tar: tarfile.TarFile, path: Path, prefix: Path) -> None:
    """Add one file below /usr/local; a text that names the prefix names /usr/local instead."""
    entry = tar.gettarinfo(path, arcname=f"root/usr/local/{path.relative_to(prefix)}")
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    if not entry.isreg():
        tar.addfile(entry)
        return
    content = path.read_bytes()
    if b"\0" not in content:
        content = content.replace(os.fsencode(prefix), b"/usr/local")
    entry.size = len(content)
    entry.type = tarfile.REGTYPE  # a hard link's second name comes as a whole file
    tar.addfile(entry, io.BytesIO(content))


def add_text(tar: tarfile.TarFile, name: str, text: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(text.encode())
    tar.addfile(entry, io.BytesIO(text.encode()))


def digest_of(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def exists(client: docker.DockerClient, image: str, label: str) -> bool:
    try:
        found = client.images.get(image)
    except docker.errors.ImageNotFound:
        return False
    if LABEL not in found.labels:
        print(f"make-bases: {image} is not a stand-in; kept")
        return True
    if found.labels[LABEL] == label:
        print(f"make-bases: {image} exists")
        return True
    return False


def report(client: docker.DockerClient, image: str, started: float) -> None:
    size = client.images.get(image).attrs["Size"] / 1e6
    print(f"make-bases: {image} made, {size:.0f} MB, {time.monotonic() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main(tuple(sys.argv[1:]) or VERSIONS)
