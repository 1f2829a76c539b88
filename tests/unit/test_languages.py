"""A release in Julia: its lock, its base, what its build and its guest are given, and where it can run."""

import re
from pathlib import Path

import pytest
from checkouts import ROOT

from runner.catalog import Catalog
from runner.dockerfiles import dockerfile, read_bases
from runner.engines.choice import missing_base
from runner.engines.host import HostEngine
from runner.engines.images import context_files, settings_of
from runner.engines.venv import VenvEngine
from runner.errors import Mistake, UnsupportedHere
from runner.jobs import guest_digest
from runner.languages import JULIA, PYTHON
from runner.locking import lock_release
from runner.manifests import STANDARD_LIBRARY, manifest_problems, packages_of, project_of
from runner.paths import Paths, checkout_paths
from runner.reading import read_catalog
from runner.recipes import Recipe, recipe_for

PATHS = checkout_paths()
CATALOG = read_catalog(PATHS)
LOCK = (ROOT / "images" / "locks" / "knet-1.4.toml").read_text()
WANTED = ("Knet@1.4.10", "CUDA@3.13.1")


@pytest.fixture
def knet() -> Recipe:
    return recipe_for(CATALOG, PATHS, "knet-1.4", "cpu")


def test_the_committed_manifest_is_whole_and_holds_nothing_else() -> None:
    packages = packages_of(LOCK)
    assert list(manifest_problems(LOCK, WANTED)) == []
    needed: set[str] = set()
    waiting = ["Knet", "CUDA"]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += packages[name].get("deps", [])
    assert needed == set(packages)
    assert len({package["uuid"] for package in packages.values()}) == len(packages)
    assert all(re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", p["uuid"]) for p in packages.values())
    assert {name for name, package in packages.items() if "git-tree-sha1" not in package} <= STANDARD_LIBRARY


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('git-tree-sha1 = "b1874af1', 'git-tree-sha1 = "b1874', "'Knet' has no hash of its tree"),
        ('git-tree-sha1 = "0310e08cb19f5da31d08341c6120c047598f5b9c"\n', "", "'Adapt' has no hash of its tree"),
        ('uuid = "0dad84c5-d112-42e6-8d28-ef12dabb789f"\n', "", "'ArgTools' has no uuid"),
        ("[[deps.Adapt]]", "[[deps.Adopt]]", "needs 'Adapt', which it does not pin"),
        ('version = "1.4.10"', 'version = "1.4.9"', "it pins 'Knet' to 1.4.9, not 1.4.10"),
        ("[[deps.Adapt]]", "[[deps.Adapt", "it is no manifest of Julia's"),
        ("[[deps.Adapt]]", '[[deps."Ad\\napt"]]', "'Ad apt' is no name of a package"),
        ("79e6a3ab-5dfb-504d-930d-738a2a938a0e", 'x\\"\\nRUN', "'Adapt' has no uuid"),
    ],
)
def test_a_damaged_manifest_is_named_in_one_line(old: str, new: str, problem: str) -> None:
    assert LOCK.count(old) == 1
    assert any(problem in found for found in manifest_problems(LOCK.replace(old, new), WANTED))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "deps = 1\n",
        "[deps]\nAdapt = 1\n",
        "[deps]\nAdapt = []\n",
        "[[deps.Knet]]\n",
        "[[deps.Knet]]\ndeps = 1\n",
        "[[deps.Knet]]\ndeps = [[]]\n",
        "x = " + "[" * 9999,
    ],
    ids=range(8),
)
def test_what_is_no_manifest_is_no_lock(text: str) -> None:
    problems = list(manifest_problems(text, WANTED))
    assert problems
    assert "".join(problems).isprintable()


def test_a_damaged_lock_is_a_mistake_with_the_way_to_mend_it(paths: Paths, catalog: Catalog) -> None:
    (paths.root / "images").unlink()
    paths.locks.mkdir(parents=True)
    with pytest.raises(Mistake, match=r"images/locks/knet-1.4.toml is missing; make it with: .*runner lock knet-1.4"):
        recipe_for(catalog, paths, "knet-1.4", "gpu")
    (paths.locks / "knet-1.4.toml").write_text(LOCK.replace("b1874af1", ""))
    with pytest.raises(Mistake, match=r"knet-1.4.toml: 'Knet' has no hash of its tree; .*runner lock knet-1.4"):
        recipe_for(catalog, paths, "knet-1.4", "gpu")


