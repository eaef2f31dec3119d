"""The nanoseconds of one call, against numpy and torch: calls.csv.

Every contender computes the same small float32 array or tensor.

Prediction, from what a call must do: in place a C call, a look at three fields of the array and a
masked vector of work, some 20 ns; with out= the same of a second array and a keyword, 30; fresh
adds numpy's allocation, some 35. np.sqrt, a ufunc, looks up a loop by dtype and makes room for an
iterator: 150 and more. A torch tensor adds the questions whether it is an ordinary one and the
count of its writes, some 40; fresh adds torch's allocation and a Python object of it, some 300.
"""

from array import array

from measure import Contender, in_turn, installed, main, one_core, spread

from gorsqrt import rsqrt, rsqrt_


def buffers(n):
    arrays = array("f", [1.0]) * n, array("f", [0.0]) * n
    for name, (x, out) in {"array.array": arrays, "memoryview": map(memoryview, arrays)}.items():
        name = f"gorsqrt, {name}"
        yield name, "in place", lambda x=x: rsqrt_(x)
        yield name, "out=", lambda x=x, out=out: rsqrt(x, out=out)
        yield name, "fresh", lambda x=x: rsqrt(x)


def numpys(n):
    import numpy as np

    x, out = np.full(n, 1.0, np.float32), np.empty(n, np.float32)
    sqrt, divide, reciprocal = np.sqrt, np.divide, np.reciprocal
    yield "gorsqrt", "in place", lambda: rsqrt_(x)
    yield "gorsqrt", "out=", lambda: rsqrt(x, out=out)
    yield "gorsqrt", "fresh", lambda: rsqrt(x)
    yield "np.sqrt", "in place", lambda: sqrt(x, out=x)
    yield "np.sqrt", "out=", lambda: sqrt(x, out=out)
    yield "np.sqrt", "fresh", lambda: sqrt(x)
    yield "1 / np.sqrt", "in place", lambda: divide(1, sqrt(x, out=x), out=x)
    yield "1 / np.sqrt", "out=", lambda: divide(1, sqrt(x, out=out), out=out)
    yield "1 / np.sqrt", "fresh", lambda: 1 / sqrt(x)
    yield "np.reciprocal(np.sqrt)", "in place", lambda: reciprocal(sqrt(x, out=x), out=x)
    yield "np.reciprocal(np.sqrt)", "out=", lambda: reciprocal(sqrt(x, out=out), out=out)
    yield "np.reciprocal(np.sqrt)", "fresh", lambda: reciprocal(sqrt(x))


def torchs(n):
    import torch

    torch.set_num_threads(1)
    x, out = torch.full((n,), 1.0), torch.empty(n)
    trsqrt, trsqrt_ = torch.rsqrt, torch.rsqrt_
    yield "gorsqrt, torch tensors", "in place", lambda: rsqrt_(x)
    yield "gorsqrt, torch tensors", "out=", lambda: rsqrt(x, out=out)
    yield "gorsqrt, torch tensors", "fresh", lambda: rsqrt(x)
    yield "torch.rsqrt", "in place", lambda: trsqrt_(x)
    yield "torch.rsqrt", "out=", lambda: trsqrt(x, out=out)
    yield "torch.rsqrt", "fresh", lambda: trsqrt(x)


def rows(quick):
    one_core()
    for n in (1, 16, 256, 4096) if quick else (1, 4, 16, 64, 256, 1024, 4096):
        calls = [*buffers(n), *(numpys(n) if installed("numpy") else ()), *(torchs(n) if installed("torch") else ())]
        about = ("provider", "form")
        contenders = [Contender(dict(zip(about, named, strict=True)), call) for *named, call in calls]
        for contender, ns in zip(contenders, in_turn(contenders, 7 if quick else 41, seconds=8), strict=True):
            p20, median, p80 = (f"{quantile:.1f}" for quantile in spread(ns))
            yield contender.about | {"dtype": "float32", "n": n, "ns": median, "ns_p20": p20, "ns_p80": p80}


if __name__ == "__main__":
    main("calls", __doc__, rows)
