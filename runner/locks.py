"""Locks: every requirement of a release with its hash, one file for each device."""

import ast
import hashlib
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from runner.cells import Device

PLATFORM = "x86_64-manylinux_2_28"
PYTHON_2 = "2.7"
PYTHON_2_SEED = "virtualenv==20.21.1"  # the last for Python 2.7; it brings pip 20.3.4, the last likewise
LOCK_SECONDS = 1800.0
UV_NAMES = {  # what pip calls a setting: what uv calls it, and what separates its values there
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "cert": ("SSL_CERT_FILE", " "),
}


class Run(Protocol):
    """Starts a process, returns what it printed, raises when it fails."""

    def __call__(self, argv: Sequence[str], *, env: Mapping[str, str], timeout: float) -> str: ...


class Stack(Protocol):  # what a release asks for on one device
    @property
    def requirements(self) -> Sequence[str]: ...
    @property
    def build_constraints(self) -> Sequence[str]: ...


class Lockable(Protocol):  # what a lock needs to know of a release
    @property
    def python(self) -> str: ...
    def stack(self, device: Device) -> Stack | None: ...


def pip_settings(pip_config: str, environ: Mapping[str, str]) -> dict[str, str]:
    """pip's settings by their long names: the text of `pip config list`, and PIP_* over it."""
    found = re.findall(r"^(global|install|:env:)\.([\w-]+)=(.+)$", pip_config, re.MULTILINE)
    lines = sorted(found, key=lambda line: line[0] == ":env:")  # the environment last: it wins
    of_pip: dict[str, str] = {key: ast.literal_eval(value) for _, key, value in lines}
    of_pip |= {name[4:].lower().replace("_", "-"): value for name, value in environ.items() if name.startswith("PIP_")}
    return {key: str(value) for key, value in of_pip.items()}


def index_settings(pip_config: str, environ: Mapping[str, str]) -> dict[str, str]:
    """uv's variables for the settings of pip, and uv's own over them."""
    of_pip = pip_settings(pip_config, environ)
    # LC_ALL: old sdists read their own UTF-8 files in the locale's encoding.
    settings = {"UV_SYSTEM_CERTS": "1", "UV_PYTHON_DOWNLOADS": "never", "LC_ALL": "C.UTF-8"}
    for key, (name, separator) in UV_NAMES.items():
        if values := of_pip.get(key, "").split():
            settings[name] = separator.join(values)
    if "UV_INDEX" in settings:  # pip takes the best version of all indexes; uv would stop at the first index with any
        settings["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return settings | {name: value for name, value in environ.items() if name.startswith("UV_")}


def lock_settings(settings: Mapping[str, str], device: Device) -> dict[str, str]:
    """What may decide the text of a lock: no index that is a folder here, and for a GPU no place of +cpu wheels."""
    places = () if device == "cpu" else ("UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS")
    kept = {name: value for name, value in settings.items() if name not in places}
    remote = [url for url in kept.pop("UV_INDEX", "").split() if not url.startswith(("file:", "/"))]
    return kept | ({"UV_INDEX": " ".join(remote)} if remote else {})


def lock_command(uv: str, python: str, requirements: Path, constraints: Path, interpreter: Path | None) -> list[str]:
    """The uv command that prints a lock; sdists are built, by `interpreter` if there is one, to learn their needs."""
    return [
        *(uv, "pip", "compile", "--quiet", "--no-config", "--generate-hashes", "--no-header", "--no-annotate"),
        *("--no-emit-index-url", "--no-emit-find-links", "--python-version", python, "--python-platform", PLATFORM),
        *(("--python", str(interpreter)) if interpreter else ()),
        *("--build-constraints", str(constraints), str(requirements)),
    ]


def pinned(files: Iterable[Path]) -> str:
    """The lock of these wheels and sdists: one requirement for each file, after its name, with its hash."""
    lines = []
    for file in sorted(files, key=lambda file: file.name.lower()):
        stem = re.sub(r"\.(whl|zip|tar\.\w+)$", "", file.name)
        name, version = stem.split("-")[:2] if file.suffix == ".whl" else stem.rsplit("-", 1)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        lines.append(f"{name.lower().replace('_', '-')}=={version} \\\n    --hash=sha256:{digest}\n")
    return "".join(lines)


def python2_lock(run: Run, uv: str, requirements: Path, interpreter: Path, env: Mapping[str, str]) -> str:
    """A lock for Python 2.7, which uv does not know: what the last pip that knows it would download."""
    seed, files = requirements.parent / "seed", requirements.parent / "files"
    virtualenv = [uv, "tool", "run", "--from", PYTHON_2_SEED, "virtualenv", "--quiet", "--python", str(interpreter)]
    run([*virtualenv, str(seed)], env=env, timeout=LOCK_SECONDS)
    pip = [str(seed / "bin" / "python"), "-m", "pip", "download", "--quiet", "--prefer-binary"]
    run([*pip, "--dest", str(files), "--requirement", str(requirements)], env=env, timeout=LOCK_SECONDS)
    return pinned(files.iterdir())


def write_lock(
    release_id: str, release: Lockable, device: Device, path: Path,
    *, run: Run, uv: str, env: Mapping[str, str], interpreter: Path | None,
) -> None:  # fmt: skip
    """Write the lock of a release for a device to `path`; `env` is a process's own with `index_settings` in it."""
    stack = release.stack(device)
    if stack is None:
        raise ValueError(f"{release_id} has nothing for the {device}")
    settings = lock_settings(env, device)
    with tempfile.TemporaryDirectory() as folder:
        requirements, constraints = Path(folder, "requirements.in"), Path(folder, "build-constraints.in")
        requirements.write_text("\n".join(stack.requirements), encoding="utf-8")
        constraints.write_text("\n".join(stack.build_constraints), encoding="utf-8")
        if release.python == PYTHON_2:
            lock = python2_lock(run, uv, requirements, interpreter or Path("python2.7"), settings)
        else:
            command = lock_command(uv, release.python, requirements, constraints, interpreter)
            lock = run(command, env=settings, timeout=LOCK_SECONDS)
    title = f"# {release_id} on the {device}, Python {release.python}: every requirement with its hash.\n"
    path.with_suffix(".tmp").write_text(title + lock, encoding="utf-8")
    path.with_suffix(".tmp").replace(path)