def test_both_devices_have_one_lock_and_two_environments(knet: Recipe) -> None:
    gpu = recipe_for(CATALOG, PATHS, "knet-1.4", "gpu")
    assert knet.lock_name == gpu.lock_name == "knet-1.4.toml"
    assert knet.key != gpu.key


def test_julia_makes_its_locks_itself(paths: Paths) -> None:
    with pytest.raises(
        UnsupportedHere, match=r"julia --project=. -e .*add Knet@1.4.10 CUDA@3.13.1.*locks/knet-1.4.toml"
    ):
        lock_release(paths, "knet-1.4", CATALOG.release("knet-1.4"), "cpu", {})


def test_it_runs_in_containers_alone(knet: Recipe, paths: Paths) -> None:
    reason = "Knet 1.4 is a package of Julia's and runs in containers only; use --engine docker"
    assert VenvEngine(paths, {}).reason_against(knet) == reason
    assert HostEngine(paths, {}).reason_against(knet) == reason


def test_its_missing_base_sends_no_other_cell_to_another_engine(knet: Recipe) -> None:
    class NoBase:
        def reason_against(self, recipe: Recipe) -> str | None:
            return None

        def reason_against_base(self, recipe: Recipe) -> str | None:
            return f"no base for {recipe.release_id}"

    numpy = recipe_for(CATALOG, PATHS, "numpy-2", "cpu")
    assert missing_base(NoBase(), [knet]) is None  # type: ignore[arg-type]
    assert missing_base(NoBase(), [knet, numpy]) == "no base for numpy-2"  # type: ignore[arg-type]


def test_only_a_base_of_julias_fits_on_either_device() -> None:
    bases = read_bases(PATHS)
    for device in ("cpu", "gpu"):
        recipe = recipe_for(CATALOG, PATHS, "knet-1.4", device)
        assert {base.kind for base in bases.fitting(recipe)} == {"julia"}
    other = recipe_for(CATALOG, PATHS, "torch-2.13", "cpu")
    assert "julia" not in {base.kind for base in bases.fitting(other)}


def test_its_build_gets_project_manifest_and_the_settings_of_this_network(knet: Recipe, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("CERTIFICATE")
    environ = {"JULIA_PKG_SERVER": "https://packages.example/a b", "HTTPS_PROXY": "http://proxy:3128"}
    settings = settings_of({"index-url": "https://index.example/simple"}, environ, "", bundle)
    file = dockerfile(PATHS, knet, "knet", next(read_bases(PATHS).fitting(knet)))
    files = dict(context_files(file, settings))
    assert set(files) == {
        "Dockerfile", "build/ca.pem", "build/Manifest.toml", "build/Project.toml", "build/settings.sh",
    }  # fmt: skip
    assert files["build/Manifest.toml"].decode() == LOCK
    assert files["build/Project.toml"].decode() == project_of(LOCK, WANTED)
    assert files["build/settings.sh"].decode().splitlines() == [
        "export JULIA_PKG_SERVER='https://packages.example/a b'",
        "export JULIA_SSL_CA_ROOTS_PATH=/build/ca.pem",
        "export SSL_CERT_FILE=/build/ca.pem",
    ]
    assert "example" not in file.text
    assert dict(context_files(file, settings_of({}, {})))["build/settings.sh"] == b""


def test_the_project_names_what_is_asked_for() -> None:
    assert project_of(LOCK, WANTED) == (
        '[deps]\nCUDA = "052768ef-5323-5732-b1bb-66c8b64840ba"\nKnet = "1902f260-5fb4-5aff-8c31-6271790ab950"\n'
    )


def test_a_guest_is_started_in_one_way_for_each_language() -> None:
    assert PYTHON.command("python", "/job/guest", "/job") == ["python", "/job/guest", "/job"]
    assert JULIA.command("julia", "/job/guest", "/job") == [
        "julia", "--startup-file=no", "--history-file=no", "/job/guest/julia/guest.jl", "/job",
    ]  # fmt: skip


def test_the_digest_of_a_guest_is_over_its_own_files(tmp_path: Path) -> None:
    for name in ("__main__.py", "on_numpy.py", "julia/guest.jl", "julia/knet.jl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    before = guest_digest(tmp_path, JULIA, "knet"), guest_digest(tmp_path, PYTHON, "numpy")
    (tmp_path / "julia" / "guest.jl").write_text("# more\n")
    after = guest_digest(tmp_path, JULIA, "knet"), guest_digest(tmp_path, PYTHON, "numpy")
    assert after[0] != before[0]
    assert after[1] == before[1]
