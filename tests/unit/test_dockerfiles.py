"""Rendering is deterministic: every release on every device against its golden Dockerfile, or the reason for none."""

import os
import re
import shlex
from pathlib import Path

import msgspec
import pytest
from checkouts import ROOT

from runner.dockerfiles import dockerfile, fits, read_bases
from runner.engines.docker import job_archive
from runner.engines.images import context_files, mirrored, proxy_arguments, settings_of
from runner.errors import Mistake
from runner.languages import JULIA, PYTHON, Language
from runner.paths import checkout_paths
from runner.reading import read_catalog
from runner.recipes import Recipe, lock_problems, recipe_for

GOLDEN = ROOT / "tests" / "data" / "dockerfiles"
PATHS = checkout_paths()
CATALOG = read_catalog(PATHS)
BASES = read_bases(PATHS)
STACKS = [
    (id_, device) for id_ in CATALOG.release_ids() for device in ("cpu", "gpu") if CATALOG.release(id_).stack(device)
]


def rendered(release: str, device: str) -> str:
    """The Dockerfile on the first base that fits, or why there is none."""
    try:
        recipe = recipe_for(CATALOG, PATHS, release, device)
    except Mistake as reason:
        return f"# no Dockerfile: {reason}\n"
    base = next(BASES.fitting(recipe), None)
    if base is None:
        return f"# no Dockerfile: {BASES.why_none(recipe)}\n"
    return dockerfile(PATHS, recipe, CATALOG.framework_of(release).framework, base).text


@pytest.mark.parametrize(("release", "device"), STACKS)
def test_a_dockerfile_is_the_golden_one(release: str, device: str) -> None:
    golden = GOLDEN / f"{release}-{device}.Dockerfile"
    if os.environ.get("GOLDEN") == "write":
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(rendered(release, device))
    assert rendered(release, device) == golden.read_text()


@pytest.mark.parametrize("release", CATALOG.release_ids())
def test_every_cpu_release_has_a_base(release: str) -> None:
    if CATALOG.release(release).cpu:
        assert rendered(release, "cpu").startswith(f"# For the cpu: {CATALOG.release(release).title}\n")


@pytest.mark.parametrize("release", [id_ for id_, device in STACKS if device == "gpu"])
def test_every_gpu_release_has_a_base_or_says_why_it_cannot_run(release: str) -> None:
    cells = [cell for cell in CATALOG.cells() if cell.release == release]
    cannot = all(CATALOG.reason_against(cell, "gpu") for cell in cells)
    assert cannot or list(BASES.fitting(recipe_for(CATALOG, PATHS, release, "gpu")))


@pytest.fixture
def recipe() -> Recipe:
    return recipe_for(CATALOG, PATHS, "tf-1.8", "cpu")


def test_a_template_that_names_what_is_not_there_fails(recipe: Recipe, tmp_path: object) -> None:
    paths = msgspec.structs.replace(PATHS, root=tmp_path)
    paths.images.mkdir()
    (paths.images / "tensorflow.Dockerfile.j2").write_text("FROM {{ bass.image }}\n")
    with pytest.raises(Mistake, match=r"images/tensorflow.Dockerfile.j2 .* 'bass' is undefined"):
        dockerfile(paths, recipe, "tensorflow", BASES.bases[0])


def test_the_key_follows_lock_text_and_digest_and_nothing_else(recipe: Recipe) -> None:
    base = next(BASES.fitting(recipe))
    first = dockerfile(PATHS, recipe, "tensorflow", base)
    assert dockerfile(PATHS, recipe, "tensorflow", base).tag == first.tag
    other_lock = msgspec.structs.replace(recipe, lock=recipe.lock + "\n# more\n")
    assert dockerfile(PATHS, other_lock, "tensorflow", base).key != first.key
    other_tools = msgspec.structs.replace(recipe, tools=recipe.tools + "\n# more\n")
    assert dockerfile(PATHS, other_tools, "tensorflow", base).key != first.key
    assert other_tools.key != recipe.key
    pinned = msgspec.structs.replace(base, digest="sha256:" + 64 * "1")
    assert dockerfile(PATHS, recipe, "tensorflow", pinned).key != first.key
    assert f"{base.image}@sha256:" in dockerfile(PATHS, recipe, "tensorflow", pinned).text


