"""Input and out= of many layouts on one thread, against torch and np.sqrt: layouts.csv.

Each layout is an input and an output, both views: permuted, sliced, turned round, broadcast.
float32 has all of them, another dtype those for which it has kernels of its own. np.sqrt does
less: the root alone.

Prediction: layouts that are dense in any order are flat passes, of the flat speed, F. A transposed
input comes in blocks that are turned in registers, 16 items/ns in the first cache, and computed
into rows of the output: 1 / (1/F + 1/16), 5 items/ns, where torch goes from column to column. That
holds for matrices that lie near; where rows are a power of two apart it is 3, which was found and
not predicted. Strides of 2 and 3 are shuffled as they are loaded: a shuffle or two more for a
vector, so four fifths of F. Other strides are loaded one by one and divided, 3.7 items/ns. Results
at every second place leave a tile by masked stores, 8 in two cycles, 15 items/ns: 1 / (1/F + 1/15),
5 items/ns; at other places one a cycle, 3.7 items/ns. A broadcast is a fill, of the speed of
stores. Short rows are computed where they are, in the smallest block that holds one, half of F.
Where each item has a line of its own, lines are all that counts: 27 bytes a cycle from the third
cache, 1.5 items/ns.
"""

import warnings

from measure import Contender, installed, main, one_core, speeds

DTYPES = ("float32", "float64", "float16", "bfloat16", "complex64", "complex128")
# Of the dtypes but float32.
CHOSEN = (
    "flat 2^16",
    "x.T to contiguous 1024",
    "contiguous to out.T",
    "x[::2]",
    "x[::3]",
    "x[::16]",
    "x[::2] to out[::2]",
    "x[::2] in place",
    "flat to out[::2]",
    "flat to out[::3]",
    "x[:, ::2]",
    "x[:, :100]",
    "x[:, :17]",
    "x[:, :3]",
    "x[:, 0]",
    "contiguous to channels_last",
    "permute (0, 2, 1)",
    "a row, broadcast",
    "a column, broadcast",
)


