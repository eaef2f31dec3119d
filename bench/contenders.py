"""The contenders: libraries that compute 1/√x of a flat array into another, or in place.

Each is a function (x, out), which returns a function without arguments to be timed, or None if it
is not installed or can't compute such arrays. All use the same memory except jax. jax has no out=,
and makes a fresh result of its own copy of x.
"""

import ctypes
import functools
import os
import shlex
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from measure import Contender, installed

import gorsqrt
from gorsqrt import _gorsqrt

# Where a contender has no form for a dtype, or converts, it is left out.
REAL = ("float32", "float64")


def gorsqrts(x, out):
    if x is out:
        return lambda: gorsqrt.rsqrt_(x)
    return lambda: gorsqrt.rsqrt(x, out=out)


def tensor(x):
    """torch's view of the memory; it can't read ml_dtypes' arrays."""
    import torch

    if x.dtype.name == "bfloat16":
        return torch.from_numpy(x.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(x)


def torchs(x, out):
    if not installed("torch"):
        return None
    import torch

    torch.set_num_threads(1)
    source, target = tensor(x), tensor(out)
    if x is out:
        return lambda: torch.rsqrt_(source)
    return lambda: torch.rsqrt(source, out=target)


def divided(x, out):
    return None if x.dtype.kind in "iu" else lambda: np.divide(1, np.sqrt(x, out=out), out=out)


def reciprocal(x, out):
    return None if x.dtype.kind in "iu" else lambda: np.reciprocal(np.sqrt(x, out=out), out=out)


@functools.cache
def xla():
    import jax

    jax.config.update("jax_enable_x64", True)
    return jax.jit(jax.lax.rsqrt)


def jaxs(x, out):
    if x is out or x.dtype.kind in "iu" or not installed("jax"):
        return None
    compute = xla()
    import jax

    own = jax.numpy.asarray(x)
    return lambda: compute(own).block_until_ready()


def numexprs(x, out):
    if x.dtype.name not in REAL or not installed("numexpr"):
        return None
    import numexpr

    numexpr.set_num_threads(1)
    one = x.dtype.type(1)
    return lambda: numexpr.evaluate("one / sqrt(x)", {"one": one, "x": x}, out=out)


@functools.cache
def loop():
    import numba

    @numba.njit(error_model="numpy")
    def compute(x, out):
        for i in range(x.size):
            out[i] = x.dtype.type(1) / np.sqrt(x[i])

    return compute


def numbas(x, out):
    if x.dtype.name not in REAL or not installed("numba"):
        return None
    compute = loop()
    return lambda: compute(x, out)


def aligned(n, dtype):
    """Memory that begins with a page, as large arrays do anyway."""
    memory = np.zeros(n * dtype.itemsize + 4096, np.uint8)
    start = -memory.ctypes.data % 4096
    return memory[start : start + n * dtype.itemsize].view(dtype)


# What a C file that calls the kernels is compiled with.
KERNELS = [str(path) for path in sorted(Path(__file__).parent.parent.glob("cgo/*.c"))]


@functools.cache
def compiled(name, *flags):
    """A C file of this folder as a library; None where there is no compiler."""
    with tempfile.TemporaryDirectory() as folder:
        library, source = f"{folder}/library.so", str(Path(__file__).with_name(name))
        compiler = shlex.split(os.environ.get("CC") or "cc")
        try:
            command = [*compiler, "-std=gnu11", "-O3", "-shared", "-fPIC", "-pthread", "-Wno-unknown-pragmas", *flags, source]
            subprocess.run([*command, "-lm", "-Wl,-z,defs", "-o", library], check=True)
        except OSError:
            return None
        return ctypes.CDLL(library)


def copiers():
    """The copies by one thread and by two. Empty where there is no compiler."""
    found = compiled("streaming_copy.c")
    copies = (found.streaming_copy, found.streaming_copy_by_two) if found else ()
    for copy in copies:
        copy.argtypes, copy.restype = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t), None
    return copies


def copies(x, out, threads=1):
    if x is out or x.dtype != out.dtype or not copiers():
        return None
    copy = copiers()[threads - 1]
    to, source, size = out.ctypes.data, x.ctypes.data, x.nbytes
    return lambda: copy(to, source, size)


PEERS = {
    "torch": torchs,
    "1 / np.sqrt": divided,
    "np.reciprocal(np.sqrt)": reciprocal,
    "jax.jit(lax.rsqrt)": jaxs,
    "numexpr": numexprs,
    "numba": numbas,
    "streaming copy": copies,
}


def contenders(x, out, tiers):
    """gorsqrt, once per instruction set, and its peers."""
    for tier in tiers:
        prepare = functools.partial(_gorsqrt.binding_SetTier, tier)
        yield Contender({"provider": "gorsqrt", "tier": tier}, gorsqrts(x, out), prepare)
    for name, peer in PEERS.items():
        call = peer(x, out)
        if call:
            yield Contender({"provider": name, "tier": ""}, call)
