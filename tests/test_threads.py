"""Contract 9.6, threads that help with large calls: their number, and the same bits with any
number."""

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest

import gorsqrt
from gorsqrt import rsqrt, rsqrt_

RNG = np.random.default_rng(12)


@pytest.fixture(autouse=True)
def setting():
    before = gorsqrt.get_num_threads()
    yield
    gorsqrt.set_num_threads(before)


HERE = Path(__file__).parent


def run_file(code, **variables):
    """Runs code as a file, which its children may import, without variables for threads."""
    with tempfile.TemporaryDirectory() as alone:  # its folder is where Python looks for modules first
        program = Path(alone, "program.py")
        program.write_text(code)
        environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")} | variables
        return subprocess.run([sys.executable, program], env=environment, capture_output=True, text=True, timeout=300)


def run(code, **variables):
    return subprocess.run(
        [sys.executable, "-c", f"import os; {code}"], env={**os.environ, **variables}, capture_output=True, text=True
    )


# For code that waits until threads of its process have nothing to do.
ASLEEP = """
def wait_until_asleep(threads):
    while any(open(f'/proc/self/task/{t}/stat').read().rpartition(') ')[2][0] != 'S' for t in threads):
        time.sleep(0.001)
"""


def test_setting():
    for n in (1, 3, np.int64(2)):
        gorsqrt.set_num_threads(n)
        assert gorsqrt.get_num_threads() == n
        assert gorsqrt.show_config("dicts")["threads"] == n
    for wrong in (0, -1):
        with pytest.raises(RuntimeError, match=f"number of threads is {wrong}; at least 1 is needed"):
            gorsqrt.set_num_threads(wrong)
    for wrong in (2.0, "2", None):
        with pytest.raises(TypeError):
            gorsqrt.set_num_threads(wrong)
    assert gorsqrt.get_num_threads() == 2
    assert gorsqrt.show_config("dicts")["threads_from"] == "set_num_threads"


@pytest.mark.spec("9.6")
def test_a_number_out_of_range_is_clamped_or_refused():
    for n in (256, 257, 1000, 2**31, 2**32 + 7, 2**63 - 1):
        gorsqrt.set_num_threads(n)
        assert gorsqrt.get_num_threads() == 256
    for n in (2**63, 2**64 + 1, -(2**63) - 1):
        with pytest.raises(OverflowError, match="argument 'n' does not fit into 64 bits; 1 to 256 are accepted"):
            gorsqrt.set_num_threads(n)
    with pytest.raises(RuntimeError, match="at least 1 is needed"):
        gorsqrt.set_num_threads(-(2**32) + 7)
    assert gorsqrt.get_num_threads() == 256


SHOW = "import gorsqrt; print(gorsqrt.get_num_threads(), gorsqrt.show_config('dicts')['threads_from'])"


@pytest.mark.spec("9.6")
def test_default_is_what_the_process_may_use():
    plain = {"GORSQRT_NUM_THREADS": "", "OMP_NUM_THREADS": ""}
    assert run(f"os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); {SHOW}", **plain).stdout == "1 affinity\n"
    number, source = run(SHOW, **plain).stdout.split()
    assert 1 <= int(number) <= len(os.sched_getaffinity(0))
    assert source in ("affinity", "quota")


@pytest.mark.spec("9.6")
def test_openmps_variable():
    for text, number in (("1", 1), ("4,2", 4), (" 3 ", 3), ("1000", 256)):
        assert run(SHOW, GORSQRT_NUM_THREADS="", OMP_NUM_THREADS=text).stdout == f"{number} OMP_NUM_THREADS\n"
    for malformed in ("0", "-1", "many", "1.5", ",4", "99999999999999999999"):
        assert run(SHOW, GORSQRT_NUM_THREADS="", OMP_NUM_THREADS=malformed).stdout.split()[1] in ("affinity", "quota")
    assert run(SHOW, GORSQRT_NUM_THREADS="5", OMP_NUM_THREADS="1").stdout == "5 GORSQRT_NUM_THREADS\n"


def threads_here(_=None):
    """In a worker: the number of threads, and how many of them a large call adds to the process."""
    before = len(os.listdir("/proc/self/task"))
    x = np.ones(1 << 22, np.float32)
    rsqrt(x, out=x)
    return gorsqrt.get_num_threads(), len(os.listdir("/proc/self/task")) - before


