"""Julia's Manifest.toml as a lock: every package with the hash of its tree, and the Project.toml that goes with it."""

import re
import tomllib
from collections.abc import Iterable, Iterator
from typing import Any

from runner.text import one_line

TREE = re.compile(r"[0-9a-f]{40}")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")

# What comes with Julia 1.8 itself and so has no hash; with a name of its own in every manifest that requires it.
STANDARD_LIBRARY = frozenset(
    """
    ArgTools Artifacts Base64 CRC32c CompilerSupportLibraries_jll Dates DelimitedFiles Distributed Downloads FileWatching
    Future GMP_jll InteractiveUtils LLVMLibUnwind_jll LazyArtifacts LibCURL LibCURL_jll LibGit2 LibGit2_jll LibSSH2_jll
    LibUV_jll LibUnwind_jll Libdl LinearAlgebra Logging MPFR_jll Markdown MbedTLS_jll Mmap MozillaCACerts_jll
    NetworkOptions OpenBLAS_jll OpenLibm_jll PCRE2_jll Pkg Printf Profile REPL Random SHA Serialization SharedArrays
    Sockets SparseArrays Statistics SuiteSparse SuiteSparse_jll TOML Tar Test UUIDs Unicode Zlib_jll dSFMT_jll libLLVM_jll
    libblastrampoline_jll nghttp2_jll p7zip_jll
    """.split()  # noqa: SIM905 - a list of sixty quoted names is harder to read
)


def manifest_problems(manifest: str, requirements: Iterable[str]) -> Iterator[str]:
    """What keeps this text from being a lock of these requirements, each written as Name@1.2.3."""
    try:
        packages = packages_of(manifest)
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        yield f"it is no manifest of Julia's ({one_line(str(error))})"
        return
    if not packages:
        yield "it pins nothing"
    for name, package in packages.items():
        if not NAME.fullmatch(name):
            yield f"{one_line(name)!r} is no name of a package"
        if not UUID.fullmatch(str(package.get("uuid", ""))):
            yield f"{name!r} has no uuid"
        if name not in STANDARD_LIBRARY and not TREE.fullmatch(str(package.get("git-tree-sha1", ""))):
            yield f"{name!r} has no hash of its tree"
        for needed in package.get("deps", ()):
            if needed not in packages:
                yield f"{name!r} needs {one_line(needed)!r}, which it does not pin"
    for requirement in requirements if packages else ():
        name, _, version = requirement.partition("@")
        found = packages.get(name, {}).get("version", "nothing")
        if found != version:
            yield f"it pins {name!r} to {found}, not {version}"


def packages_of(manifest: str) -> dict[str, dict[str, Any]]:
    """Each package of a manifest in format 2 under its name."""
    packages = {name: dict(entries[0]) for name, entries in tomllib.loads(manifest).get("deps", {}).items()}
    for package in packages.values():
        if not all(isinstance(needed, str) for needed in package.get("deps", ())):
            raise TypeError("deps that are no names")
    return packages


def project_of(manifest: str, requirements: Iterable[str]) -> str:
    """The Project.toml that names what is loaded by name; the manifest knows the rest."""
    packages = packages_of(manifest)
    names = sorted(requirement.partition("@")[0] for requirement in requirements)
    return "[deps]\n" + "".join(f'{name} = "{packages[name]["uuid"]}"\n' for name in names)


def way_to_lock(release: str, julia: str, requirements: Iterable[str], lock: str) -> str:
    """One line on how Julia's own Pkg makes the lock."""
    wanted = " ".join(requirements)
    return (
        f"{release} is locked by Julia's own Pkg: in an empty folder, with Julia {julia}, "
        f"julia --project=. -e 'using Pkg; pkg\"add {wanted}\"', and its Manifest.toml is images/locks/{lock}"
    )
