"""What the guest can say of the place it runs in: interpreter, packages, threads, memory."""
from __future__ import absolute_import, division, print_function

import os
import platform
import resource
import sys


def packages():
    """Name to version of all that is installed on sys.path, read from the names of the metadata folders."""
    found = {}
    for folder in sys.path:
        for entry in os.listdir(folder) if os.path.isdir(folder) else ():
            stem, kind = os.path.splitext(entry)
            if kind in (".dist-info", ".egg-info") and "-" in stem:
                name, version = stem.split("-")[:2]
                found[name.lower().replace("_", "-")] = version
    return found


def place():
    """Facts of the interpreter and of the variables that decide how many threads work."""
    counted = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "THEANO_FLAGS", "TF_XLA_FLAGS")
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": platform.platform(),
        "packages": packages(),
        "environment": dict((name, os.environ[name]) for name in counted if name in os.environ),
    }


def peak_memory_bytes():
    """The most memory this process held at once."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
