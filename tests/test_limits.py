"""Contract 9.1 and 9.2: little memory, few threads, no descriptors, other programs' variables.

Whatever the system refuses, the process goes on: an import, a call and a call in a forked child
each give a right answer or an exception of one sentence.
"""

import ctypes
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

# What becomes of an import, of calls that C answers and that Go decides, of a call on a thread of
# its own, and of the same in a forked child, twice: "fine", or the exception.
PROGRAM = """
import json, os, sys, threading

def outcome(work):
    try:
        work()
    except (ImportError, MemoryError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"
    return "fine"

def load():
    global gorsqrt
    import gorsqrt

def flat():
    assert gorsqrt.rsqrt(memoryview(bytearray(b"\\0" * 6 + b"\\x10@")).cast("d"))[0] == 0.5

def strided():
    x = memoryview(bytearray(b"\\0" * 6 + b"\\x10@" + b"\\0" * 8) * 50).cast("d")[::2]
    assert gorsqrt.rsqrt(x).tolist() == [0.5] * 50

def refused():
    try:
        gorsqrt.rsqrt(memoryview(bytes(8)), out=bytearray(9))
    except RuntimeError as error:
        if "can't be resized" not in str(error) and "type" not in str(error):
            raise

def on_a_thread():
    failed = []
    def work():
        try:
            strided()
        except BaseException as error:
            failed.append(error)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]

CALLS = flat, strided, refused, on_a_thread
result = {"import": outcome(load)}
if result["import"] == "fine":
    BEFORE_CALLS
    result |= {call.__name__: outcome(call) for call in CALLS}
    read, write = os.pipe()
    try:
        child = os.fork()
    except BlockingIOError:  # the system's answer, not gorsqrt's
        child = None
    if child == 0:
        said = {f"child {call.__name__} {i}": outcome(call) for i in range(2) for call in CALLS[:3]}
        os.write(write, json.dumps(said).encode())
        os._exit(0)
    os.close(write)
    if child:
        result |= json.loads(os.read(read, 1 << 20))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print(json.dumps(result), flush=True)
"""


def outcomes(prepare=lambda: None, before_calls="pass", **environment):
    """The result of PROGRAM, run after `prepare` in a fresh interpreter. It must end by itself."""
    code = PROGRAM.replace("BEFORE_CALLS", before_calls)
    done = subprocess.run(
        [sys.executable, "-c", code],
        preexec_fn=prepare,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode == 1 and done.stderr.rstrip().endswith("MemoryError"):
        return {"import": "MemoryError: Python's own"}
    assert done.returncode == 0, done.stdout + done.stderr[:2000]
    assert done.stderr == ""
    result = json.loads(done.stdout)
    assert not any("\n" in text for text in result.values())
    return result


def failures(result):
    return {step: text for step, text in result.items() if text != "fine"}


def limit(which, value):
    return lambda: resource.setrlimit(which, (value, value))


# What Python itself raises.
PYTHONS = "MemoryError", "RuntimeError: can't start new thread"

ADDRESS_SPACES = [
    50, 60, 80, 100, 150, 200, 300, 400, 600, 800, 1000, 1200, 1400, 1500, 1600, 1650, 1700, 1720, 1740, 1760, 1780, 1800, 1850,
    1900, 2000, 2200, 2500, 3000, 3200, 3400, 3500, 3600, 3800, 4000,
]  # fmt: skip


@pytest.mark.spec("9.2")
@pytest.mark.parametrize("mib", ADDRESS_SPACES)
def test_address_space(mib):
    result = outcomes(limit(resource.RLIMIT_AS, mib << 20))
    for text in failures(result).values():
        assert f"RLIMIT_AS is {mib} MiB" in text or text.startswith((*PYTHONS, "ImportError: /")), text  # the loader's
    if mib <= 1000:
        assert result["import"] != "fine"
    if mib >= 2000:
        assert not any(result[step] != "fine" for step in ("import", "flat", "strided", "refused", "on_a_thread"))
    if mib == 4000:
        assert failures(result) == {}


@pytest.mark.spec("9.2")
@pytest.mark.parametrize("mib", [10, 20, 40, 80, 120, 140, 160, 170, 175, 180, 190, 200, 220, 250, 280, 300, 320, 350, 500])
def test_data(mib):
    result = outcomes(limit(resource.RLIMIT_DATA, mib << 20))
    for text in failures(result).values():
        assert f"RLIMIT_DATA is {mib} MiB" in text or text.startswith(PYTHONS), text
    if mib == 500:
        assert failures(result) == {}


def as_nobody(threads):
    """Becomes a user without other processes, with a limit of threads: root has none.

    Files stay readable.
    """

    def prepare():
        if os.geteuid() == 0:
            libc = ctypes.CDLL(None, use_errno=True)
            keep_capabilities, no_setuid_fixup = 28, 1 << 2  # PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP
            assert libc.prctl(keep_capabilities, no_setuid_fixup, 0, 0, 0) == 0
            for capability in (21, 24):  # CAP_SYS_ADMIN, CAP_SYS_RESOURCE: they lift the limit
                assert libc.prctl(24, capability, 0, 0, 0) == 0  # PR_CAPBSET_DROP
            os.setresuid(*[54321] * 3)
        resource.setrlimit(resource.RLIMIT_NPROC, (threads, threads))

    return prepare


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="another user's limit needs root")