@pytest.mark.spec("9.6")
def test_workers_that_are_to_have_one_thread():
    """joblib's loky and dask's nanny set OMP_NUM_THREADS for workers; multiprocessing hands it
    on."""
    code = f"""
import multiprocessing, sys
sys.path.insert(0, {str(HERE)!r})
from test_threads import threads_here
if __name__ == "__main__":
    import joblib
    with joblib.parallel_config("loky", n_jobs=2, inner_max_num_threads=1):
        print(*joblib.Parallel()(joblib.delayed(threads_here)() for _ in range(2)))
    from dask.distributed import Client, LocalCluster
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        print(*client.run(threads_here).values())
    os.environ["OMP_NUM_THREADS"] = "1"
    for method in ("spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            print(*pool.map(threads_here, range(1)))
"""
    done = run_file("import os" + code)
    assert done.stdout.splitlines() == ["(1, 0) (1, 0)", "(1, 0)", "(1, 0)", "(1, 0)"], done.stdout + done.stderr


@pytest.mark.spec("9.6")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_of_torchs_dataloader(method):
    """Torch's own number, unless the user has set one, or has told torch another."""
    code = f"""
import sys
sys.path.insert(0, {str(HERE)!r})
import torch
from torch.utils.data import DataLoader, Dataset
import gorsqrt
from test_threads import threads_here
class Counts(Dataset):
    def __len__(self):
        return 1
    def __getitem__(self, _):
        return torch.tensor([*threads_here()])
def two_of_torchs(_):
    torch.set_num_threads(2)
def three_of_ours(_):
    gorsqrt.set_num_threads(3)
if __name__ == "__main__":
    threads_here()
    for init in (None, two_of_torchs, three_of_ours):
        for counts in DataLoader(Counts(), num_workers=1, multiprocessing_context={method!r}, worker_init_fn=init):
            print(*counts[0].tolist())
    print(gorsqrt.get_num_threads())
"""
    done = run_file(code, GORSQRT_NUM_THREADS="4")
    assert done.stdout.splitlines() == ["1 0", "2 1", "3 2", "4"], done.stdout + done.stderr


@pytest.mark.spec("9.6")
def test_a_lowered_number_leaves_the_right_helpers_at_work():
    """The first of many helpers goes on, the others use no time. All may work once it is raised
    again."""
    code = """
import numpy as np, gorsqrt, time
x = np.ones(1 << 21, np.float32)
def tasks():
    return sorted(map(int, os.listdir('/proc/self/task')))
def slices(t):
    return int(open(f'/proc/self/task/{t}/schedstat').read().split()[2])
before = set(tasks())
gorsqrt.set_num_threads(17)
gorsqrt.rsqrt(x, out=x)
helpers = [t for t in tasks() if t not in before]
assert len(helpers) == 16
def moved(calls=20):
    wait_until_asleep(helpers)
    was = {t: slices(t) for t in helpers}
    for _ in range(calls):
        gorsqrt.rsqrt(x, out=x)
        wait_until_asleep(helpers)
    return [t for t in helpers if slices(t) != was[t]]
for _ in range(3):
    gorsqrt.set_num_threads(2)
    assert moved() == helpers[:1], (moved(), helpers)
    gorsqrt.set_num_threads(4)
    assert set(moved()) <= set(helpers[:3])
    gorsqrt.set_num_threads(1)
    assert moved() == []
assert len(tasks()) == len(before) + 16
"""
    done = run(ASLEEP + code)
    assert done.returncode == 0, done.stderr


@pytest.mark.spec("9.6")
def test_variable():
    show = "import gorsqrt; print(gorsqrt.get_num_threads())"
    assert run(show, GORSQRT_NUM_THREADS="5").stdout == "5\n"
    assert run(f"os.environ['GORSQRT_NUM_THREADS'] = '3'; {show}").stdout == "3\n"
    for wrong in ("0", "-2", "many", "1.5"):
        assert (
            f"GORSQRT_NUM_THREADS is '{wrong}', which is not a number of threads" in run(show, GORSQRT_NUM_THREADS=wrong).stderr
        )


