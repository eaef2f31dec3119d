"""The speed of each dtype on a GPU, against a copy and torch, and the cost of a call: gpu.csv.

Speed is in bytes a nanosecond, read and written. The time is the device's own, between two events
around some calls. The cost of a call is the CPU's time in it, from Python, on an array so small
that the device is done sooner. Nothing waits for the device meanwhile.

Prediction, from the machine code: the arithmetic takes 36 (float32) to 74 % (float16) of the time
that an H100's memory takes. So every dtype has the speed of a copy, and torch, whose kernel uses
an estimate, has it too. A call reads a dict of the interface, a microsecond; pushes and pops the
context, 400 ns; and launches in the driver, two microseconds. torch's call: five.
"""

import functools
import sys
import time
from pathlib import Path

import numpy as np
from measure import installed, main, spread

import gorsqrt

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
import cuda_driver as cuda

LARGE = 1 << 28  # bytes: more than any cache of a device
CALLS = 200  # in a row: fewer than a stream takes before it lets the CPU wait


def dtypes():
    yield from map(np.dtype, ("float16", "float32", "float64", "complex64", "complex128"))
    if installed("ml_dtypes"):
        import ml_dtypes

        yield np.dtype(ml_dtypes.bfloat16)


def torch_on_device():
    if not installed("torch"):
        return None
    import torch

    return torch if torch.cuda.is_available() else None


def bandwidths(size, rounds, torch_kernels):
    """Rows of gigabytes a second, of arrays of so many bytes."""
    torch = torch_on_device()
    for dtype in dtypes():
        x = np.random.default_rng(1).uniform(1, 100, size // dtype.itemsize).astype(dtype)
        a, out = cuda.array(x), cuda.array(x)
        to, source = out.memory.address, a.memory.address
        contenders = {
            ("gorsqrt", "out="): lambda a=a, out=out: gorsqrt.rsqrt(a, out=out),
            ("gorsqrt", "in place"): lambda out=out: gorsqrt.rsqrt_(out),
            ("device copy", "out="): lambda to=to, source=source: cuda.call("cuMemcpyDtoDAsync_v2", to, source, size, 0),
        }
        if torch:
            t = torch.empty(len(x), dtype=getattr(torch, dtype.name), device="cuda")
            t.copy_(torch.from_numpy(x.view(f"i{dtype.itemsize}") if dtype.name == "bfloat16" else x).view(t.dtype))
            result = torch.empty_like(t)
            contenders["gorsqrt, torch tensors", "out="] = functools.partial(gorsqrt.rsqrt, t, out=result)
            if torch_kernels:
                contenders["torch", "out="] = functools.partial(torch.rsqrt, t, out=result)
        found = {about: [] for about in contenders}
        for turn in range(-1, rounds):
            for about, call in contenders.items():
                with cuda.On(0):
                    cuda.call("cuCtxSynchronize")
                begin = cuda.record()
                for _ in range(8):
                    call()
                ms = cuda.milliseconds(begin, cuda.record()) / 8
                if turn >= 0:  # the first one loads the kernels
                    found[about].append(2 * size / ms / 1e6)
        a.memory.free()
        out.memory.free()
        for (provider, form), speeds in found.items():
            yield row("bandwidth", dtype.name, provider, form, len(x), "GB/s", speeds)


def costs(rounds, torch_kernels):
    """Rows of nanoseconds a call, of 16 items."""
    x, torch, stream = np.full(16, 4, np.float32), torch_on_device(), cuda.stream()
    a, out = cuda.Array(x), cuda.Array(x)
    captured, result = cuda.Array(x, stream=stream), cuda.Array(x, stream=stream)
    contenders = {
        ("gorsqrt", "out="): lambda: gorsqrt.rsqrt(a, out=out),
        ("gorsqrt", "in place"): lambda: gorsqrt.rsqrt_(out),
        ("gorsqrt", "replay of a graph"): cuda.captured(stream, lambda: gorsqrt.rsqrt(captured, out=result)),
    }
    if torch:
        t = torch.from_numpy(x).cuda()
        u = torch.empty_like(t)
        for provider, rsqrt, rsqrt_ in (
            ("gorsqrt, torch tensors", gorsqrt.rsqrt, gorsqrt.rsqrt_),
            *([("torch", torch.rsqrt, torch.rsqrt_)] if torch_kernels else ()),
        ):
            contenders[provider, "out="] = functools.partial(rsqrt, t, out=u)
            contenders[provider, "in place"] = functools.partial(rsqrt_, u)
            contenders[provider, "fresh"] = functools.partial(rsqrt, t)
    found = {about: [] for about in contenders}
    for turn in range(-1, rounds):
        for about, call in contenders.items():
            with cuda.On(0):
                cuda.call("cuCtxSynchronize")
            start = time.perf_counter_ns()
            for _ in range(CALLS):
                call()
            if turn >= 0:
                found[about].append((time.perf_counter_ns() - start) / CALLS)
    for (provider, form), ns in found.items():
        yield row("call", "float32", provider, form, len(x), "ns", ns)


def row(what, dtype, provider, form, n, unit, samples):
    low, median, high = (f"{value:.4g}" for value in spread(samples))
    about = {"device": cuda.name(0), "what": what, "dtype": dtype, "provider": provider, "form": form, "n": n}
    return about | {"unit": unit, "median": median, "p20": low, "p80": high}


def rows(quick, size=LARGE, torch_kernels=True):
    rounds = 5 if quick else 31
    yield from bandwidths(size, rounds, torch_kernels)
    yield from costs(rounds, torch_kernels)


if __name__ == "__main__":
    try:
        cuda.devices()
    except RuntimeError as error:
        print(f"gpu: left out, since there is no CUDA device: {error}")
    else:
        main("gpu", __doc__, rows)