@pytest.mark.spec("9.2")
@needs_root
@pytest.mark.parametrize("threads", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20, 24, 40])
def test_number_of_threads(threads):
    result = outcomes(as_nobody(threads))
    for step, text in failures(result).items():
        assert f"RLIMIT_NPROC is {threads}" in text or "can't start new thread" in text, (step, text)
    assert (result["import"] == "fine") == (threads > 8)
    if threads == 40:
        assert failures(result) == {}


@pytest.mark.spec("9.2")
@needs_root
def test_number_of_threads_lowered_after_the_import():
    """Go wants a thread now and then: it has some in reserve."""
    busy = """if True:
        import resource
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
        gorsqrt.set_num_threads(8)
        big = bytearray(1 << 23)
        for _ in range(3000):
            strided(), refused()
            gorsqrt.show_config("dicts")
        for _ in range(30):
            gorsqrt.rsqrt_(memoryview(big).cast("f"))
    """
    result = outcomes(as_nobody(40), busy)
    assert failures(result) == {"on_a_thread": "RuntimeError: can't start new thread"}


def control_group(controller, file, value):
    """A fresh control group of version 1 or 2 with this limit; None if nobody may make one here."""
    for root in (Path("/sys/fs/cgroup", controller), Path("/sys/fs/cgroup")):
        group = root / f"gorsqrt-test-{os.getpid()}"
        try:
            group.mkdir()
            (group / file).write_text(str(value))
        except OSError:
            if group.is_dir():
                group.rmdir()
            continue
        return group
    return None


def outcomes_in(controller, limits):
    """Runs PROGRAM in a control group with the first of these limits (file to value) that can be
    set."""
    groups = (control_group(controller, file, value) for file, value in limits.items())
    group = next(filter(None, groups), None)
    if group is None:
        pytest.skip("this machine lets nobody make a control group")
    try:
        return outcomes(lambda: (group / "cgroup.procs").write_text(str(os.getpid())))
    finally:
        group.rmdir()


@pytest.mark.spec("9.2")
@pytest.mark.parametrize("mib", [50, 64, 100, 200, 500])
def test_memory_limit_of_a_control_group(mib):
    """What is reserved and never touched does not count."""
    assert failures(outcomes_in("memory", {"memory.limit_in_bytes": mib << 20, "memory.max": mib << 20})) == {}


