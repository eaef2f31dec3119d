"""Contract 9.5: memory of large results is kept for the next one, up to a limit, and given back."""

import itertools
import os
import resource
import subprocess
import sys
import tempfile
import threading
from array import array
from pathlib import Path

import numpy as np
import pytest

import gorsqrt
from gorsqrt import rsqrt

POOLED = 1 << 25  # bytes


def state():
    return gorsqrt.show_config("dicts")["cache"]


@pytest.fixture(autouse=True)
def empty():
    gorsqrt.empty_cache()
    yield
    gorsqrt.empty_cache()


def large(extra=0, dtype=np.float32):
    return np.full(POOLED // np.dtype(dtype).itemsize + extra, 4, dtype)


def test_a_block_is_used_again():
    x = large()
    address = rsqrt(x).ctypes.data
    before = state()
    assert before["blocks"] == 1
    assert before["held"] >= POOLED
    result = rsqrt(x)
    assert result.ctypes.data == address
    assert (result == 0.5).all()
    after = state()
    assert (after["blocks"], after["held"]) == (0, 0)
    assert after["reused"] == before["reused"] + 1
    gorsqrt.empty_cache()  # of no effect on what is alive
    assert (result == 0.5).all()


def test_live_results_share_nothing():
    x = large()
    results = [rsqrt(x) for _ in range(3)]
    addresses = sorted(result.ctypes.data for result in results)
    assert all(b - a >= x.nbytes for a, b in itertools.pairwise(addresses))
    assert all(address % 64 == 0 for address in addresses)


def test_small_results_are_not_kept():
    rsqrt(large(-1))
    assert state()["blocks"] == 0


@pytest.mark.parametrize("dtype", ["float16", "float64", "complex128", "int8"])
def test_dtypes_and_lengths(dtype):
    for extra in (0, 1, 1000):
        x = large(extra, dtype)
        for _ in range(2):
            result = rsqrt(x)
            assert (result == 0.5).all()


def test_numpy_arrays_are_ordinary():
    result = rsqrt(large())
    assert result.flags.owndata
    assert result.base is None
    result.resize(result.size + 5, refcheck=False)
    assert (result[:-5] == 0.5).all()
    assert (result[-5:] == 0).all()
    result.resize(3, refcheck=False)
    assert result.tolist() == [0.5, 0.5, 0.5]


def test_numpys_handler_is_left_as_it_was():
    from numpy._core.multiarray import get_handler_name

    before = get_handler_name()
    result = rsqrt(large())
    assert get_handler_name() == before
    assert get_handler_name(result) == "gorsqrt"


def test_memoryviews():
    x = memoryview(array("f", [4]) * (POOLED // 4))
    view = rsqrt(x)
    assert view[0] == view[-1] == 0.5
    del view
    assert state()["blocks"] == 1


def test_a_much_larger_block_does_not_serve():
    rsqrt(large(POOLED))
    taken = state()["reused"]
    rsqrt(large())
    assert state()["reused"] == taken


@pytest.mark.spec("9.5")
def test_what_is_not_used_goes_back_without_a_further_call():
    """By a thread that takes no signals, and ends when nothing is kept."""
    code = """
import os, re, signal, time
from pathlib import Path
import gorsqrt
def threads():
    return set(os.listdir("/proc/self/task"))
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
def cache():
    return gorsqrt.show_config("dicts")["cache"]
gorsqrt.set_num_threads(1)  # no helper beside it
x = memoryview(bytearray(1 << 25)).cast("f")
cache()
for again in range(2):
    before, had = threads(), resident()
    gorsqrt.rsqrt(x)
    assert cache()["blocks"] == 1
    drain, = threads() - before
    blocked = int(re.search(r"SigBlk:\\s*(\\w+)", Path(f"/proc/self/task/{drain}/status").read_text())[1], 16)
    assert all(blocked >> number - 1 & 1 for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGPROF))
    deadline = time.monotonic() + 30
    while threads() != before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert threads() == before
    assert (cache()["blocks"], cache()["held"]) == (0, 0)
    assert resident() - had < 1 << 24
print("right")
"""
    done = run("100000000", code)
    assert done.stdout == "right\n", done.stderr


@pytest.mark.spec("9.5")
def test_many_results_dropped_at_once_leave_one():
    x = large()
    results = [rsqrt(x) for _ in range(6)]
    results.clear()
    assert state()["blocks"] == 1


@pytest.mark.spec("9.5")
def test_a_loop_keeps_what_it_needs():
    x = large()
    for alive in (1, 3):
        for _ in range(3):
            results = [rsqrt(x) for _ in range(alive)]
            del results
        before = state()
        assert before["blocks"] == alive
        results = [rsqrt(x) for _ in range(alive)]
        assert state()["reused"] == before["reused"] + alive
        del results


@pytest.mark.spec("9.5")
def test_the_limit_follows_the_resource_limits():
    code = "import resource, gorsqrt; print(gorsqrt.show_config('dicts')['cache']['limit'])"
    for limit in ("RLIMIT_AS", "RLIMIT_DATA", "RLIMIT_RSS"):
        bound = f"import resource; resource.setrlimit(resource.{limit}, (8 << 30, resource.RLIM_INFINITY)); "
        assert int(run("", bound + code).stdout) <= (8 << 30) // 16


@pytest.mark.spec("9.5")
def test_a_dask_worker_of_700_mib_goes_on():
    """Twelve results of 32 MiB are dropped: the worker is not paused, and numpy's next stage
    runs."""
    code = """
import gc, time, numpy as np, dask.array as da, gorsqrt
from dask.distributed import Client, LocalCluster, wait
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
if __name__ == "__main__":
    with LocalCluster(n_workers=1, threads_per_worker=1, memory_limit="700MiB", dashboard_address=None) as cluster:
        with Client(cluster) as client:
            before, = client.run(resident).values()
            x = da.full((12 * (8 << 20),), np.float32(4), chunks=8 << 20, dtype="f4")
            y = x.map_blocks(gorsqrt.rsqrt).persist()
            wait(y, timeout=60)
            del y
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                client.run(gc.collect)
                after, = client.run(resident).values()
                if after - before < 64 << 20:
                    break
                time.sleep(0.2)
            assert after - before < 64 << 20, (before, after)
            worker, = client.scheduler_info()["workers"].values()
            assert worker["status"] == "running"
            z = (x[: 4 * (8 << 20)] + 1).persist()
            wait(z, timeout=60)
            assert float(z[0].compute()) == 5
            print("right")
"""
    with tempfile.TemporaryDirectory() as alone:  # its folder is where Python looks for modules first
        program = Path(alone, "program.py")
        program.write_text(code)
        done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=240)
    assert done.stdout == "right\n", done.stdout + done.stderr


def test_no_growth_over_mixed_sizes():
    """10^5 calls of 1 item up to more than the pool's threshold: kept memory stays within the
    limit."""
    rng = np.random.default_rng(0)
    x = large(1 << 20)
    for n in (2 ** (rng.random(100) * 23)).astype(int):
        rsqrt(x[:n])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for i, n in enumerate((2 ** (rng.random(100_000) * 14)).astype(int)):
        rsqrt(x[:n])
        if i % 2000 == 0:
            rsqrt(x[: len(x) - int(rng.integers(1 << 20))])
    assert state()["held"] <= state()["limit"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < (state()["limit"] + 4 * x.nbytes) / 1024


def test_threads():
    x, wrong = large(), []

    def work(value):
        y = np.full_like(x, value)
        wrong.extend(value for _ in range(5) if not (rsqrt(y) == 1 / np.sqrt(np.float32(value))).all())

    threads = [threading.Thread(target=work, args=(4.0**k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_forked_child_has_a_pool_of_its_own():
    x = large()
    rsqrt(x)
    child = os.fork()
    if child == 0:
        good = state()["blocks"] == 0 and bool((rsqrt(x) == 0.5).all()) and state()["blocks"] == 1
        os._exit(0 if good else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert state()["blocks"] == 1


def run(limit, code):
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "GORSQRT_CACHE_LIMIT": limit}, capture_output=True, text=True
    )


def test_limit():
    code = (
        "import gorsqrt; x = memoryview(bytes(1 << 25)).cast('f'); gorsqrt.rsqrt(x); gorsqrt.rsqrt(x);"
        "s = gorsqrt.show_config('dicts')['cache']; print(s['limit'], s['blocks'], s['reused'])"
    )
    assert run("0", code).stdout.split() == ["0", "0", "0"]
    assert run("100000000", code).stdout.split() == ["100000000", "1", "1"]
    for wrong in ("much", "-1"):
        assert f"GORSQRT_CACHE_LIMIT is '{wrong}', which is not a number of bytes" in run(wrong, code).stderr
