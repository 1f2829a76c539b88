"""Locks: every requirement of a release with its hash, one file for each device."""

import ast
import hashlib
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from runner.cells import Device

PLATFORM = "x86_64-manylinux_2_28"
PYTHON_2 = "2.7"
LOCK_SECONDS = 1800.0

# The last pip and setuptools for each Python, which build what has no wheel. From 82 on, setuptools lacks pkg_resources,
# which old setup.py files import.
NEWEST_TOOLS = ("pip==25.3", "setuptools==80.9.0", "wheel==0.45.1")
TOOLS: Mapping[str, tuple[str, ...]] = {
    "2.7": ("pip==20.3.4", "setuptools==44.1.1", "wheel==0.37.1"),
    "3.5": ("pip==20.3.4", "setuptools==50.3.2", "wheel==0.37.1"),
    "3.6": ("pip==21.3.1", "setuptools==59.6.0", "wheel==0.37.1"),
    "3.7": ("pip==24.0", "setuptools==68.0.0", "wheel==0.42.0"),
    "3.8": ("pip==25.0.1", "setuptools==75.3.2", "wheel==0.45.1"),
    **dict.fromkeys(("3.9", "3.10", "3.11", "3.12", "3.13", "3.14"), NEWEST_TOOLS),
}
SEED: tuple[str, ...] = ("virtualenv==20.21.1",)  # the last for Python 2.7; it brings pip 20.3.4, the last likewise
SEED_FILE = "virtualenv.txt"
RUNNERS_PYTHON = "3.11"  # the oldest that this program runs on
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


class Lockable(Protocol):  # what a lock needs to know of a release
    @property
    def python(self) -> str: ...
    def stack(self, device: Device) -> Stack | None: ...


def tools_file(python: str) -> str:
    """The lock of the tools that build for this Python, in images/locks."""
    return f"tools-{python}.txt"


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


def lock_command(uv: str, python: str, requirements: Path, tools: Path, interpreter: Path | None) -> list[str]:
    """The uv command that prints a lock; sdists are built, by `interpreter` and `tools`, to learn their needs."""
    return [
        *compile_command(uv, python),
        *("--python-platform", PLATFORM),
        *(("--python", str(interpreter)) if interpreter else ()),
        *("--build-constraints", str(tools), str(requirements)),
    ]


def compile_command(uv: str, python: str) -> list[str]:
    """The uv command that prints the requirements of a file with their hashes, and nothing of where they come from."""
    return [
        *(uv, "pip", "compile", "--quiet", "--no-config", "--generate-hashes", "--no-header", "--no-annotate"),
        *("--no-emit-index-url", "--no-emit-find-links", "--python-version", python),
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


def python2_commands(uv: str, folder: Path, python: str, made: Path, seed: Path) -> Iterator[list[str]]:
    """What makes an environment of Python 2.7, which uv does not know: virtualenv from its lock, and its own wheels."""
    yield [uv, "venv", "--quiet", "--no-project", "--python", sys.executable, str(folder)]
    starter = str(folder / "bin" / "python")
    yield [uv, "pip", "install", "--quiet", "--python", starter, "--require-hashes", "--no-deps", "-r", str(seed)]
    yield [starter, "-m", "virtualenv", "--quiet", "--no-download", "--python", python, str(made)]


def python2_lock(
    run: Run, uv: str, requirements: Path, interpreter: Path, env: Mapping[str, str], seed: Path
) -> str:  # fmt: skip
    """A lock for Python 2.7, which uv does not know: what the last pip that knows it would download."""
    made, files = requirements.parent / "environment", requirements.parent / "files"
    for command in python2_commands(uv, requirements.parent / "seed", str(interpreter), made, seed):
        run(command, env=env, timeout=LOCK_SECONDS)
    pip = [str(made / "bin" / "python"), "-m", "pip", "download", "--quiet", "--prefer-binary"]
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
        requirements = Path(folder, "requirements.in")
        requirements.write_text("\n".join(stack.requirements), encoding="utf-8")
        if release.python == PYTHON_2:
            python = interpreter or Path("python2.7")
            lock = python2_lock(run, uv, requirements, python, settings, path.with_name(SEED_FILE))
        else:
            tools = path.with_name(tools_file(release.python))
            command = lock_command(uv, release.python, requirements, tools, interpreter)
            lock = run(command, env=settings, timeout=LOCK_SECONDS)
    replace_text(
        path, f"# {release_id} on the {device}, Python {release.python}: every requirement with its hash.\n{lock}"
    )


def write_tools_locks(folder: Path, *, run: Run, uv: str, env: Mapping[str, str]) -> Iterator[Path]:
    """Write the locks of the tools for each Python, and of virtualenv for Python 2.7; their paths."""
    wanted = {
        **{tools_file(python): (f"# What builds for Python {python}", tools) for python, tools in TOOLS.items()},
        SEED_FILE: (f"# What makes environments of Python {PYTHON_2}", SEED),
    }
    settings = lock_settings(env, "gpu")  # from the index alone
    for name, (title, requirements) in wanted.items():
        with tempfile.TemporaryDirectory() as temporary:
            file = Path(temporary, "requirements.in")
            file.write_text("\n".join(requirements), encoding="utf-8")
            lock = run([*compile_command(uv, RUNNERS_PYTHON), str(file)], env=settings, timeout=LOCK_SECONDS)
        replace_text(folder / name, f"{title}: every requirement with its hash.\n{lock}")
        yield folder / name


def replace_text(path: Path, text: str) -> None:
    """Write the text beside the file, then in its place."""
    path.with_suffix(".tmp").write_text(text, encoding="utf-8")
    path.with_suffix(".tmp").replace(path)