def layouts(dtype):
    """(name, input, out). None for out: in place."""
    import numpy as np

    def fresh(*shape):
        random = np.random.default_rng(1)
        x = random.uniform(1, 100, shape).astype(dtype)
        if dtype.kind == "c":
            x.imag = random.uniform(-100, 100, shape)
        return x

    flat, square, big = fresh(1 << 16), fresh(1024, 1024), fresh(*(4096, 4096) if dtype == np.float32 else (0, 0))
    images, cube, odd = fresh(8, 64, 56, 56), fresh(64, 96, 80), fresh(1000, 1003)
    like = np.empty_like
    c = lambda x: np.empty(x.shape, x.dtype)  # noqa: E731  (contiguous in C order)
    yield "flat 2^16", flat, like(flat)
    yield "flat 2^20", square, like(square)
    yield "x.T, out like it", square.T, like(square).T
    yield "x.T in place", square.T, None
    yield "x.T to contiguous 1024", square.T, c(square)
    yield "x.T to contiguous 4096", big.T, c(big)
    yield "x.T to contiguous 1003x1000", odd.T, c(odd.T)
    yield "contiguous to out.T", square, c(square).T
    yield "x[::2]", flat[::2], c(flat[::2])
    yield "x[::3]", flat[::3], c(flat[::3])
    yield "x[::5]", flat[::5], c(flat[::5])
    yield "x[::16]", square.ravel()[::16], c(square.ravel()[::16])
    yield "x[::2] to out[::2]", flat[::2], like(flat)[::2]
    yield "x[::2] in place", flat[::2], None
    yield "flat to out[::2]", fresh(1 << 15), like(flat)[::2]
    yield "flat to out[::3]", fresh(1 << 14), like(flat)[: 3 << 14 : 3]
    yield "x[:, 1] to out[:, 2]", square[:, 1], like(square)[:, 2]
    yield "x[:, ::2]", square[:, ::2], c(square[:, ::2])
    yield "x[::2, :]", square[::2], c(square[::2])
    yield "x[:, :1000]", square[:, :1000], c(square[:, :1000])
    yield "x[:, :100]", square[:, :100], c(square[:, :100])
    yield "x[:, :17]", square[:, :17], c(square[:, :17])
    yield "x[:, :3]", square[:, :3], c(square[:, :3])
    yield "x[:, :24]", square[:, :24], c(square[:, :24])
    yield "x[:, :100] in place", square[:, :100], None
    yield "x[:, :24] in place", square[:, :24], None
    yield "x[:, 0]", square[:, 0], c(square[:, 0])
    yield "x[:, :, ::2] of 3 dimensions", cube[:, :, ::2], c(cube[:, :, ::2])
    yield "channels_last to contiguous", images.transpose(0, 3, 1, 2), c(images.transpose(0, 3, 1, 2))
    yield "contiguous to channels_last", images, np.empty((8, 56, 56, 64), dtype).transpose(0, 3, 1, 2)
    last = images.transpose(0, 2, 3, 1)
    yield "channels_last to channels_last", last, like(images).transpose(0, 2, 3, 1)
    yield "permute (2, 0, 1)", cube.transpose(2, 0, 1), c(cube.transpose(2, 0, 1))
    yield "permute (1, 0, 2)", cube.transpose(1, 0, 2), c(cube.transpose(1, 0, 2))
    yield "permute (0, 2, 1)", cube.transpose(0, 2, 1), c(cube.transpose(0, 2, 1))
    yield "permute (2, 1, 0)", cube.transpose(2, 1, 0), c(cube.transpose(2, 1, 0))
    yield "permute (1, 0, 2) in place", cube.transpose(1, 0, 2), None
    yield "a row, broadcast", np.broadcast_to(fresh(1024), (1024, 1024)), like(square)
    yield "a column, broadcast", np.broadcast_to(fresh(1024, 1), (1024, 1024)), like(square)
    yield "one item, broadcast", np.broadcast_to(fresh(1), (1024, 1024)), like(square)
    yield "a block of a matrix", square[100:600, 200:800], c(square[100:600, 200:800])
    yield "a block, in place", square[100:600, 200:800], None
    yield "x[::-1]", flat[::-1], c(flat)
    yield "x[:, ::-1]", square[:, ::-1], c(square)
    yield "x[::-1, :]", square[::-1], c(square)


def contenders(x, out):
    import numpy as np

    import gorsqrt

    if out is None:
        x[...] = 1  # and so it stays
    into = x if out is None else out
    mine = (lambda: gorsqrt.rsqrt_(x)) if out is None else (lambda: gorsqrt.rsqrt(x, out=out))
    yield Contender({"provider": "gorsqrt", "tier": gorsqrt.show_config("dicts")["tier"]}, mine)
    if x.dtype.kind == "f":
        yield Contender({"provider": "np.sqrt", "tier": ""}, lambda: np.sqrt(x, out=into))
    if not installed("torch") or any(stride < 0 for stride in (*x.strides, *into.strides)):  # torch has no such tensors
        return
    import torch
    from contenders import tensor

    torch.set_num_threads(1)
    with warnings.catch_warnings():  # a broadcast input is not writable, and nobody writes it
        warnings.simplefilter("ignore", UserWarning)
        source, target = tensor(x), tensor(into)
    theirs = (lambda: torch.rsqrt_(source)) if out is None else (lambda: torch.rsqrt(source, out=target))
    yield Contender({"provider": "torch", "tier": ""}, theirs)


def rows(quick):
    one_core()
    import numpy as np

    for name in DTYPES:
        if name == "bfloat16":
            if not installed("ml_dtypes"):
                continue
            from ml_dtypes import bfloat16
        dtype = np.dtype(bfloat16 if name == "bfloat16" else name)
        for layout, x, out in layouts(dtype):
            if name == "float32" or layout in CHOSEN:
                about = {"layout": layout, "dtype": name}
                yield from (about | row for row in speeds(contenders(x, out), x.size, 5 if quick else 21))


if __name__ == "__main__":
    main("layouts", __doc__, rows)
