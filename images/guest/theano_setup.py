"""What Theano stands on: its flags, set as this module is imported and before Theano is; its compiler, BLAS and device."""
from __future__ import absolute_import, division, print_function

import ctypes
import glob
import os
import subprocess
import sys
import tempfile

import numpy as np

from adapter import Unsupported

HEADERS = ("Python.h", "iostream", "math.h", "numpy/arrayobject.h", "numpy/arrayscalars.h", "vector", "algorithm")

def bundled_blas():
    """The OpenBLAS with 32-bit integers that numpy's wheel brings (scipy's where numpy's has 64-bit ones), or None."""
    site = os.path.dirname(os.path.dirname(os.path.abspath(np.__file__)))
    for folder in ("numpy.libs", "numpy/.libs", "scipy.libs", "scipy/.libs"):
        for path in sorted(glob.glob(os.path.join(site, folder, "libopenblasp-*.so"))):
            return path
    return None


def flags():
    """name=value words; Theano itself finds no BLAS in a wheel and then convolves with a slow stand-in, or not at all."""
    words = ["floatX=float32", "base_compiledir=" + compiled_folder(), "gcc.cxxflags=-g0"]  # without symbols: a sixth faster
    if BLAS:
        folder, name = os.path.split(BLAS)
        words.append("blas.ldflags=-L%s -l%s" % (folder, name[len("lib"):-len(".so")]))
    return words


def compiled_folder():
    """Compiled code belongs to one Theano: 0.9 fails on what 0.8.2 left (cannot import name 'inplace_increment')."""
    parent = sys.prefix if os.access(sys.prefix, os.W_OK) else tempfile.gettempdir()
    return os.path.join(parent, "theano-compiled")


def extend_environment():
    """Ours first, the environment's behind: of two values for one flag Theano takes the last."""
    given = os.environ.get("THEANO_FLAGS", "")
    os.environ["THEANO_FLAGS"] = ",".join(flags() + ([given] if given else []))


def precompile_headers():
    """Have the headers that all of Theano's modules include parsed once, and not for each of a network's 150 modules.

    The compiler takes a precompiled header only where it was made with the same flags, and reads the plain one otherwise,
    so this halves the time to compile and changes nothing else.
    """
    import theano
    from theano.gof.cmodule import GCC_compiler, std_include_dirs
    flags = GCC_compiler.compile_args()  # has Theano find out about the processor, which fails once there is a header to include
    header = os.path.join(theano.config.compiledir, "headers.h")
    if not os.path.isfile(header + ".gch"):
        with open(header, "w") as file:
            file.write("".join("#include <%s>\n" % name for name in HEADERS))
        part = "%s.%d" % (header, os.getpid())
        subprocess.check_call(
            [theano.config.cxx, "-O3", "-fno-math-errno", "-fvisibility=hidden", "-w"] + flags
            + ["-I" + folder for folder in std_include_dirs()] + ["-x", "c++-header", "-o", part, header])
        os.rename(part, header + ".gch")
    theano.config.gcc.cxxflags += " -include " + header


def prepare(adapter):
    """Set this adapter's threads and GPU options; raise Unsupported where Theano lacks its compiler or the GPU."""
    import theano
    if not theano.config.cxx:
        raise Unsupported("Theano found no C++ compiler and would run in Python")
    precompile_headers()
    if BLAS:
        ctypes.CDLL(BLAS).openblas_set_num_threads(adapter.threads)
    if adapter.device != "gpu":
        return
    if gpu_name() is None:
        raise Unsupported("Theano sees no GPU (its flag device is %s); the log says why" % theano.config.device)
    if adapter.options.get("autotune", "on") == "on":
        for which in ("algo_fwd", "algo_bwd_data", "algo_bwd_filter"):
            setattr(theano.config.dnn.conv, which, "time_once")


def old_cuda():
    """The GPU back-end of `device=gpu`, which 1.0 no longer has, if it is in use; else None."""
    try:
        from theano.sandbox import cuda
    except ImportError:
        return None
    return cuda if getattr(cuda, "cuda_enabled", False) else None


def gpu_name():
    """The name of the GPU by Theano's own word, or None where it computes on the CPU."""
    cuda = old_cuda()
    if cuda is not None:
        return cuda.active_device_name()
    try:
        from theano.gpuarray.type import get_context
        return get_context(None).devname
    except Exception:  # ImportError without the module (0.7), ContextNotDefined without a device, AttributeError without pygpu
        return None


def wait_for(variables):
    """Return once the GPU is done with these shared variables; on the CPU they are done already."""
    cuda = old_cuda()
    if cuda is not None:
        return cuda.synchronize()
    for variable in variables:
        value = variable.get_value(borrow=True, return_internal_type=True)
        if hasattr(value, "sync"):
            value.sync()


def facts(adapter):
    """The facts of Theano itself, to which a library on top adds its own."""
    import theano
    from theano.gof.cmodule import GCC_compiler
    library = ctypes.CDLL(BLAS) if BLAS else None
    return {
        "versions": {"theano": theano.__version__, "numpy": np.__version__},
        "device": gpu_name() if adapter.device == "gpu" else "cpu",
        "threads": library.openblas_get_num_threads() if library else adapter.threads,
        "blas": os.path.basename(BLAS) if BLAS else theano.config.blas.ldflags,
        "compiled_for": [flag for flag in GCC_compiler.compile_args() if flag.startswith("-march=")],
    }


BLAS = bundled_blas()
extend_environment()
