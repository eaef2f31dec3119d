"""Contract 8: imports, threads, forks and signals in a process that belongs to another program."""

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
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# Import.


@pytest.mark.spec("8.3", "8.4")
def test_import_loads_no_framework_and_changes_no_signal():
    """Go's runtime answers SIGSEGV, SIGBUS, SIGFPE and SIGURG, and hands on what is not its own."""
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


def test_somebody_elses_array_module():
    """A file array.py on the path. Debian's Python has the module built in, which comes first."""
    python("""
        import ctypes, sys, types
        sys.modules["array"] = types.SimpleNamespace(array=type("array", (ctypes.c_double,), {}))
        import array, gorsqrt
        assert gorsqrt.rsqrt(array.array(4)).tolist() == 0.5
    """)


@pytest.mark.parametrize("name", ["scalar", "avx2", "avx512", "neon", "sse9"])
@pytest.mark.parametrize("late", [False, True])
def test_isa_variable(name, late):
    """The named tier is used, also if Python sets the variable; one that can't run is an error."""
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
    """Many threads at once on the same input, by the express lane and by Go's decision."""
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


# In a subprocess, since Python warns of forks beside threads. A child that hangs is ended by its
# alarm.
FORK = """
import os, signal, sys, threading, traceback
from array import array
import numpy as np
import gorsqrt
from gorsqrt import _gorsqrt

def fork(work, seconds=60):
    "Runs work in a child and waits until it has ended well."
    child = os.fork()
    if child == 0:
        signal.alarm(seconds)
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == 0, "hung" if status == -signal.SIGALRM else status

def refusal(call):
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    raise AssertionError("not refused")

def asks_go():
    assert (gorsqrt.rsqrt(np.full(20, 16.0)[::2]) == 0.25).all()

def needs_no_go():
    "Served without a copy of the library: none of its threads is there."
    x = np.full(1000, 16.0)
    out = np.empty_like(x)
    assert gorsqrt.rsqrt(array("f", [4])) == array("f", [0.5])
    assert (gorsqrt.rsqrt(x) == 0.25).all()
    assert (gorsqrt.rsqrt(input=x, out=out) == 0.25).all()
    assert (gorsqrt.rsqrt_(input=out) == 2).all()

def threads():
    return len(os.listdir("/proc/self/task"))
"""


def forks(code):
    return python(FORK + textwrap.dedent(code))


@pytest.mark.spec("8.2")
def test_fork_beside_threads_that_compute():
    """Right results, the parent's errors and no hang, whatever the parent's threads do at the
    fork."""
    forks("""
        x = np.full(5000, 16.0)
        wrong = [
            lambda: gorsqrt.rsqrt(x, out=np.empty(3)),
            lambda: gorsqrt.rsqrt(x[1:], out=x[:-1]),
            lambda: gorsqrt.rsqrt_(np.arange(3)),
            lambda: gorsqrt.rsqrt(np.ones(3, np.longdouble)),
            lambda: gorsqrt.rsqrt(5),
        ]
        said = [refusal(call) for call in wrong]
        stop = False
        def compute():
            while not stop:
                gorsqrt.rsqrt(x[::2])
                gorsqrt.rsqrt(x)
                refusal(wrong[0])
        def start_threads():
            while not stop:
                thread = threading.Thread(target=asks_go)
                thread.start()
                thread.join()
        def in_child():
            needs_no_go()
            assert threads() == 1
            assert (gorsqrt.rsqrt(x[::2]) == 0.25).all()
            out = np.empty((3, 4), "f").T
            assert (gorsqrt.rsqrt(np.full((4, 3), 4.0, "f"), out=out) == 0.5).all()
            assert [refusal(call) for call in wrong] == said
            assert threads() > 1
        sys.setswitchinterval(1e-4)
        busy = [threading.Thread(target=work) for work in (compute, compute, start_threads)]
        for thread in busy:
            thread.start()
        try:
            for _ in range(1000):
                fork(in_child)
        finally:
            stop = True
            for thread in busy:
                thread.join()
    """)


@pytest.mark.spec("8.2")
def test_fork_in_a_forked_child():
    """Each generation loads a copy of its own, also where the one before did without."""
    forks("""
        def generation(n, ask):
            needs_no_go()
            if n in ask:
                asks_go()
            if n > 0:
                fork(lambda: generation(n - 1, ask))
            asks_go()
        for ask in ((3, 2, 1, 0), (2, 0), ()):
            fork(lambda: generation(3, ask))
        asks_go()
    """)


