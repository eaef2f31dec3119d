"""Elements a nanosecond on one thread, beside torch's and numpy's.

Every contender computes the same array in turn, many rounds in one process, ours once per instruction set; a row is the median
over the rounds with the 20th and 80th percentile. Sizes stand for where the data lie: 2^13 items for L1, 2^16 for L2, 2^20 for
L3, 2^24 for memory. Writes bench/results/throughput.csv and prints the targets with what was measured.

Prediction for Zen 4 (3.7 GHz; a 512-bit operation takes its pipe two cycles), per vector of 16 float32: square root 10 cycles
and division 6 on the one divider, 3.7 items/ns whatever the vector's width, which is torch. By fma 9 multiplications, the
seed and a test, 11 cycles on two pipes, 5.4 items/ns. Both at once, with 3 of 8 vectors divided: 6 cycles of the divider
beside 7 of the multipliers, if nothing were in the other's way 8.5 items/ns; twice torch's at least. float64: 25 cycles
divided, 15 by fma, so 2.5 times torch. bfloat16 by table: 17 cheap operations on 64 items, 25 items/ns. float16: conversions
of 4 cycles and 5 operations on 16 items, 10. Integers: their conversion, and then float32. complex64: two roots and a division
of 8 float64, 40 cycles, .75 items/ns. Memory: a streaming copy's speed, since 8 bytes a float32 at 40 GB/s are 5 items/ns.

One thread: `taskset -c 1 python bench/throughput.py`.
"""

import argparse
import csv
import statistics
import time
from pathlib import Path

import numpy as np
from calls import machine, versions

import gorsqrt
from gorsqrt import _gorsqrt

RESULTS = Path(__file__).resolve().parent / "results/throughput.csv"
ROUNDS, SAMPLE_NS = 15, 600_000
SIZES = {"L1": 1 << 13, "L2": 1 << 16, "L3": 1 << 20, "memory": 1 << 24}
DTYPES = ("float32", "float64", "bfloat16", "float16", "complex64", "complex128", "int32", "int64")

# What is asked of the ratio to torch with out=, and what is hoped for: (dtype, tier, form, sizes, at least, stretch). The tier
# "" is the machine's best.
TARGETS = [
    ("float32", "", "out=", ("L1", "L2"), 3.5, 4.2),
    ("float32", "", "out=", ("L3",), 2.8, 3.6),
    ("float32", "", "in place", ("L3",), 3.5, 4.1),
    ("float32", "avx2", "out=", ("L1", "L2"), 1.55, 1.8),
    ("float64", "avx2", "out=", ("L1", "L2"), 1.6, 1.85),
    ("float64", "", "out=", ("L1", "L2"), 4.0, 4.8),
    ("bfloat16", "", "out=", ("L2",), 8.0, 10.5),
    ("float16", "", "out=", ("L2",), 4.0, 5.5),
    ("int32", "", "out=", ("L2",), 3.5, 4.7),
    ("int64", "", "out=", ("L2",), 3.5, 4.7),
    ("complex64", "", "out=", ("L2",), 40.0, 55.0),
    ("complex128", "", "out=", ("L2",), 14.0, 20.0),
    ("float32", "", "out=", ("memory",), 1.3, 1.5),
    ("float32", "", "in place", ("memory",), 1.25, 1.4),
    ("float64", "", "out=", ("memory",), 1.5, 1.7),
    ("float32", "", "any data", ("L2",), 1.8, 2.0),
    ("float32", "avx2", "any data", ("L2",), 1.0, 1.1),
]


def dtype_of(name):
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


def values(dtype, n, form):
    """Ordinary numbers between 1 and 100, or with zeros, subnormals, infinities, nans and negatives, a tenth of all."""
    random = np.random.default_rng(1)
    x = random.uniform(1, 100, n).astype(dtype)
    if form == "any data":
        odd = np.array([0, -0.0, 1e-40, np.inf, np.nan, -1], dtype)
        at = random.random(n) < 0.1
        x[at] = odd[random.integers(0, len(odd), at.sum())]
    return x


def ours(x, out):
    if x is out:
        return lambda: gorsqrt.rsqrt_(x)
    return lambda: gorsqrt.rsqrt(x, out=out)


def numpys(x, out):
    def compute():
        np.sqrt(x, out=out)
        np.divide(1, out, out=out)

    return compute


