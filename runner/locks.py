"""Locks: every requirement of a release with its hash, one file for each device."""

import ast
import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

Device = Literal["cpu", "gpu"]

PLATFORM = "x86_64-manylinux_2_28"
PYTHON_2 = "2.7"
PYTHON_2_SEED = "virtualenv==20.21.1"  # the last for Python 2.7; it brings pip 20.3.4, the last likewise
LOCK_TIMEOUT = 1800.0

_UV_NAMES = {  # what pip calls a setting -> what uv calls it; pip separates by white space, uv's find-links by commas
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "proxy": ("ALL_PROXY", " "),
    "no-index": ("UV_NO_INDEX", " "),
}


class Run(Protocol):
    """Starts a process, returns what it printed, raises when it fails."""

    def __call__(self, argv: Sequence[str], *, env: Mapping[str, str], timeout: float) -> str: ...


class Stack(Protocol):
    """What a release asks for on one device."""

    @property
    def requirements(self) -> Sequence[str]: ...
    @property
    def build_constraints(self) -> Sequence[str]: ...


class Lockable(Protocol):
    """What a lock needs to know of a release."""

    @property
    def python(self) -> str: ...
    @property
    def cpu(self) -> Stack | None: ...
    @property
    def gpu(self) -> Stack | None: ...


def index_settings(pip_config: str, environ: Mapping[str, str]) -> dict[str, str]:
    """uv's variables for the settings of pip: `pip config list`'s text, then PIP_* over it, then uv's own over both."""
    lines = re.findall(r"^(\S+?)\.([\w-]+)=(.+)$", pip_config, re.MULTILINE)
    of_pip = {key: ast.literal_eval(value) for section, key, value in lines if section in ("global", "install")}
    of_pip |= {key: ast.literal_eval(value) for section, key, value in lines if section == ":env:"}
    of_pip |= {name[4:].lower().replace("_", "-"): value for name, value in environ.items() if name.startswith("PIP_")}
    settings = {
        "UV_SYSTEM_CERTS": "1",
        "UV_PYTHON_DOWNLOADS": "never",
        "LC_ALL": "C.UTF-8",
    }  # old sdists open their own UTF-8 files bare
    for key, (name, separator) in _UV_NAMES.items():
        if words := str(of_pip.get(key, "")).split():
            settings[name] = separator.join(words)
    if "UV_INDEX" in settings:  # pip takes the best version of all its indexes; uv would stop at the first that has any
        settings["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return settings | {name: value for name, value in environ.items() if name.startswith("UV_")}


def lock_settings(settings: Mapping[str, str], device: Device) -> dict[str, str]:
    """The settings that may decide what a lock says: for a GPU, no +cpu wheel; and no index that is a folder here."""
    kept = {name: value for name, value in settings.items() if device == "cpu" or name != "UV_FIND_LINKS"}
    remote = [url for url in kept.pop("UV_INDEX", "").split() if device == "cpu" and not url.startswith(("file:", "/"))]
    return kept | ({"UV_INDEX": " ".join(remote)} if remote else {})


def lock_command(uv: str, python: str, requirements: Path, constraints: Path, interpreter: Path | None) -> list[str]:
    """The uv command that prints a lock; sdists are built by `interpreter` where there is one, to learn what they need."""
    return [
        *(uv, "pip", "compile", "--quiet", "--generate-hashes", "--no-header", "--no-annotate"),
        *("--no-emit-index-url", "--no-emit-find-links", "--no-config"),
        *("--python-version", python, "--python-platform", PLATFORM),
        *(("--python", str(interpreter)) if interpreter else ()),
        *("--build-constraints", str(constraints), str(requirements)),
    ]


def pinned(files: Iterable[Path]) -> str:
    """The lock of downloaded wheels and sdists: one requirement a file, named by the file, with the file's own hash."""
    lines = []
    for file in sorted(files, key=lambda file: file.name.lower()):
        stem = re.sub(r"\.(whl|tar\.gz|zip|tar\.bz2)$", "", file.name)
        name, version = stem.split("-")[:2] if file.suffix == ".whl" else stem.rsplit("-", 1)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        lines.append(f"{name.lower().replace('_', '-')}=={version} \\\n    --hash=sha256:{digest}\n")
    return "".join(lines)


def python2_lock(run: Run, uv: str, requirements: Path, interpreter: Path, env: Mapping[str, str]) -> str:
    """A lock for Python 2.7, which uv does not know: the last pip that does downloads what it would install."""
    seed, files = requirements.parent / "seed", requirements.parent / "files"
    virtualenv = [uv, "tool", "run", "--from", PYTHON_2_SEED, "virtualenv", "--quiet"]
    run([*virtualenv, "--python", str(interpreter), str(seed)], env=env, timeout=LOCK_TIMEOUT)
    download = [str(seed / "bin" / "python"), "-m", "pip", "download", "--quiet", "--prefer-binary"]
    run([*download, "--dest", str(files), "--requirement", str(requirements)], env=env, timeout=LOCK_TIMEOUT)
    return pinned(files.iterdir())


def write_lock(
    release_id: str,
    release: Lockable,
    device: Device,
    path: Path,
    *,
    run: Run,
    uv: str,
    env: Mapping[str, str],
    interpreter: Path | None = None,
) -> None:
    """Writes the lock of a release for one device to `path`; `env` is the process's own with `index_settings` in it."""
    stack = release.cpu if device == "cpu" else release.gpu
    if stack is None:
        raise ValueError(f"{release_id} has nothing for the {device}")
    with tempfile.TemporaryDirectory() as folder:
        requirements, constraints = Path(folder, "requirements.in"), Path(folder, "build-constraints.in")
        requirements.write_text("".join(f"{line}\n" for line in stack.requirements))
        constraints.write_text("".join(f"{line}\n" for line in stack.build_constraints))
        settings = lock_settings(env, device)
        if release.python == PYTHON_2 and interpreter:
            lock = python2_lock(run, uv, requirements, interpreter, settings)
        else:
            lock = run(
                lock_command(uv, release.python, requirements, constraints, interpreter),
                env=settings,
                timeout=LOCK_TIMEOUT,
            )
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(
        f"# {release_id} on the {device}, Python {release.python}: every requirement with its hash.\n{lock}"
    )
    beside.replace(path)