@pytest.mark.spec("8.2")
def test_end_of_a_thread_that_forked():
    """A child ends with the thread that forked, whether that has called the parent's Go or the
    copy's."""
    forks("""
        children = []
        def work():
            asks_go()
            children.append(os.fork())
            if children[-1] == 0 and len(children) % 2:
                asks_go()
                child = os.fork()
                if child:
                    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0)
            if children[-1] == 0:
                signal.alarm(60)
        for _ in range(50):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
            assert os.waitpid(children[-1], 0)[1] == 0
    """)


@pytest.mark.spec("8.2")
def test_management_in_a_forked_child():
    """The instruction set is the parent's, at the fork, and can be changed."""
    forks("""
        config = gorsqrt.show_config("dicts")
        def in_child(tier):
            assert gorsqrt.show_config("dicts") == config | {"tier": tier}
            assert refusal(lambda: _gorsqrt.binding_SetTier("x")) == said
            assert _gorsqrt.binding_SetTier(config["tiers"][0]) == config["tiers"][0]
            asks_go()
            fork(lambda: show(config["tiers"][0]))
            assert refusal(lambda: _gorsqrt.binding_Install("gorsqrt._gorsqrt")).startswith("RuntimeError: gorsqrt: can't")
        def show(tier):
            assert gorsqrt.show_config("dicts")["tier"] == tier
        said = refusal(lambda: _gorsqrt.binding_SetTier("x"))
        for tier in config["tiers"]:
            _gorsqrt.binding_SetTier(tier)
            fork(lambda: in_child(tier))
    """)


@pytest.mark.spec("8.2", "8.3")
def test_signals_in_a_forked_child():
    """A copy takes the signals that the import took; later handlers stay, and so does SIGPIPE's."""
    forks("""
        def caught():
            status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
            return {name: int(status[name], 16) & (1 << 31) - 1 for name in ("SigIgn", "SigCgt", "SigBlk")}
        def in_child(got=()):
            before = caught()
            needs_no_go()
            asks_go()
            signal.raise_signal(signal.SIGURG)
            assert caught() | {"SigCgt": 0} == before | {"SigCgt": 0}
            return before, caught()
        parent = caught()
        def plain():
            before, after = in_child()
            assert after == parent, (after, parent)
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            fork(broken_pipe)
        def broken_pipe():
            asks_go()
            child = os.fork()
            if child == 0:
                reader, writer = os.pipe()
                os.close(reader)
                asks_go()
                os.write(writer, b"x")
                os._exit(1)
            assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGPIPE
        fork(plain)
        calls = []
        signal.signal(signal.SIGURG, lambda *_: calls.append(1))
        def with_handler():
            in_child()
            assert calls == [1]
        fork(with_handler)
    """)


@pytest.mark.spec("8.2", "8.3")
def test_faulthandler_in_a_forked_child():
    code = FORK + textwrap.dedent("""
        import faulthandler
        faulthandler.enable()
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            asks_go()
            faulthandler._sigsegv()
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != -signal.SIGSEGV)
    """)
    for moved in (code, "import faulthandler; faulthandler.enable()\n" + code.replace("faulthandler.enable()\nchild", "child")):
        done = subprocess.run([sys.executable, "-c", moved], capture_output=True, text=True, timeout=60)
        assert (done.returncode, "Fatal Python error: Segmentation fault" in done.stderr) == (0, True), done.stderr


@pytest.mark.spec("8.2")
def test_forked_child_that_may_not_load_a_copy():
    """One clear error each time. Calls without Go go on, and all do once the copy may be loaded."""
    forks("""
        import resource
        def in_child(limit, value, reason):
            before = resource.getrlimit(limit)
            resource.setrlimit(limit, (value, before[1]))
            for call in (asks_go, asks_go, lambda: gorsqrt.show_config("dicts"), lambda: gorsqrt.set_default_dtype("float64")):
                said = refusal(call)
                assert said.startswith("RuntimeError: gorsqrt: in a forked child process"), said
                assert said.endswith("or start processes with the spawn or forkserver method"), said
                assert reason in said, said
            needs_no_go()
            resource.setrlimit(limit, before)
            asks_go()
        import json  # for show_config
        fork(lambda: in_child(resource.RLIMIT_NOFILE, 0, "(memfd_create: Too many open files (RLIMIT_NOFILE is 0))"))
        fork(lambda: in_child(resource.RLIMIT_FSIZE, 1 << 16, "(memfd: File too large)"))
    """)


