"""Items a nanosecond on one thread by dtype and size, against all contenders: throughput.csv.

gorsqrt runs once per instruction set. A size stands for the place of so many float32: 2^12 items
lie in L1, 2^16 in L2, 2^20 in L3, 2^24 in memory.

Prediction for Zen 4 (3.7 GHz; a 512-bit operation takes its pipe two cycles), per vector of 16
float32: square root 10 cycles and division 6 on the one divider, 3.7 items/ns whatever the vector's
width, which is torch. By fma 8 multiplications and the seed, 9 cycles on two pipes, 6.6 items/ns.
Both at once, with 4 of 9 vectors divided: 64 cycles of the divider beside 61 of the multipliers,
8.3 items/ns; 2.4 times torch (limits.py). float64: 25 cycles divided, 13 by fma, together 3.05
items/ns and 3 times torch. bfloat16 by table: 23 cheap operations on 128 items, 11.5 cycles on four
pipes, but 16 to copy these in L2, 29 items/ns. float16: 49 operations on 128 items, 24.5 cycles,
19. Integers: a conversion on other pipes, so as float32. Any data: three multiplications more in
every vector, two thirds of the speed. complex64: 35 multiplications or fma, of a cycle each, and 36
other operations, for a vector of 16: 35.5 cycles, 1.67 items/ns; complex128: 41 and 36 for a vector
of 8, .72. Memory: a streaming copy's speed, since 8 bytes a float32 at 40 GB/s are 5 items/ns.
"""

from measure import installed, main, one_core, speeds

L1, L2, L3, MEMORY = SIZES = 1 << 12, 1 << 16, 1 << 20, 1 << 24
DTYPES = ("float32", "float64", "bfloat16", "float16", "complex64", "complex128", "int32", "int64")

# The docstring's, in items a nanosecond: (dtype, size, predicted).
PREDICTED = (
    ("float32", L2, 8.3),
    ("float64", L2, 3.05),
    ("float32", MEMORY, 5),
    ("bfloat16", L2, 29),
    ("float16", L2, 19),
    ("int32", L2, 8.3),
    ("complex64", L2, 1.67),
    ("complex128", L2, 0.72),
)


def work(quick):
    """(dtype, form, size). The slow ones only where the peers' seconds tell something."""
    for dtype in DTYPES:
        real = dtype in ("float32", "float64")
        between = () if quick else (1 << 10, 1 << 14, 1 << 18, *((1 << 22,) if real else ()))
        for n in sorted((*(SIZES if real else SIZES[:3]), *between)):
            yield dtype, "out=", n
        for n in SIZES if real else ():
            yield dtype, "in place", n
        if dtype == "float32":
            yield from ((dtype, "any data", n) for n in (L2, L3))


def rows(quick):
    one_core()
    import numpy as np
    from contenders import aligned, contenders

    import gorsqrt

    def dtype_of(name):
        if name != "bfloat16":
            return np.dtype(name)
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)

    def values(dtype, n, form):
        """Ordinary numbers (real ones between 1 and 100), or with a tenth of special and negative
        ones."""
        random = np.random.default_rng(1)
        x = aligned(n, dtype)
        x[:] = random.uniform(1, 100, n).astype(dtype)
        if dtype.kind == "c":
            x.imag = random.uniform(-100, 100, n)
        if form == "any data":
            odd = np.array([0, -0.0, 1e-40, np.inf, np.nan, -1], dtype)
            at = random.random(n) < 0.1
            x[at] = odd[random.integers(0, len(odd), at.sum())]
        return x

    tiers = gorsqrt.show_config("dicts")["tiers"]
    for name, form, n in work(quick):
        if name == "bfloat16" and not installed("ml_dtypes"):
            continue
        dtype = dtype_of(name)
        x = values(dtype, n, form)
        out = x if form == "in place" else aligned(n, np.dtype(np.float32) if dtype.kind in "iu" else dtype)
        with np.errstate(all="ignore"):
            for row in speeds(contenders(x, out, tiers), n, 5 if quick else 31):
                yield {"dtype": name, "form": form} | row


if __name__ == "__main__":
    main("throughput", __doc__, rows)
