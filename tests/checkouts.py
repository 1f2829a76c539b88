"""A checkout of its own for a test: the real images and frameworks, but one small suite that runs in seconds."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runner.paths import Paths

ROOT = Path(__file__).resolve().parent.parent

WORKLOAD = """
title = "VGG's pattern, small"
network = "vgg-small"
mode = "training"
classes = 10
optimizer = { kind = "sgd", learning_rate = 0.01 }
data = { kind = "images" }
"""

SUITE = """
title = "Small"
workload = "small"
published = "somebody"
about = "A small table."
notes = ["A note."]

[profiles.quick]
about = "batch 2"
batch = 2
launches = 2
timeout_seconds = 60
sampling = { blocks = 3 }

[[rows]]
releases = ["numpy-2"]

[[rows]]
releases = ["tf-1.8"]
options = { layout = ["nhwc", "nchw"], bn = ["unfused", "fused"] }

[[rows]]
releases = ["theano-1.0", "keras-2.2-theano-1.0", "mxnet-1.5", "torch-2.13"]
"""

PUBLISHED = """
title = "Somebody's table"
source = "a page"
date = "2017-01"
hardware = "a GPU"
versions = "many"

[[numbers]]
suite = "small"
cell = "tf-1.8-nhwc"
label = "TensorFlow"
value = 10.0
batch = 4
"""

# What the float64 reference says of the small workload; computed once by `python -m runner reference small`.
REFERENCE = ROOT / "tests" / "data" / "small-b2.json"


def checkout(folder: Path, *, runnable: bool = False) -> Paths:
    """The paths of a fresh checkout below `folder`; a runnable one has its own copy of the runner's code."""
    root = folder / "checkout"
    for part in ("suites", "workloads", "published", "references"):
        (root / "matrix" / part).mkdir(parents=True)
    shutil.copytree(ROOT / "matrix" / "frameworks", root / "matrix" / "frameworks")
    shutil.copy(ROOT / "matrix" / "hardware.toml", root / "matrix")
    (root / "matrix" / "workloads" / "small.toml").write_text(WORKLOAD)
    (root / "matrix" / "suites" / "small.toml").write_text(SUITE)
    (root / "matrix" / "published" / "somebody.toml").write_text(PUBLISHED)
    if REFERENCE.is_file():
        shutil.copy(REFERENCE, root / "matrix" / "references")
    (root / "images").symlink_to(ROOT / "images")
    if runnable:
        shutil.copytree(ROOT / "runner", root / "runner", ignore=shutil.ignore_patterns("__pycache__"))
    return Paths(root=root, cache=folder / "cache", turn=folder / "turn")


def runner(paths: Paths, *words: str, environ: Mapping[str, str] = {}, **options: Any) -> "subprocess.Popen[str]":
    """A command of the runner in a checkout, as a process with its output in pipes."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    argv = [sys.executable, "-m", "runner", *words]
    return subprocess.Popen(argv, cwd=paths.root, env=os.environ | environ, **options)