def test_what_a_template_writes_is_quoted_even_where_no_type_would_let_it_in(recipe: Recipe) -> None:
    bad = """x y'"$(touch OWNED)\\"""
    stack = msgspec.structs.replace(
        recipe.stack, apt=(bad,), build_apt=(bad,), conda=(bad,), links={bad: bad}, environment={"A": bad}
    )
    conda = next(base for base in BASES.bases if base.kind == "conda")
    conda = msgspec.structs.replace(conda, specs=(bad,), channels=(bad,))
    text = dockerfile(PATHS, msgspec.structs.replace(recipe, stack=stack), "numpy", conda).text
    words = shlex.quote(bad)
    assert f"--no-install-recommends {words} \\\n" in text
    assert f"--channel {words} " in text
    assert f"{words} {words} 'python=3.6' pip" in text
    assert f"ln -sfn {words} {shlex.quote('/opt/env/lib/python3.6/site-packages/' + bad)} " in text
    assert 'ENV A="x y\'\\"\\$(touch OWNED)\\\\"\n' in text


def test_all_that_a_build_installs_with_pip_has_hashes(recipe: Recipe) -> None:
    file = dockerfile(PATHS, recipe, "tensorflow", next(BASES.fitting(recipe)))
    files = dict(context_files(file, settings_of({}, {})))
    assert list(lock_problems(files["build/tools.txt"].decode())) == []
    commands = re.findall(r"pip install (.*?)(?=&&|\n(?! ))", file.text.replace("\\\n", " "), re.DOTALL)
    assert len(commands) == 2
    for words in commands:
        assert {"--require-hashes", "--no-deps"} <= set(words.split())


def test_network_settings_reach_the_builder_and_not_the_key(recipe: Recipe, tmp_path: object) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("CERTIFICATE")
    pip = {"index-url": "https://index.example/simple", "extra-index-url": "file:///somewhere", "timeout": "60"}
    settings = settings_of(pip, {"HTTPS_PROXY": "http://proxy:3128"}, "mirror.example", bundle)
    file = dockerfile(PATHS, recipe, "tensorflow", next(BASES.fitting(recipe)))
    files = dict(context_files(file, settings))
    assert files["build/ca.pem"] == b"CERTIFICATE"
    told = files["build/pip.conf"].decode()
    assert told == "[global]\ncert = /build/ca.pem\nindex-url = https://index.example/simple\ntimeout = 60\n"
    assert b"ssl_verify: /build/ca.pem" in files["build/condarc"]
    assert proxy_arguments(settings.proxies) == {"https_proxy": "http://proxy:3128", "HTTPS_PROXY": "http://proxy:3128"}
    assert "example" not in file.text


@pytest.mark.parametrize(
    ("image", "there"),
    [
        ("python:3.6-slim", "mirror:5000/x/library/python:3.6-slim"),
        ("nvidia/cuda:11.8.0-base", "mirror:5000/x/nvidia/cuda:11.8.0-base"),
        ("python:3.6-slim@sha256:aa", "mirror:5000/x/library/python:3.6-slim@sha256:aa"),
    ],
)
def test_an_image_behind_a_mirror(image: str, there: str) -> None:
    assert mirrored(image, "mirror:5000/x/") == there
    assert mirrored(image, "") == image


def test_cuda_and_cudnn_choose_the_base() -> None:
    recipe = recipe_for(CATALOG, PATHS, "tf-1.8", "gpu")
    chosen = list(BASES.fitting(recipe))
    assert chosen
    assert all(base.cuda == "9.0" and base.cudnn and base.cudnn.startswith("7.") for base in chosen)
    assert not any(fits(base, recipe) for base in BASES.bases if base.kind == "python")


@pytest.mark.parametrize(
    ("language", "some"),
    [
        (PYTHON, ["guest/__main__.py", "guest/on_numpy.py"]),
        (JULIA, ["guest/julia/guest.jl", "guest/julia/knet.jl"]),
    ],
)
def test_a_job_travels_with_its_guest_and_its_request_and_nothing_else(
    language: Language, some: list[str], tmp_path: object
) -> None:
    import io
    import tarfile

    (tmp_path / "request.json").write_text("{}")
    with tarfile.open(fileobj=io.BytesIO(job_archive(PATHS.guest, tmp_path, language))) as tar:
        names = tar.getnames()
        assert {"request.json", "home", *some} <= set(names)
        assert {Path(name).suffix for name in names if name.startswith("guest/")} == {Path(some[0]).suffix}
        assert {(entry.uid, entry.gid) for entry in tar} == {(os.getuid(), os.getgid())}
