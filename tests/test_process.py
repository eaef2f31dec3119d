"""SPEC 8: threads, forks, signals, imports and memory: gorsqrt as a guest in somebody else's process."""

import array
import ctypes
import gc
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
from test_calls import Interface

import gorsqrt
from gorsqrt import _gorsqrt


def python(code, *arguments, seconds=120, **environment):
    """Runs a program in a fresh interpreter; its output. It must end well, and soon."""
    done = subprocess.run(
        [sys.executable, *arguments, "-c", textwrap.dedent(code)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# Import.


@pytest.mark.spec("8.3", "8.4")
def test_import_loads_no_framework_and_changes_no_signal():
    """SPEC 8.3, 8.4. Go's runtime answers SIGSEGV, SIGBUS, SIGFPE and SIGURG, and hands on what is not its own."""
    python("""
        import sys
        from pathlib import Path
        def signals():
            status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
            return {name: int(status[name], 16) for name in ("SigIgn", "SigCgt", "SigBlk")}
        before = signals()
        import gorsqrt
        after = signals()
        import signal
        gos = sum(1 << number - 1 for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGURG))
        assert before["SigIgn"] >> signal.SIGPIPE - 1 & 1, "CPython ignores SIGPIPE"
        assert after["SigBlk"] == before["SigBlk"], (before, after)
        assert after["SigIgn"] & ~gos == before["SigIgn"] & ~gos, (before, after)
        realtime = (1 << 64) - (1 << 31)  # glibc's and Go's own, above SIGRTMIN
        assert after["SigCgt"] & ~gos & ~realtime == before["SigCgt"] & ~gos & ~realtime, (before, after)
        for name in ("numpy", "torch", "array", "json", "typing", "subprocess"):
            assert name not in sys.modules, name
    """)


@pytest.mark.spec("8.3")
def test_sigpipe_set_before_import_stays():
    python("""
        import signal
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        import gorsqrt
        import os
        child = os.fork()
        if child == 0:
            reader, writer = os.pipe()
            os.close(reader)
            os.write(writer, b"x")
            os._exit(1)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGPIPE
    """)


@pytest.mark.spec("8.3")
@pytest.mark.parametrize("when", ["before", "after"])
def test_faulthandler_still_reports_a_crash(when):
    steps = ["import gorsqrt", "import faulthandler; faulthandler.enable()"]
    code = "\n".join(steps if when == "after" else steps[::-1]) + "\nfaulthandler._sigsegv()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGSEGV
    assert "Fatal Python error: Segmentation fault" in done.stderr


@pytest.mark.spec("8.3")
def test_sigpipe_is_given_back_where_the_import_fails():
    python(
        """
        import signal
        from pathlib import Path
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        try:
            import gorsqrt
        except RuntimeError:
            pass
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        assert not int(status["SigCgt"], 16) >> signal.SIGPIPE - 1 & 1
        """,
        GORSQRT_ISA="none",
    )


def test_subinterpreters_are_refused():
    """In one sentence, and without harm to the main interpreter, whichever came first."""
    python("""
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        code = '''if True:
            try:
                import gorsqrt
            except ImportError as error:
                assert "main interpreter" in str(error) or "subinterpreters" in str(error), error
            else:
                raise AssertionError("imported")
        '''
        for _ in range(2):
            sub = interpreters.create()
            failed = interpreters.run_string(sub, code)
            assert failed is None, failed
            interpreters.destroy(sub)
            import gorsqrt
            from array import array
            assert gorsqrt.rsqrt(array("d", [4])) == array("d", [0.5])
    """)


def test_imported_twice():
    python("""
        import sys
        from array import array
        import gorsqrt as first
        for name in [name for name in sys.modules if name.startswith("gorsqrt") or name == "array"]:
            del sys.modules[name]
        import gorsqrt as second
        import array as again
        assert first is not second
        for gorsqrt in (first, second):
            for cls in (array, again.array):
                assert list(gorsqrt.rsqrt(cls("d", [4]))) == [0.5]
            assert type(gorsqrt.rsqrt(again.array("d", [4]))) is again.array
    """)


def test_somebody_elses_array_module(tmp_path):
    (tmp_path / "array.py").write_text("import ctypes\nclass array(ctypes.c_double): pass\n")
    python(
        """
        import array, gorsqrt
        assert gorsqrt.rsqrt(array.array(4)).tolist() == 0.5
        """,
        PYTHONPATH=str(tmp_path),
    )


@pytest.mark.parametrize("name", ["scalar", "avx2", "avx512", "neon", "sse9"])
@pytest.mark.parametrize("late", [False, True])
def test_isa_variable(name, late):
    """DESIGN 2: a forced tier is used, and one that the machine can't run is an error; also where Python sets it itself."""
    tiers = gorsqrt.show_config("dicts")["tiers"]
    code = f"import os; os.environ['GORSQRT_ISA'] = '{name}'; " * late
    done = subprocess.run(
        [sys.executable, "-c", code + "import gorsqrt; print(gorsqrt.show_config('dicts')['tier'])"],
        env=os.environ if late else {**os.environ, "GORSQRT_ISA": name},
        capture_output=True,
        text=True,
    )
    if name in tiers:
        assert (done.returncode, done.stdout) == (0, f"{name}\n")
    else:
        said = f"RuntimeError: GORSQRT_ISA: instruction set '{name}' is not one that this machine runs: {', '.join(tiers)}\n"
        assert done.returncode == 1
        assert done.stderr.endswith(said)


# Threads.


@pytest.mark.spec("8.1")
def test_threads_share_inputs():
    """SPEC 8.1: many threads at once, on the same input, through the express lane and through Go's decision."""
    x = np.random.default_rng(1).random(100_000) + 0.5
    want = 1 / np.sqrt(x)

    def work(seed):
        for _ in range(30):
            np.testing.assert_array_equal(gorsqrt.rsqrt(x), want)
            np.testing.assert_array_equal(gorsqrt.rsqrt(x[::-3]), want[::-3])
            with pytest.raises(RuntimeError):
                gorsqrt.rsqrt(x, out=np.empty(seed))
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


@pytest.mark.spec("8.1")
def test_the_gil_is_released_in_long_calls():
    """While one thread computes, another runs Python."""
    x = np.ones(1 << 24)
    ticks, done = 0, threading.Event()

    def compute():
        for _ in range(5):
            gorsqrt.rsqrt_(x)
        done.set()

    worker = threading.Thread(target=compute)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(10)  # no thread gives the GIL up unless it wants to
    try:
        worker.start()
        while not done.wait(0.001):
            ticks += 1
    finally:
        sys.setswitchinterval(interval)
        worker.join()
    assert ticks > 2


@pytest.mark.spec("8.1")
def test_the_buffer_is_held_until_the_call_returns():
    """array.array refuses to move its memory while somebody computes in it."""
    x = array.array("d", bytes(8 << 23))
    worker = threading.Thread(target=gorsqrt.rsqrt_, args=(x,))
    refused = 0
    worker.start()
    while worker.is_alive():
        try:
            x.append(1.0)
        except BufferError:
            refused += 1
    worker.join()
    assert refused
    x.append(1.0)


@pytest.mark.spec("8.2")
def test_spawned_processes():
    arrays = [np.full((3, 4), 4.0**i).T[::2] for i in range(4)]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        for i, result in enumerate(pool.map(gorsqrt.rsqrt, arrays)):
            assert (result == 2.0**-i).all()


# Fork.


# What a child does: through the express lane, through Go, and refused; with the answers and words that the parent has.
IN_CHILD = """
import os, signal, threading, traceback
from array import array
import numpy as np
import gorsqrt

x = np.full(50_000, 16.0)

def refusal(call):
    try:
        call()
    except Exception as error:
        return type(error), str(error)
    raise AssertionError("not refused")

REFUSED = [lambda: gorsqrt.rsqrt(x, out=x[:5]), lambda: gorsqrt.rsqrt(5), lambda: gorsqrt.rsqrt_(np.arange(3)),
           lambda: gorsqrt.rsqrt(np.ones(3, np.longdouble))]
WORDS = [refusal(call) for call in REFUSED]

def work():
    assert (gorsqrt.rsqrt(x) == 0.25).all()
    assert gorsqrt.rsqrt(array("f", [4])) == array("f", [0.5])
    out = np.empty_like(x)
    assert (gorsqrt.rsqrt(input=x, out=out) == 0.25).all()
    assert (gorsqrt.rsqrt_(out) == 2).all()
    assert (gorsqrt.rsqrt(x[::2]) == 0.25).all()
    assert (gorsqrt.rsqrt(x[::-3].reshape(-1, 1).T) == 0.25).all()
    assert gorsqrt.rsqrt(np.arange(1, 5) ** 4).tolist()[1] == 0.25
    assert [refusal(call) for call in REFUSED] == WORDS

def in_child(function):
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        try:
            function()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status == 0, f"a child ended with {status}: " + ("it hung" if os.WTERMSIG(status) == signal.SIGALRM else "see above")
"""


@pytest.mark.spec("8.2")
def test_a_thousand_forks_while_threads_compute():
    """Never a hang, whatever the parent's threads do at the fork: some are in Go, some in C, some wait for the GIL."""
    python(
        IN_CHILD
        + textwrap.dedent("""
        stop = False
        def busy(call):
            while not stop:
                call()
        calls = [lambda: gorsqrt.rsqrt(x[::2]), lambda: gorsqrt.rsqrt(x), lambda: gorsqrt.show_config("dicts")]
        threads = [threading.Thread(target=busy, args=(call,)) for call in calls]
        for thread in threads:
            thread.start()
        try:
            for _ in range(1000):
                in_child(work)
        finally:
            stop = True
            for thread in threads:
                thread.join()
        """),
        "-W",
        "ignore::DeprecationWarning",
        seconds=600,
    )


@pytest.mark.spec("8.2")
def test_nested_forks_and_management_in_children():
    """Each generation loads a copy of its own, with the settings of the one before; Go's garbage collector runs in it."""
    settings = """
import gorsqrt
gorsqrt._gorsqrt.binding_SetTier("scalar")
gorsqrt.set_default_dtype("float64")
"""
    python(
        settings
        + IN_CHILD
        + textwrap.dedent("""
        def generation(left):
            for _ in range(300):
                config = gorsqrt.show_config("dicts")
            assert config["tier"] == "scalar"
            assert gorsqrt.get_default_dtype() == "float64"
            assert gorsqrt.rsqrt(np.array([4])).dtype == np.float64
            work()
            assert refusal(lambda: gorsqrt._gorsqrt.binding_SetTier("none"))[0] is RuntimeError
            if left:
                in_child(lambda: generation(left - 1))
            worker = threading.Thread(target=work)
            worker.start()
            worker.join()
        generation(4)

        def changes_its_settings():
            gorsqrt.set_default_dtype("float16")
            assert gorsqrt.rsqrt(np.array([4])).dtype == np.float16
            in_child(lambda: gorsqrt.rsqrt(np.array([4])).dtype == np.float16 or os._exit(2))
        in_child(changes_its_settings)
        assert gorsqrt.get_default_dtype() == "float64"
        """)
    )


@pytest.mark.spec("8.2")
def test_a_child_that_may_not_load_a_copy_says_so():
    """A limit of no bytes a file refuses the copy; what needs none still works."""
    python(
        IN_CHILD
        + textwrap.dedent("""
        import resource
        def limited():
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
            assert (gorsqrt.rsqrt(x) == 0.25).all()
            for call in (lambda: gorsqrt.rsqrt(x[::2]), lambda: gorsqrt.show_config("dicts"), lambda: gorsqrt.rsqrt_(x[::2])):
                kind, words = refusal(call)
                assert kind is RuntimeError, (kind, words)
                assert "forked child" in words and "spawn or forkserver" in words, words
            assert refusal(lambda: gorsqrt.rsqrt(5)) == WORDS[1]
        in_child(limited)
        """)
    )


@pytest.mark.spec("8.2")
@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_multiprocessing(method, tmp_path):
    script = tmp_path / "pool.py"
    script.write_text(
        textwrap.dedent(f"""
        import multiprocessing
        import numpy as np
        import gorsqrt
        if __name__ == "__main__":
            gorsqrt.rsqrt(np.ones(9)[::2])
            arrays = [np.full((3, 4), 4.0**i).T[::2] for i in range(20)]
            with multiprocessing.get_context("{method}").Pool(3) as pool:
                for i, result in enumerate(pool.map(gorsqrt.rsqrt, arrays)):
                    assert (result == 2.0**-i).all()
        """)
    )
    subprocess.run([sys.executable, script], check=True, timeout=120)


@pytest.mark.spec("8.2")
def test_data_loader(tmp_path):
    """torch's workers are forked; their collation runs torch in them too."""
    script = tmp_path / "loader.py"
    script.write_text(
        textwrap.dedent("""
        import numpy as np
        import torch
        import gorsqrt

        class Rows(torch.utils.data.Dataset):
            x = np.arange(1.0, 401).reshape(100, 4).astype(np.float32)
            def __len__(self):
                return 100
            def __getitem__(self, i):
                return gorsqrt.rsqrt(self.x[i][::-1])

        if __name__ == "__main__":
            gorsqrt.rsqrt(Rows.x.T)
            loader = torch.utils.data.DataLoader(Rows(), batch_size=10, num_workers=2, multiprocessing_context="fork")
            found = torch.cat([batch for epoch in range(3) for batch in loader])
            assert torch.equal(found[200:], torch.rsqrt(torch.from_numpy(Rows.x.copy())).flip(1))
        """)
    )
    subprocess.run([sys.executable, script], check=True, timeout=300)


# Signals.


@pytest.mark.spec("8.3")
def test_ctrl_c_ends_a_long_call():
    """SPEC 8.3: in place over 1 GiB of fresh zeros on the slowest tier; only what was computed was ever touched."""
    output = python(
        """
        import os, signal, threading
        import numpy as np
        import gorsqrt
        x = np.zeros(1 << 27)
        started = threading.Event()
        threading.Thread(target=lambda: (started.wait(), os.kill(os.getpid(), signal.SIGINT))).start()
        try:
            started.set()
            gorsqrt.rsqrt_(x)
        except KeyboardInterrupt:
            print("interrupted", x[0], x[-1])
        """,
        GORSQRT_ISA="scalar",
    )
    assert output in ("interrupted inf 0.0\n", "interrupted 0.0 0.0\n")


# Trouble.


def test_a_panic_in_go_is_a_runtime_error():
    """A strided array whose struct claims two dimensions and has none: Go's slice of them panics."""
    x = np.ones((4, 4))[:, ::2]
    field = ctypes.c_void_p.from_address(id(x) + 16 + 8 + 8)  # PyObject_HEAD, data, nd: dimensions
    dimensions = field.value
    field.value = None
    try:
        with pytest.raises(RuntimeError, match=r"gorsqrt: internal error: .*unsafe\.Slice"):
            gorsqrt.rsqrt(x)
        with pytest.raises(RuntimeError, match="gorsqrt: internal error"):
            gorsqrt.rsqrt_(x)
    finally:
        field.value = dimensions
    assert (gorsqrt.rsqrt(x) == 1).all()


def test_management_errors_are_runtime_errors():
    with pytest.raises(RuntimeError, match="instruction set 'x' is not one"):
        _gorsqrt.binding_SetTier("x")
    with pytest.raises(ValueError, match="argument 'mode' must be 'stdout' or 'dicts', not 'json'"):
        gorsqrt.show_config("json")


def refused(call):
    try:
        call()
    except (TypeError, ValueError, RuntimeError):
        return
    pytest.fail("not refused")


def test_no_leak():
    """Calls of every form, good and bad, leave reference counts and memory as they were."""
    x, y, z = np.ones(64), np.ones(64), np.ones((8, 8)).T
    a, m, i = array.array("d", x), memoryview(bytearray(512)).cast("d"), np.ones(64, np.longdouble)
    forms = [
        lambda: gorsqrt.rsqrt(x),
        lambda: gorsqrt.rsqrt(x, out=y),
        lambda: gorsqrt.rsqrt(input=x),
        lambda: gorsqrt.rsqrt_(x),
        lambda: gorsqrt.rsqrt(z),
        lambda: gorsqrt.rsqrt(z[::2], out=z[1::2]),
        lambda: gorsqrt.rsqrt(a),
        lambda: gorsqrt.rsqrt(a, out=a),
        lambda: gorsqrt.rsqrt_(a),
        lambda: gorsqrt.rsqrt(m),
        lambda: gorsqrt.rsqrt(m, out=y),
        lambda: gorsqrt.rsqrt(np.float32(4)),
        lambda: gorsqrt.rsqrt(np.int8(4)),
        lambda: gorsqrt.rsqrt(b"1234"),
        lambda: gorsqrt.rsqrt(array.array("i", [1, 2])),
        lambda: gorsqrt.rsqrt(x.astype(np.float16), out=y),
        lambda: gorsqrt.rsqrt(x.view(np.complex128), out=np.empty(32, np.complex64)),
        lambda: gorsqrt.rsqrt(Interface(x)),
        lambda: gorsqrt.rsqrt(x.view(np.float32)[:64:2], out=x.view(np.float32)[:64:2]),
        lambda: refused(lambda: gorsqrt.rsqrt(5)),
        lambda: refused(lambda: gorsqrt.rsqrt(x, out=5)),
        lambda: refused(lambda: gorsqrt.rsqrt(x, foo=5)),
        lambda: refused(lambda: gorsqrt.rsqrt(i)),
        lambda: refused(lambda: gorsqrt.rsqrt(x, out=i)),
        lambda: refused(lambda: gorsqrt.rsqrt(np.longdouble(1))),
        lambda: refused(lambda: gorsqrt.rsqrt(x, out=y[1:])),
        lambda: refused(lambda: gorsqrt.rsqrt(x[1:], out=x[:-1])),
        lambda: refused(lambda: gorsqrt.rsqrt_(b"1234")),
        lambda: refused(lambda: _gorsqrt.binding_SetTier("x")),
    ]
    held = [x, y, z, a, m, i, None, 5, np.float64, np.dtype("f8"), np.dtype("f4"), gorsqrt.rsqrt]

    def rounds(n):
        for form in forms:
            for _ in range(n):
                form()
        gc.collect()
        return [sys.getrefcount(o) for o in held], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    rounds(2000)
    counts, kib = rounds(2000)
    counts_after, kib_after = rounds(1_000_000 // len(forms))
    assert max(abs(b - a) for a, b in zip(counts, counts_after, strict=True)) < 100
    assert kib_after - kib < 2048
