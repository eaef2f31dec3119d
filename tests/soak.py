"""Soak test: 8 threads of mixed calls, with forks, signals, collections and changing settings.

    python tests/soak.py [MINUTES] [--no-forks]      30 minutes unless told otherwise; fractions too

Each result is compared with bits that were computed at the start, by one thread. The last line has
the counts. The exit status is 1 if a result was different, if a child failed or hung, or if memory,
descriptors or threads have grown.
"""

import argparse
import array
import collections
import gc
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
from call_forms import Attributes, lending

import gorsqrt
from gorsqrt import rsqrt, rsqrt_

THREADS = 8
LONGEST = 9_000_000  # items of the large ones: 36 MB of float32, which come from the pool
DTYPES = "float16", "float32", "float64", "complex64", "complex128", "int32", "bool"
HANGS = 60  # seconds that a child may take
# What there may be more of at the end than after the first minute: kept blocks have gone, and
# allocators keep some; Go's runtime begins a thread or two when it first finds its own busy.
GROWTH = {"MiB": 100, "descriptors": 0, "threads": 2}

RNG = np.random.default_rng(1)
INPUT = {dtype: RNG.uniform(0.1, 100, 300_000).astype(dtype) for dtype in DTYPES}
EXPECTED = {dtype: rsqrt(x) for dtype, x in INPUT.items()}
LARGE = np.resize(INPUT["float32"], LONGEST)
EXPECTED_LARGE = rsqrt(LARGE)


class Interrupt(Exception):  # noqa: N818
    """What the signals' handler raises now and then, out of whatever call it comes to."""


def fresh(x, want):
    return rsqrt(x)


def fresh_of_a_column(x, want):
    return rsqrt(x.reshape(1, -1).T)[:, 0]


def fresh_of_a_matrix(x, want):
    k = len(x) // 4 * 4
    return np.concatenate([rsqrt(x[:k].reshape(-1, 4).T).T.ravel(), rsqrt(x[k:])])


def into(x, want):
    return rsqrt(x, out=np.empty_like(want))


def into_every_second(x, want):
    return rsqrt(x, out=np.empty(2 * len(x), want.dtype)[::2])


def in_place(x, want):
    return rsqrt_(x.copy()) if want.dtype == x.dtype else rsqrt(x)


def of_a_memoryview(x, want):
    return np.asarray(rsqrt(memoryview(x)))


def of_an_array(x, want):
    if x.dtype.char not in "fd":
        return rsqrt(x)
    return np.asarray(rsqrt(array.array(x.dtype.char, x.tobytes())))


def of_an_interface(x, want):
    return np.asarray(rsqrt(Attributes(__array_interface__=x.__array_interface__)))


def by_dlpack(x, want):
    return np.asarray(rsqrt(lending(x)))


def refused(x, want):
    try:
        rsqrt(x, out=np.empty(len(x) + 1))
    except RuntimeError:
        return want
    return None


CALLS = (
    fresh, fresh_of_a_column, fresh_of_a_matrix, into, into_every_second, in_place, of_a_memoryview, of_an_array,
    of_an_interface, by_dlpack, refused,
)  # fmt: skip


def one(random):
    """A call; whether its bits are right."""
    if random.random() < 0.004:
        n = random.randrange(LONGEST - 1000, LONGEST)
        return rsqrt(LARGE[:n]).tobytes() == EXPECTED_LARGE[:n].tobytes()
    dtype, n = random.choice(DTYPES), random.choice([0, 1, 3, 100, 5000, 70_000, 300_000])
    part = slice(0, n, random.choice([1, 1, 2, 3]))
    want = EXPECTED[dtype][part]
    got = random.choice(CALLS)(INPUT[dtype][part], want)
    return got is not None and got.dtype == want.dtype and got.tobytes() == want.tobytes()


def disturb(random):
    """What the rest of a program does meanwhile."""
    chance = random.random()
    if chance < 0.002:
        gorsqrt.empty_cache()
    elif chance < 0.012:
        gorsqrt.set_num_threads(random.choice([1, 2, 4, 8]))
    elif chance < 0.014:
        gc.collect()
    elif chance < 0.016:
        gorsqrt.show_config("dicts")


def state():
    rss = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20
    return {"MiB": rss, "descriptors": len(os.listdir("/proc/self/fd")), "threads": len(os.listdir("/proc/self/task"))}


def settled():
    """The state with nothing under way and as many threads as there will be."""
    gorsqrt.set_num_threads(8)
    rsqrt(LARGE)
    gorsqrt.empty_cache()
    gc.collect()
    return state()


def work(number, until, count, wrong):
    rng = random.Random(number)
    while time.monotonic() < until:
        disturb(rng)
        if not one(rng):
            wrong.append(number)
        count[number] += 1


def forked(rng):
    """A child that makes calls and ends: its exit status, or -1 if it hung."""
    child = os.fork()
    if child == 0:
        status = 2
        try:
            signal.setitimer(signal.ITIMER_REAL, 0)
            status = 0 if all(one(rng) for _ in range(20)) else 1
        finally:
            os._exit(status)
    end = time.monotonic() + HANGS
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -1


def round_of_work(seconds, count, forks):
    """Runs the threads; the main one makes calls that signals interrupt, and forks.

    Returns the calls with wrong results, and how the children ended.
    """
    until, wrong, children = time.monotonic() + seconds, [], collections.Counter()
    threads = [threading.Thread(target=work, args=(i, until, count, wrong)) for i in range(THREADS)]
    armed = False

    def handler(number, frame):
        count["signals"] += 1
        if count["signals"] % 50 == 0 and one(rng) is not True:
            wrong.append("handler")
        if armed and count["signals"] % 20 == 0:
            count["interrupted"] += 1
            raise Interrupt

    rng = random.Random(99)
    signal.signal(signal.SIGALRM, handler)
    for thread in threads:
        thread.start()
    while time.monotonic() < until:
        signal.setitimer(signal.ITIMER_REAL, 0.003, 0.003)
        good = True
        for _ in range(50):
            try:
                armed = True
                good = one(rng)
                armed = False
            except Interrupt:
                pass
            finally:
                armed = False
            count["main"] += 1
            if not good:
                wrong.append("main")
        signal.setitimer(signal.ITIMER_REAL, 0)
        if forks:
            children[forked(rng)] += 1
    for thread in threads:
        thread.join()
    return wrong, children


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("minutes", type=float, nargs="?", default=30)
    parser.add_argument("--no-forks", action="store_true")
    given = parser.parse_args()
    round_of_work(min(60, 20 * given.minutes), collections.Counter(), not given.no_forks)
    before, count = settled(), collections.Counter()
    print("start", before, flush=True)
    wrong, children = round_of_work(60 * given.minutes, count, not given.no_forks)
    after = settled()
    print("end  ", after)
    grown = {what: after[what] - before[what] for what in GROWTH if after[what] - before[what] > GROWTH[what]}
    calls = sum(n for who, n in count.items() if who not in ("signals", "interrupted"))
    failed = {status: n for status, n in children.items() if status}
    print(
        f"{calls} calls, {len(wrong)} wrong; {count['signals']} signals, {count['interrupted']} calls interrupted; "
        f"{children.total()} forks, children that failed {failed}; grown {grown}"
    )
    sys.exit(bool(wrong or failed or grown))


if __name__ == "__main__":
    main()