@pytest.mark.spec("8.2")
def test_fork_while_a_thread_is_in_the_dynamic_loader():
    """A child can't mend two states of the loader. One is recognised at once, one after ten
    seconds."""
    forks("""
        import ctypes, time
        said = "(dlopen: a thread of the parent process was in the dynamic loader when it forked)"
        def in_child():
            needs_no_go()
            for _ in range(2):
                assert said in refusal(asks_go)
        state = ctypes.c_int.from_address(ctypes.addressof(ctypes.c_int.in_dll(ctypes.CDLL(None), "_r_debug")) + 24)
        state.value = 1  # RT_ADD, as within dlopen
        fork(in_child)
        state.value = 0
        fork(asks_go)

        inside, leave = threading.Event(), threading.Event()
        @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
        def visit(*_):
            inside.set()
            leave.wait()
            return 1
        thread = threading.Thread(target=lambda: ctypes.CDLL(None).dl_iterate_phdr(visit, None))
        thread.start()
        inside.wait()
        start = time.monotonic()
        fork(in_child)
        assert 9 < time.monotonic() - start < 50
        leave.set()
        thread.join()
        fork(asks_go)
    """)


@pytest.mark.spec("8.2")
@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_multiprocessing(method):
    """The forkserver, too, forks from a process that has imported gorsqrt."""
    python(f"""
        import multiprocessing
        import numpy as np
        import gorsqrt
        context = multiprocessing.get_context("{method}")
        if "{method}" == "forkserver":
            context.set_forkserver_preload(["numpy", "gorsqrt"])
        arrays = [np.full((30, 4), 4.0**i).T[::2] for i in range(20)]
        gorsqrt.rsqrt(arrays[0])
        with context.Pool(2) as pool:
            for i, result in enumerate(pool.map(gorsqrt.rsqrt, arrays)):
                assert (result == 2.0**-i).all()
    """)


@pytest.mark.spec("8.2")
def test_torch_dataloader():
    """Two epochs of forked workers whose items are computed from strided arrays."""
    python("""
        import numpy as np
        import torch
        import gorsqrt
        class Squares(torch.utils.data.Dataset):
            def __len__(self):
                return 64
            def __getitem__(self, i):
                return gorsqrt.rsqrt(np.full((8, 8), (i + 1.0) ** 2, "f")[:, ::2])
        loader = torch.utils.data.DataLoader(Squares(), batch_size=8, num_workers=2, multiprocessing_context="fork")
        gorsqrt.rsqrt(np.ones((4, 4))[:, ::2])
        for _ in range(2):
            result = torch.cat(list(loader))
            assert torch.equal(result, (1 / torch.arange(1.0, 65)).reshape(64, 1, 1).expand(64, 8, 4))
    """)


@pytest.mark.spec("8.2")
def test_settings_in_a_forked_child():
    """The default dtype is the parent's at the fork, and can be changed. Go's collector runs."""
    forks("""
        gorsqrt.set_default_dtype("float64")
        def generation(left):
            for _ in range(300):
                gorsqrt.show_config("dicts")
            assert gorsqrt.get_default_dtype() == "float64"
            assert gorsqrt.rsqrt(np.array([4])).dtype == np.float64
            if left:
                fork(lambda: generation(left - 1))
        generation(2)
        def in_child():
            gorsqrt.set_default_dtype("float16")
            assert gorsqrt.rsqrt(np.array([4])).dtype == np.float16
            fork(lambda: gorsqrt.get_default_dtype() == "float16" or os._exit(2))
        fork(in_child)
        assert gorsqrt.get_default_dtype() == "float64"
    """)


@pytest.mark.spec("8.2", "8.3")
def test_fork_after_a_refused_import():
    """A subinterpreter's attempt has loaded the library and Go. Neither SIGPIPE nor a child is
    affected."""
    python("""
        import os, signal
        from pathlib import Path
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        sub = interpreters.create()
        interpreters.run_string(sub, "try:\\n import gorsqrt\\nexcept ImportError:\\n pass")
        interpreters.destroy(sub)
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        assert int(status["SigIgn"], 16) >> signal.SIGPIPE - 1 & 1
        child = os.fork()
        if child == 0:
            signal.alarm(30)
            try:
                import gorsqrt
                os._exit(0)
            except ImportError as error:
                os._exit("forked child" not in str(error))
        assert os.waitpid(child, 0)[1] == 0
    """)


