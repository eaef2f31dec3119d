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


def python(code, *arguments, **environment):
    """Runs a program in a fresh interpreter; its output. It must end well, and soon."""
    done = subprocess.run(
        [sys.executable, *arguments, "-c", textwrap.dedent(code)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
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


@pytest.mark.spec("8.2")
def test_forked_child_computes_what_needs_no_go_and_refuses_the_rest():
    """SPEC 8.2: never a hang, whatever the parent's threads do at the fork."""
    python("""
        import os, threading, traceback
        from array import array
        import numpy as np
        import gorsqrt

        x = np.full(50_000, 16.0)
        stop = False
        def busy():
            while not stop:
                gorsqrt.rsqrt(x[::2])
                gorsqrt.rsqrt(x)
        threads = [threading.Thread(target=busy) for _ in range(3)]
        for thread in threads:
            thread.start()
        def in_child():
            assert gorsqrt.rsqrt(array("f", [4])) == array("f", [0.5])
            assert (gorsqrt.rsqrt(x) == 0.25).all()
            out = np.empty_like(x)
            assert (gorsqrt.rsqrt(input=x, out=out) == 0.25).all()
            assert (gorsqrt.rsqrt_(out) == 2).all()
            try:
                gorsqrt.rsqrt(x[::2])
            except RuntimeError as error:
                assert "spawn or forkserver" in str(error), error
            else:
                raise AssertionError("Go was asked")
        try:
            for _ in range(100):
                child = os.fork()
                if child == 0:
                    try:
                        in_child()
                    except BaseException:
                        traceback.print_exc()
                        os._exit(1)
                    os._exit(0)
                assert os.waitpid(child, 0)[1] == 0
        finally:
            stop = True
            for thread in threads:
                thread.join()
    """)


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