def torchs(x, out):
    import torch

    torch.set_num_threads(1)
    if x.dtype.name == "bfloat16":  # torch can't read ml_dtypes'; the bits are the same
        tensor, tensor_out = (torch.from_numpy(a.view(np.int16)).view(torch.bfloat16) for a in (x, out))
    else:
        tensor, tensor_out = torch.from_numpy(x), torch.from_numpy(out)
    if x is out:
        return lambda: torch.rsqrt_(tensor)
    return lambda: torch.rsqrt(tensor, out=tensor_out)


def contenders(dtype, n, form, tiers):
    """(provider, tier, callable without arguments): all on the same memory."""
    x = values(dtype, n, form)
    out = x if form == "in place" else np.ones(n, dtype if dtype.kind not in "iu" else np.float32)
    yield from (("gorsqrt", tier, ours(x, out)) for tier in tiers)
    if "torch" in versions():
        yield "torch", "", torchs(x, out)
    if dtype.kind not in "iu":
        yield "1 / np.sqrt", "", numpys(x, out)


def measure(dtype_name, place, form, tiers, rounds):
    dtype, n = dtype_of(dtype_name), SIZES[place]

    def once(call, calls):
        start = time.perf_counter_ns()
        for _ in range(calls):
            call()
        return (time.perf_counter_ns() - start) / calls

    with np.errstate(all="ignore"):
        named = list(contenders(dtype, n, form, tiers))
        samples = [[] for _ in named]
        calls = [0] * len(named)
        for _ in range(rounds + 1):  # the first warms up
            for i, (provider, tier, call) in enumerate(named):
                if provider == "gorsqrt":
                    _gorsqrt.binding_SetTier(tier)
                once(call, 1)
                ns = once(call, calls[i] or 1)
                if calls[i]:
                    samples[i].append(ns)
                calls[i] = calls[i] or max(1, int(SAMPLE_NS / ns))
    for (provider, tier, _), ns in zip(named, samples, strict=True):
        p20, median, p80 = (n / statistics.quantiles(ns, n=10)[k] for k in (7, 4, 1))
        row = {"provider": provider, "tier": tier, "dtype": dtype_name, "form": form, "place": place, "n": n}
        yield row | {"per_ns": f"{median:.3f}", "per_ns_p20": f"{p20:.3f}", "per_ns_p80": f"{p80:.3f}"}


def targets(rows, best):
    """The table of targets with the ratios measured, a line each."""
    speed = {(r["provider"], r["tier"], r["dtype"], r["form"], r["place"]): float(r["per_ns"]) for r in rows}
    yield "| work | tier | at least | stretch | measured | items/ns | torch |"
    yield "|---" * 7 + "|"
    for dtype, tier, form, places, least, stretch in TARGETS:
        for place in places:
            # torch in place is no slower than with out=, so each form has its own.
            mine, theirs = ("gorsqrt", tier or best, dtype, form, place), ("torch", "", dtype, form, place)
            if mine in speed and theirs in speed:
                a, b = speed[mine], speed[theirs]
                yield f"| {dtype} {form} {place} | {tier or best} | {least} | {stretch} | {a / b:.2f} | {a:.2f} | {b:.2f} |"


def asked(dtype, place, form):
    """All of float32 and float64, and of the others what tells something: numpy takes seconds for complex ones in memory."""
    if form == "any data":
        return dtype == "float32" and place in ("L2", "L3")
    if dtype in ("float32", "float64"):
        return True
    return form == "out=" and (place == "L2" or (place != "memory" and dtype in ("float16", "bfloat16")))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds, nothing is written")
    parser.add_argument("--dtype", choices=DTYPES, action="append", help="only these, nothing is written")
    options = parser.parse_args()
    tiers = gorsqrt.show_config("dicts")["tiers"]
    work = [(dtype, place, form) for dtype in DTYPES for place in SIZES for form in ("out=", "in place", "any data")]
    rows = []
    for dtype, place, form in work:
        if (options.dtype and dtype not in options.dtype) or not asked(dtype, place, form):
            continue
        print(f"{dtype} {place} {form} ...", flush=True)
        new = list(measure(dtype, place, form, tiers, 5 if options.quick else ROUNDS))
        print("    " + "  ".join(f"{row['tier'] or row['provider']} {row['per_ns']}" for row in new))
        rows += new
    print("\n".join(targets(rows, tiers[0])))
    if options.quick or options.dtype:
        return
    common = {"machine": machine(), "versions": ", ".join(f"{name} {version}" for name, version in versions().items())}
    with open(RESULTS, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]) + list(common))
        writer.writeheader()
        writer.writerows(row | common for row in rows)


if __name__ == "__main__":
    main()
