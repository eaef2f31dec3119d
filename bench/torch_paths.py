"""Tensors that are not ordinary, against torch's own function on one thread: torch_paths.csv.

calls.csv and throughput.csv have ordinary tensors. Here something of torch stands between the call
and the kernel: a gradient to record, a subclass, a transform, a lazy conjugate, a mode or a tracer.

Prediction: float32 and float64 have torch's bits, so torch's own function answers where little is
computed, and each path costs what torch's costs and a question or two, 1.05. float16, bfloat16 and
complex are computed twice below some thousand items, by torch with its record and by our kernel
over it: 1.1 to 1.3. From there on our kernel computes alone and Python records: below .9, as our
kernels are 2 to 40 times as fast, except float32 and float64, which stay torch's.
"""

import functools
import warnings

from measure import Contender, in_turn, main, one_core, spread

COMPLEX = ("complex64", "complex128")
DTYPES = ("float32", "float64", "float16", "bfloat16", *COMPLEX)


def paths(torch, provider, dtype, n, compiled):
    """(path, call) of one provider."""
    import gorsqrt.torch

    ours = provider == "gorsqrt"
    rsqrt, rsqrt_ = (gorsqrt.rsqrt, gorsqrt.rsqrt_) if ours else (torch.rsqrt, torch.rsqrt_)
    op = torch.ops.gorsqrt.rsqrt if ours else torch.ops.aten.rsqrt
    values = torch.rand(n, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.5
    x = (torch.complex(values, values.flip(0)) if dtype in COMPLEX else values).to(getattr(torch, dtype))
    leaf = x.clone().requires_grad_()
    ones = torch.ones_like(x)

    class Subclass(torch.Tensor):
        pass

    class Identity(torch.nn.Module):
        def forward(self, x):
            return rsqrt(x)

    def backward():
        leaf.grad = None
        rsqrt(leaf).backward(ones)

    def in_place():
        rsqrt_(leaf * 1)

    def inference():
        with torch.inference_mode():
            rsqrt(x)

    def no_grad():
        with torch.no_grad():
            rsqrt(leaf)

    def autocast():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rsqrt(x)

    def optimiser():
        for tensor in small:
            rsqrt(tensor, out=out)

    subclass, rows = x.as_subclass(Subclass), x.reshape(8, -1)
    small, out = [x.clone() for _ in range(64)], torch.empty_like(x)
    yield "gradient, forward", lambda: rsqrt(leaf)
    yield "gradient, forward and backward", backward
    yield "gradient, x * 1 and in place", in_place
    yield "subclass", lambda: rsqrt(subclass)
    yield "vmap", functools.partial(torch.vmap(rsqrt), rows)
    yield "func.grad", functools.partial(torch.func.grad(lambda x: rsqrt(x).abs().sum()), x)
    if dtype in COMPLEX:
        conjugate = x.conj()
        yield "conj", lambda: rsqrt(conjugate)
    yield "inference mode", inference
    yield "no_grad", no_grad
    yield "autocast", autocast
    yield "fx-traced", functools.partial(torch.fx.symbolic_trace(Identity()), x)
    yield "torch.ops", lambda: op(x)
    if n < 1000:
        yield "64 tensors, out=", optimiser
    if compiled and dtype in ("float32", "bfloat16"):
        yield "compiled", functools.partial(torch.compile(Identity(), fullgraph=True, dynamic=False), x)


def rows(quick):
    one_core()
    warnings.simplefilter("ignore")
    import torch

    torch.set_num_threads(1)
    for dtype in DTYPES[::2] if quick else DTYPES:
        for n in (64, 1 << 16):
            torch.compiler.reset()  # or it would count the functions as one that changes
            pairs = [
                Contender({"path": path, "provider": provider}, call)
                for both in zip(
                    *(paths(torch, provider, dtype, n, not quick) for provider in ("gorsqrt", "torch")), strict=True
                )
                for provider, (path, call) in zip(("gorsqrt", "torch"), both, strict=True)
            ]
            for pair in zip(pairs[::2], pairs[1::2], strict=True):
                for contender, ns in zip(pair, in_turn(pair, 7 if quick else 31, seconds=2), strict=True):
                    p20, median, p80 = (f"{quantile:.1f}" for quantile in spread(ns))
                    yield contender.about | {"dtype": dtype, "n": n, "ns": median, "ns_p20": p20, "ns_p80": p80}


if __name__ == "__main__":
    main("torch_paths", __doc__, rows)
