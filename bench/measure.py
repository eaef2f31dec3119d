"""Times contenders in turn in one process and writes a tidy CSV, for every benchmark here.

A row is the median over the rounds, with the 20th and 80th percentile, the machine and the
versions.
"""

import argparse
import csv
import itertools
import os
import platform
import statistics
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import gorsqrt

RESULTS = Path(__file__).resolve().parent / "results"
SAMPLE_NS = 600_000  # a sample is as many calls as take about this long
FEWEST = 5  # rounds, however long they take
WARM_NS = 2_000_000  # shorter calls come three times before a sample: one doesn't bring back what a streaming copy drives out


class Contender(NamedTuple):
    """A row's columns of the CSV, a function to be timed, and one to be called before each sample.

    The second is untimed. If it must come before every call, a sample is one call.
    """

    about: dict
    call: object
    prepare: object = lambda: None
    before: object = None


def installed(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def one_core():
    """Keeps this process and its later threads on one processor; to be called before numpy is
    imported."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    gorsqrt.set_num_threads(1)


def in_turn(contenders, rounds, seconds=4.0):
    """The nanoseconds of a call, a list of rounds for each contender.

    The time of an empty call, measured in the same round, is subtracted. The first round warms up
    and finds how many calls make a sample. After `seconds` no further round begins.
    """

    def once(contender, calls):
        if contender.before:
            contender.before()
        call = contender.call
        start = time.perf_counter_ns()
        for _ in itertools.repeat(None, calls):
            call()
        return (time.perf_counter_ns() - start) / calls

    contenders = [Contender({}, lambda: None), *contenders]
    calls, warm, samples = [1] * len(contenders), [1] * len(contenders), []
    end = time.monotonic() + seconds
    for turn in range(-1, rounds):
        if turn >= FEWEST and time.monotonic() > end:
            break
        row = []
        for i, contender in enumerate(contenders):
            contender.prepare()
            once(contender, warm[i])  # brings its code and data back
            row.append(once(contender, calls[i]))
            if turn < 0 and not contender.before:
                calls[i] = max(1, int(SAMPLE_NS / max(row[i], 20)))
                warm[i] = 3 if row[i] < WARM_NS else 1
        if turn >= 0:
            samples.append([max(ns - row[0], 0.1) for ns in row[1:]])
    return [list(column) for column in zip(*samples, strict=True)]


def spread(samples):
    """The 20th percentile, the median and the 80th."""
    tenths = statistics.quantiles(samples, n=10, method="inclusive")
    return tenths[1], tenths[4], tenths[7]


def speeds(contenders, n, rounds, arrays=1):
    """Rows of items a nanosecond, where a call computes so many arrays of n items."""
    contenders = list(contenders)
    for contender, ns in zip(contenders, in_turn(contenders, rounds), strict=True):
        slow, median, fast = spread([n * arrays / sample for sample in ns])
        yield contender.about | {"n": n, "per_ns": f"{median:.4g}", "per_ns_p20": f"{slow:.4g}", "per_ns_p80": f"{fast:.4g}"}


def environment():
    """The columns that are the same in every row: machine and versions."""
    text = Path("/proc/cpuinfo").read_text()
    said = dict(line.split(":", 1) for line in text.replace("\t", "").splitlines() if ":" in line)
    said = {name.strip(): value.strip() for name, value in said.items()}
    name = said.get("model name", platform.machine())
    if "cpu family" in said:
        name += f" (family {said['cpu family']}, model {said['model']})"
    caches = ", ".join(f"{level} {size >> 10} KiB" for level, size in sorted(gorsqrt.show_config("dicts")["caches"].items()))
    packages = {name: installed(name) for name in ("numpy", "torch", "jax", "numexpr", "numba")}
    versions = {"gorsqrt": gorsqrt.__version__, "python": platform.python_version()} | packages
    return {
        "machine": f"{name}, {os.cpu_count()} CPUs, {caches}",
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items() if version),
    }


def main(name, doc, rows):
    """The command of one benchmark: measures rows(quick), prints them and writes
    results/name.csv."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="fewer rounds and sizes; nothing is written, unless --results says where"
    )
    parser.add_argument("--results", type=Path, help=f"the folder of {name}.csv; {RESULTS} unless --quick")
    options = parser.parse_args()
    if name != "calls" and not installed("numpy"):
        sys.exit(f"{name}: left out, since numpy is not installed")
    common = environment()
    found, start = [], time.monotonic()
    for row in rows(options.quick):
        found.append(row | common)
        print(f"[{name} {time.monotonic() - start:5.1f} s]", *row.values(), flush=True)
    folder = options.results or (None if options.quick else RESULTS)
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / f"{name}.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, list(found[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(found)