@pytest.mark.spec("6.8")
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64", "int32"])
def test_the_same_bits_on_any_number_of_threads(dtype):
    """Lengths around those from which helpers work, contiguous and strided, into poisoned
    memory."""
    for n in (1 << 16, (1 << 17) + 1, (1 << 20) - 1, 3_000_017):
        bits = RNG.integers(0, 256, (n, np.dtype(dtype).itemsize), np.uint8)
        x = bits.view(dtype).reshape(n)
        for view in (x, x[::-2], x[: n // 100 * 100].reshape(-1, 100).T):
            gorsqrt.set_num_threads(1)
            expected = rsqrt(view)
            for threads in (2, 5):
                gorsqrt.set_num_threads(threads)
                out = np.full_like(expected, -1)
                assert rsqrt(view, out=out).tobytes() == expected.tobytes()
                assert rsqrt(view).tobytes() == expected.tobytes()
                if expected.dtype == x.dtype:
                    assert rsqrt_(view.copy()).tobytes() == expected.tobytes()


def test_eight_callers_at_once():
    gorsqrt.set_num_threads(4)
    x = RNG.random(1 << 21).astype(np.float32)
    expected, wrong = rsqrt(x).tobytes(), []

    def work():
        out = np.empty_like(x)
        for _ in range(10):
            out.fill(-1)
            if rsqrt(x, out=out).tobytes() != expected:
                wrong.append(1)

    callers = [threading.Thread(target=work) for _ in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


def test_setting_changes_while_others_call():
    x = RNG.random(1 << 20).astype(np.float32)
    expected, stop = rsqrt(x).tobytes(), threading.Event()

    def change():
        while not stop.is_set():
            for n in (1, 2, 7, 3):
                gorsqrt.set_num_threads(n)

    changer = threading.Thread(target=change)
    changer.start()
    right = [rsqrt(x).tobytes() == expected for _ in range(50)]
    stop.set()
    changer.join()
    assert all(right)


@pytest.mark.spec("8.2")
def test_forked_children_have_helpers_of_their_own():
    gorsqrt.set_num_threads(3)
    x = RNG.random(1 << 22).astype(np.float32)
    expected = rsqrt(x).tobytes()  # the parent's helpers are there
    child = os.fork()
    if child == 0:
        good = gorsqrt.get_num_threads() == 3 and rsqrt(x).tobytes() == expected
        gorsqrt.set_num_threads(2)
        good = good and gorsqrt.get_num_threads() == 2 == gorsqrt.show_config("dicts")["threads"]
        os._exit(0 if good and rsqrt(x).tobytes() == expected else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert gorsqrt.get_num_threads() == 3
    assert rsqrt(x).tobytes() == expected


@pytest.mark.spec("8.2")
def test_a_signal_handler_that_forks_in_the_middle_of_a_call():
    """The parent is right, and the child says that it can't be."""
    code = """
import os, signal, sys, numpy as np, gorsqrt
gorsqrt.set_num_threads(2)
x = np.random.default_rng(0).random(1 << 24).view(np.complex128)
out, expected, child = np.zeros_like(x), gorsqrt.rsqrt(x), []
def handler(*_):
    signal.setitimer(signal.ITIMER_REAL, 0)
    child.append(os.fork())
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.05)
try:
    gorsqrt.rsqrt(x, out=out)
    good = child[0] > 0 and (out == expected).all()
except RuntimeError as error:
    good = child[0] == 0 and "forked this process in the middle of a call" in str(error)
if child[0] == 0:
    os._exit(0 if good else 1)
sys.exit(0 if good and os.waitpid(child[0], 0)[1] == 0 else 1)
"""
    done = run(code, GORSQRT_ISA="scalar")  # slow enough for the call to look at signals
    assert done.returncode == 0, done.stderr


def test_helpers_are_kept_off_the_callers_processor():
    """Of those that they may run on, whatever these are, and whoever sets them."""
    code = """
import numpy as np, time, gorsqrt
x, main = np.ones(1 << 22, np.float32), os.getpid()
gorsqrt.set_num_threads(2)
processors = os.sched_getaffinity(0)
before = set(os.listdir('/proc/self/task'))
gorsqrt.rsqrt(x, out=x)
helper, = {int(t) for t in set(os.listdir('/proc/self/task')) - before}
def call(on):
    os.sched_setaffinity(main, {on})
    wait_until_asleep([helper])
    gorsqrt.rsqrt(x, out=x)
    return os.sched_getaffinity(helper)
for one in processors:
    assert call(one) == (processors - {one} or processors)
last = max(processors)
os.sched_setaffinity(helper, {last})
assert call(last) == {last} == call(min(processors))
os.sched_setaffinity(helper, processors)
assert call(last) == (processors - {last} or processors)
"""
    done = run(ASLEEP + code)
    assert done.returncode == 0, done.stderr


def test_beside_torchs_openmp():
    import torch

    x = RNG.random(1 << 21).astype(np.float32)
    tensor = torch.from_numpy(x)
    expected = torch.rsqrt(tensor).numpy().tobytes()
    for _ in range(20):
        torch.rsqrt(tensor)  # its workers spin for a while now
        assert rsqrt(x).tobytes() == expected


@pytest.mark.spec("9.3")
def test_small_stacks():
    """All containers, layouts, dtypes and tiers on threads of 32 KiB give the main thread's
    results."""
    code = """
import array, ctypes, itertools, threading
import ml_dtypes, numpy as np
import gorsqrt
from gorsqrt import _gorsqrt, rsqrt, rsqrt_
def square(dtype, n):
    return (np.arange(n * n).reshape(n, n) % 97 + 1).astype(dtype)
dtypes = "float16 float32 float64 complex64 complex128 bool int8 uint8 int16 uint16 int32 uint32 int64 uint64".split()
dtypes.append(ml_dtypes.bfloat16)
layouts = {
    "transposed": lambda x: x.T,
    "turned": lambda x: x.T[::-1],
    "strided": lambda x: x[:, ::2],
    "strided and turned": lambda x: x[::3, ::-5],
    "far": lambda x: x[:, 0],
    "permuted": lambda x: x[:256].reshape(8, 32, -1).transpose(2, 0, 1),
    "rows": lambda x: x[:, :100],
    "broadcast": lambda x: np.broadcast_to(x[:, :1], x.shape),
    "contiguous": lambda x: x,
}
def calls():
    for dtype in dtypes:
        big = square(dtype, 400)
        for view in layouts.values():
            x = view(big)
            y = rsqrt(x)
            yield y
            out = np.zeros(x.shape[::-1], y.dtype).T
            yield rsqrt(x, out=out)
        if big.dtype.kind not in "biu":
            yield rsqrt_(big[::2, 1:])
            yield rsqrt_(big.copy().T)
    f = square("float32", 400)
    for to in ("float16", "float64", "complex64", "complex128", ml_dtypes.bfloat16):
        for view in layouts.values():
            x = view(f)
            yield rsqrt(x, out=np.zeros(x.shape, to))
            yield rsqrt(x, out=np.zeros((*x.shape, 2), to)[..., 0])
    z = square("complex64", 400)
    yield rsqrt(z.view("float32")[:, ::2], out=z)  # through a temporary
    yield np.asarray(rsqrt(array.array("d", range(1, 5000))))
    yield np.asarray(rsqrt(memoryview(bytearray(8 * 10000)).cast("d")))
    yield np.asarray(rsqrt((ctypes.c_float * 70000)(2)))
    yield rsqrt(np.float64(2))
    yield rsqrt(np.ones(1 << 20, "float32"))  # with helpers
    yield rsqrt(np.ones((1 << 10, 1 << 10), "float32").T, out=np.zeros((1 << 10, 1 << 10), "float32"))
def run(into):
    try:
        into.extend(np.asarray(y).tobytes() for y in calls())
    except BaseException as error:
        into.append(error)
gorsqrt.set_num_threads(3)
for tier in gorsqrt.show_config("dicts")["tiers"]:
    _gorsqrt.binding_SetTier(tier)
    expected, got = [], []
    run(expected)
    threading.stack_size(32768)
    thread = threading.Thread(target=run, args=(got,))
    thread.start()
    thread.join()
    threading.stack_size(0)
    assert got == expected and len(got) > 300, (tier, got[-1])
"""
    done = run(code)
    assert done.returncode == 0, (done.returncode, done.stderr)