@pytest.mark.spec("8.2")
def test_an_operand_that_forks():
    """An argument's attribute forks: the child's call uses its own copy, not the parent's Go."""
    forks("""
        x = np.full(4, 16.0)
        class Forks:
            @property
            def __array_interface__(self):
                children.append(os.fork())
                if children[-1] == 0:
                    signal.alarm(60)
                return x.__array_interface__
        for _ in range(20):
            children = []
            result = gorsqrt.rsqrt(Forks()).tolist()
            if children[-1] == 0:
                os._exit(result != [0.25] * 4)
            assert os.waitpid(children[-1], 0)[1] == 0
    """)


@pytest.mark.spec("8.2", "6.8")
def test_forked_children_start_helpers_of_their_own():
    """Large calls in a child and its child, while other threads of the parent use helpers."""
    python("""
        import os, threading
        import numpy as np
        import gorsqrt
        x = np.random.default_rng(1).uniform(1, 100, 1 << 21).astype(np.float32)
        want = gorsqrt.rsqrt(x)
        stop = threading.Event()
        def busy():
            y = np.empty_like(x)
            while not stop.is_set():
                gorsqrt.rsqrt(x, out=y)
        threads = [threading.Thread(target=busy) for _ in range(2)]
        for thread in threads:
            thread.start()
        def right():
            return all(np.array_equal(gorsqrt.rsqrt(x, out=np.zeros_like(x)), want) for _ in range(3))
        for _ in range(15):
            child = os.fork()
            if child == 0:
                grandchild = os.fork()
                if grandchild == 0:
                    os._exit(not right())
                os._exit(not right() or os.waitpid(grandchild, 0)[1] != 0)
            assert os.waitpid(child, 0)[1] == 0
        stop.set()
        for thread in threads:
            thread.join()
        assert right()
    """)


# Signals.


@pytest.mark.spec("8.3")
def test_ctrl_c_ends_a_long_call():
    """In place over 1 GiB of fresh zeros on the slowest tier: only the computed part is touched."""
    output = python(
        """
        import os, signal, threading
        import numpy as np
        import gorsqrt
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
        x = np.zeros(1 << 27)
        started = threading.Event()
        threading.Thread(target=lambda: (started.wait(), os.kill(os.getpid(), signal.SIGINT))).start()
        try:
            started.set()
            gorsqrt.rsqrt_(x)
        except KeyboardInterrupt:
            print("interrupted", (x[:: 1 << 16] == 0).any())
        """,
        GORSQRT_ISA="scalar",
    )
    assert output == "interrupted True\n"


# Trouble.


def test_a_panic_in_go_is_a_runtime_error():
    """A strided array whose struct claims fewer dimensions than none: Go's slice of them panics."""
    x = np.ones((4, 4))[:, ::2]
    ndim = ctypes.c_int.from_address(id(x) + 16 + 8)  # PyObject_HEAD, data
    ndim.value = -1
    try:
        with pytest.raises(RuntimeError, match=r"gorsqrt: internal error: .*unsafe\.Slice"):
            gorsqrt.rsqrt(x)
        with pytest.raises(RuntimeError, match="gorsqrt: internal error"):
            gorsqrt.rsqrt_(x)
    finally:
        ndim.value = 2
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


def test_what_calls_keep_is_counted(kept):
    """conftest's measure of leaks: to a block of Python's, and to a byte of C's."""
    held, malloc = [], ctypes.CDLL(None).malloc

    def keep_bytes(n):
        for _ in range(n):
            malloc(1000)

    assert kept(lambda n: [object() for _ in range(n)], 10_000) == (pytest.approx(0, abs=0.1), pytest.approx(0, abs=1))
    assert kept(lambda n: held.extend(object() for _ in range(n)), 10_000)[0] == pytest.approx(1, abs=0.1)
    assert kept(keep_bytes, 10_000) == (pytest.approx(0, abs=0.1), pytest.approx(1008, abs=1))


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
