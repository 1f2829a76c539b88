"""From a recipe to a Dockerfile: the base that provides its Python, CUDA and cuDNN, and its framework's template."""

import hashlib
import shlex
from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Any, Literal

import msgspec

from runner.cells import Name
from runner.errors import Mistake
from runner.fields import CondaChannel, CondaSpec, Digest, ImageName, Items, Line, Numbers
from runner.hardware import version
from runner.paths import Paths
from runner.recipes import Recipe
from runner.text import one_line
from runner.toml import read_toml


class Base(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An image to build on and what it provides; images/bases.toml explains the kinds."""

    kind: Literal["python", "cuda-image", "conda", "wheels", "julia"]
    image: ImageName
    os: Name
    python: Numbers | None = None
    julia: Numbers | None = None
    cuda: Numbers | None = None
    cudnn: Numbers | None = None
    specs: Annotated[tuple[CondaSpec, ...], Items] = ()
    channels: Annotated[tuple[CondaChannel, ...], Items] = ()
    conda_image: ImageName | None = None
    digest: Digest | None = None
    seen: Line = ""

    @property
    def reference(self) -> str:
        """What FROM names: by digest where it is known."""
        return f"{self.image}@{self.digest}" if self.digest else self.image


class Gone(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Images that no registry has any more."""

    image: Line
    reason: Line


class Bases(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """images/bases.toml."""

    bases: Annotated[tuple[Base, ...], Items]
    gone: Annotated[tuple[Gone, ...], Items] = ()

    def fitting(self, recipe: Recipe) -> Iterator[Base]:
        """The bases that provide what a recipe names, in the order in which they are to be tried."""
        for base in self.bases:
            if fits(base, recipe):
                yield wheels_base(base) if recipe.device == "gpu" and base.kind == "python" else base

    def why_none(self, recipe: Recipe) -> str:
        """Why no base fits a recipe."""
        stack, language = recipe.stack, f"{recipe.language.title} {recipe.release.language_version}"
        if stack.cuda and stack.cudnn:
            return f"no base image provides CUDA {stack.cuda} with cuDNN {stack.cudnn} and {language}"
        return f"no base image provides {language}"


def fits(base: Base, recipe: Recipe) -> bool:
    """Same Python and same CUDA, and a cuDNN of the same major version that is not older; Julia's packages bring theirs."""
    stack, python = recipe.stack, recipe.release.python
    if base.kind == "julia" or recipe.language.name == "julia":
        return base.julia == recipe.release.julia
    if base.kind == "python":
        return base.python == python and (recipe.device == "cpu" or brings_cuda(recipe))
    if recipe.device == "cpu" or base.cuda != stack.cuda:
        return False
    if base.python not in (None, python):
        return False
    if stack.cudnn is None:
        return True
    have, want = version(base.cudnn or "0"), version(stack.cudnn)
    return have[0] == want[0] and have >= want


def brings_cuda(recipe: Recipe) -> bool:
    """Whether the lock installs the CUDA runtime itself, as NVIDIA's wheels or inside the framework's own."""
    return recipe.stack.cuda_in_wheels or "\nnvidia-cuda-runtime" in recipe.lock


def wheels_base(base: Base) -> Base:
    return msgspec.structs.replace(base, kind="wheels")


class Dockerfile(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """A rendered template on its base, with everything that decides the image."""

    recipe: Recipe
    base: Base
    text: str

    @cached_property
    def key(self) -> str:
        """Sixteen hex digits of the text, both locks and the base: same key, same image."""
        parts = (self.text, self.recipe.lock, self.base.reference, self.recipe.tools)
        return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()[:16]

    @property
    def tag(self) -> str:
        return f"matrix-runner/{self.recipe.release_id}-{self.recipe.device}:{self.key}"


def read_bases(paths: Paths) -> Bases:
    path = paths.images / "bases.toml"
    return read_toml(path, Bases, paths.shown(path))


def dockerfile(paths: Paths, recipe: Recipe, framework: str, base: Base) -> Dockerfile:
    """Render the framework's template; the same input gives the same text."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(paths.images),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - a Dockerfile is no HTML
    )
    environment.filters |= {"shell": shlex.quote, "quoted": quoted}
    name = f"{framework}.Dockerfile.j2"
    try:
        text = environment.get_template(name).render(context(recipe, base))
    except (jinja2.TemplateError, RecursionError) as error:
        said = one_line(str(error)) or type(error).__name__
        raise Mistake(f"images/{name} gives no Dockerfile for {recipe.release_id}: {said}") from None
    return Dockerfile(recipe=recipe, base=base, text=text)


def quoted(text: str) -> str:
    """A Dockerfile's double-quoted string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return f'"{escaped}"'


def context(recipe: Recipe, base: Base) -> dict[str, Any]:
    """What a template may use."""
    release, stack = recipe.release, recipe.stack
    return {
        "release": {
            "id": recipe.release_id,
            "title": release.title,
            "version": release.version,
            "python": release.python,
            "julia": release.julia,
            "module": release.module,
        },
        "device": recipe.device,
        "base": {field: getattr(base, field) for field in base.__struct_fields__}
        | {"image": base.reference, "specs": list(base.specs), "channels": list(base.channels)},
        "lock": recipe.lock_name,
        "requirements": list(stack.requirements),
        "cuda": stack.cuda,
        "apt": list(stack.apt),
        "build_apt": list(stack.build_apt),
        "links": stack.links,
        "environment": recipe.environment,
        "conda": list(stack.conda),
    }
