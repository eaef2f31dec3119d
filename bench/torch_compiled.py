"""Functions with gorsqrt.rsqrt and with torch.rsqrt, compiled by Inductor: torch_compiled.csv.

One thread.

Prediction: if rsqrt is fused, the two are one code, and the ratio is 1. Alone, Inductor's loop is
torch's formula, a root and a division, whose units, not the memory, are the limit: our kernel takes
.7 of its time (float32), and .4 (bfloat16, of which each item is two of those there); in place
less, since no memory is fresh.
"""

from types import FunctionType

import torch
from measure import Contender, in_turn, main, one_core, spread

import gorsqrt

SHAPES = [(1, 4096), (128, 1024), (2048, 1024)]
SQUARE = (1024, 1024)


def normalised(m, x, w):
    return x * m.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * w


def chain(m, x, w):
    return (x * x + 1).abs() * m.rsqrt(x * x + w) + x


def alone(m, x, w):
    return m.rsqrt(x)


def in_place(m, x, w):
    return m.rsqrt_(x)


def cases(quick):
    """The functions, with the name of the case, the dtype and shape, and whether gradients are
    taken."""
    for dtype in (torch.float32, torch.bfloat16):
        yield from ((normalised, "RMSNorm", dtype, shape, False) for shape in (SHAPES[:2] if quick else SHAPES))
        yield chain, "elementwise chain", dtype, SQUARE, False
        yield alone, "alone", dtype, SQUARE, False
        yield in_place, "alone, in place", dtype, SQUARE, False
    yield normalised, "RMSNorm, training step", torch.float32, SHAPES[1], True


def contender(f, provider, m, x, w, with_gradient):
    """The function, compiled and called once. It has a code object of its own: Dynamo caches by
    that."""

    def function(x, w):
        return f(m, x, w)

    def call():
        if with_gradient:
            x.grad = w.grad = None
            return compiled(x, w).sum().backward()
        return compiled(x, w)

    function = FunctionType(function.__code__.replace(), globals(), "function", None, function.__closure__)
    compiled = torch.compile(function, fullgraph=True, dynamic=False)
    call()
    return Contender({"provider": provider}, call)


def rows(quick):
    one_core()
    torch.set_num_threads(1)
    drawn = torch.Generator().manual_seed(1)
    for f, path, dtype, shape, with_gradient in cases(quick):
        contenders = []
        for provider, m in (("gorsqrt", gorsqrt), ("torch", torch)):
            x = (torch.rand(shape, generator=drawn) + 1).to(dtype).requires_grad_(with_gradient)
            w = (torch.rand(shape[-1], generator=drawn) + 1).to(dtype).requires_grad_(with_gradient)
            contenders.append(contender(f, provider, m, x, w, with_gradient))
        for done, ns in zip(contenders, in_turn(contenders, 7 if quick else 31), strict=True):
            low, median, high = (f"{value:.4g}" for value in spread(ns))
            about = {"path": path, "dtype": str(dtype).removeprefix("torch."), "shape": "x".join(map(str, shape))}
            yield about | done.about | {"ns": median, "ns_p20": low, "ns_p80": high}


if __name__ == "__main__":
    main("torch_compiled", __doc__, rows)
