"""What one call costs, beside numpy's and torch's: `make bench`.

Every contender computes the same small float32 array or tensor in turn, many rounds in one process; a row is the median over
the rounds with the 20th and 80th percentile, in nanoseconds a call. Writes bench/results/calls.csv and the table of README.md.

Prediction, from what a call must do: in place a C call, a look at three fields of the array and a masked vector of work, some
20 ns; with out= the same of a second array and a keyword, 30; fresh adds numpy's allocation, some 35. np.sqrt, a ufunc, looks
up a loop by dtype and makes room for an iterator: 150 and more. A torch tensor adds the questions whether it is an ordinary
one and the count of its writes, some 40; fresh adds torch's allocation and a Python object of it, some 300.
"""

import argparse
import csv
import itertools
import platform
import statistics
import time
from pathlib import Path

import numpy as np

import gorsqrt

HERE = Path(__file__).resolve().parent
ROUNDS, CALLS = 41, 4000
FORMS = ("in place", "out=", "fresh")


def machine():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {len(names)} CPUs"


def contenders(n):
    """(provider, form, callable without arguments), each on arrays of its own that stay in place."""
    x, out = np.full(n, 1.0, np.float32), np.empty(n, np.float32)
    rsqrt, rsqrt_, sqrt, divide = gorsqrt.rsqrt, gorsqrt.rsqrt_, np.sqrt, np.divide
    yield "gorsqrt", "in place", lambda: rsqrt_(x)
    yield "gorsqrt", "out=", lambda: rsqrt(x, out=out)
    yield "gorsqrt", "fresh", lambda: rsqrt(x)
    yield "np.sqrt", "in place", lambda: sqrt(x, out=x)
    yield "np.sqrt", "out=", lambda: sqrt(x, out=out)
    yield "np.sqrt", "fresh", lambda: sqrt(x)
    yield "1 / np.sqrt", "in place", lambda: divide(1, sqrt(x, out=x), out=x)
    yield "1 / np.sqrt", "out=", lambda: divide(1, sqrt(x, out=out), out=out)
    yield "1 / np.sqrt", "fresh", lambda: 1 / sqrt(x)
    try:
        import torch
    except ImportError:
        return
    tensor, tensor_out = torch.full((n,), 1.0), torch.empty(n)
    trsqrt, trsqrt_ = torch.rsqrt, torch.rsqrt_
    yield "gorsqrt, torch tensors", "in place", lambda: rsqrt_(tensor)
    yield "gorsqrt, torch tensors", "out=", lambda: rsqrt(tensor, out=tensor_out)
    yield "gorsqrt, torch tensors", "fresh", lambda: rsqrt(tensor)
    yield "torch.rsqrt", "in place", lambda: trsqrt_(tensor)
    yield "torch.rsqrt", "out=", lambda: trsqrt(tensor, out=tensor_out)
    yield "torch.rsqrt", "fresh", lambda: trsqrt(tensor)


def time_in_turn(calls, rounds):
    """Nanoseconds a call, a list of rounds for each; an empty lambda's time is taken off."""

    def once(call):
        start = time.perf_counter_ns()
        for _ in itertools.repeat(None, CALLS):
            call()
        return (time.perf_counter_ns() - start) / CALLS

    calls = [lambda: None, *calls]
    for call in calls:  # warm up
        once(call)
    samples = [[once(call) for call in calls] for _ in range(rounds)]
    return [[row[i] - row[0] for row in samples] for i in range(1, len(calls))]


def versions():
    found = {"gorsqrt": gorsqrt.__version__, "numpy": np.__version__, "python": platform.python_version()}
    try:
        import torch
    except ImportError:
        return found
    return found | {"torch": torch.__version__}


def measure(sizes, rounds):
    config = gorsqrt.show_config("dicts")
    common = {
        "machine": machine(),
        "tier": config["tier"],
        "versions": ", ".join(f"{name} {version}" for name, version in versions().items()),
    }
    for n in sizes:
        print(f"n={n} ...", flush=True)
        named = list(contenders(n))
        for (provider, form, _), ns in zip(named, time_in_turn([call for *_, call in named], rounds), strict=True):
            p20, median, p80 = (statistics.quantiles(ns, n=10)[k] for k in (1, 4, 7))
            row = {"provider": provider, "form": form, "dtype": "float32", "n": n}
            yield row | {"median_ns": round(median, 1), "p20_ns": round(p20, 1), "p80_ns": round(p80, 1)} | common


def table(rows):
    """README's table: the smallest array, a provider a line."""
    smallest = min(int(row["n"]) for row in rows)
    chosen = [row for row in rows if int(row["n"]) == smallest]
    providers = list(dict.fromkeys(row["provider"] for row in chosen))
    cell = {(row["provider"], row["form"]): f"{float(row['median_ns']):.0f}" for row in chosen}
    lines = [f"| ns a call, n={smallest} | " + " | ".join(FORMS) + " |", "|---" * (len(FORMS) + 1) + "|"]
    lines += [f"| {p} | " + " | ".join(cell[p, form] for form in FORMS) + " |" for p in providers]
    first = chosen[0]
    return "\n".join([*lines, "", f"{first['machine']}, {first['tier']}; {first['versions']}."])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds, nothing is written")
    quick = parser.parse_args().quick
    rows = list(measure((1, 16, 256, 4096), 7 if quick else ROUNDS))
    print(table(rows))
    if quick:
        return
    with open(HERE / "results/calls.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    readme = HERE.parent / "README.md"
    before, rest = readme.read_text().split("<!-- bench/calls.py -->\n")[0::2]
    readme.write_text(f"{before}<!-- bench/calls.py -->\n{table(rows)}\n<!-- bench/calls.py -->\n{rest}")


if __name__ == "__main__":
    main()