@pytest.mark.spec("9.2")
@pytest.mark.parametrize("threads", [2, 3, 5, 8, 9, 10, 12, 16, 20, 40])
def test_pids_limit_of_a_control_group(threads):
    result = outcomes_in("pids", {"pids.max": threads})
    assert (result["import"] == "fine") == (threads > 8)
    if threads == 40:
        assert failures(result) == {}


HOSTILE = [
    {"GOMEMLIMIT": "1G"}, {"GOMEMLIMIT": "1B"}, {"GOMEMLIMIT": ""}, {"GODEBUG": "cgocheck=2"}, {"GODEBUG": "sbrk=1"},
    {"GODEBUG": "schedtrace=1,gctrace=1"}, {"GODEBUG": "containermaxprocs=1"}, {"GOMAXPROCS": "100000"}, {"GOMAXPROCS": "-1"},
    {"GOMAXPROCS": "x"}, {"GOGC": "off"}, {"GOGC": "1"}, {"GOGC": "x"}, {"GOTRACEBACK": "crash"}, {"GORACE": "x"},
]  # fmt: skip


@pytest.mark.spec("9.2")
@pytest.mark.parametrize("variables", HOSTILE, ids=lambda v: "".join(f"{k}={x}" for k, x in v.items()))
def test_variables_of_other_programs_in_go(variables):
    assert failures(outcomes(**variables)) == {}


# Descriptors.

OPENED = (
    """
import os
def opened():
    return os.listdir("/proc/self/fd")  # the listing's own is the lowest free one each time
before = opened()
"""
    + PROGRAM.replace("BEFORE_CALLS", "pass")
    + """
os.close(read)
import time
def work():
    for _ in range(300):
        for _ in range(300):
            strided(), refused()
        gorsqrt.show_config("dicts")
    threads = [threading.Thread(target=strided) for _ in range(100)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    time.sleep(.3)
    for _ in range(3000):
        strided(), refused()
    assert opened() == before, (before, [os.readlink(f"/proc/self/fd/{fd}") for fd in opened()[:-1]])
work()
child = os.fork()
if child == 0:
    work()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
)


@pytest.mark.spec("9.1")
def test_nothing_is_left_open():
    """By an import, calls whose garbage is collected, threads that end, and a forked child's
    copy."""
    done = subprocess.run([sys.executable, "-c", OPENED], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.spec("9.1", "9.2")
def test_a_daemon_that_closes_all_descriptors():
    close = "os.closerange(3, 4096); strided(); __import__('time').sleep(.1); [(strided(), refused()) for _ in range(20000)]"
    assert failures(outcomes(before_calls=close)) == {}


@pytest.mark.spec("9.1", "9.2")
@pytest.mark.parametrize("more", range(6))
def test_no_descriptor_left(more):
    """At the import; and later, also in a forked child, which needs one for a moment."""
    code = f"""
import array, json, os, resource, struct  # what Python itself would open files for
def fill(more):
    highest = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + {more}, highest + {more}))
    try:
        while True:
            os.dup(2)
    except OSError:
        pass
import sys, importlib.util
"""
    at_call = code + "import gorsqrt\nfill(0)\n" + CALLS_AND_CHILD
    done = subprocess.run([sys.executable, "-c", at_call], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[:2] == ["fine", "fine"]
    assert "memfd_create: Too many open files (RLIMIT_NOFILE is " in done.stdout.splitlines()[2]
    at_import = code + f"fill({more})\ntry:\n    import gorsqrt\nexcept OSError as error:\n    print(error)\n"
    done = subprocess.run([sys.executable, "-c", at_import], capture_output=True, text=True, timeout=60)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    assert "fatal" not in done.stderr


CALLS_AND_CHILD = """
x = memoryview(bytes(160)).cast("d")[::2]
gorsqrt.rsqrt(x)
print("fine", flush=True)
try:
    gorsqrt.show_config("dicts")
except OSError:
    pass
print("fine", flush=True)
child = os.fork()
if child == 0:
    try:
        gorsqrt.rsqrt(x)
        print("child fine", flush=True)
    except RuntimeError as error:
        print(error, flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
