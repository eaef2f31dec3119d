"""What all tests share:

- the fixture `tier`, with which a test runs once on every instruction set of this machine;
- the fixture `kept`, which measures how much memory calls leave allocated;
- the mark `gpu`, for tests that need a CUDA device;
- the mark `spec`, which names the rows of docs/contract.md that a test shows: a row without a test
  stops the whole suite, and `pytest --contract` lists the tests by row;
- the output, one line per file.
"""

import ctypes
import gc
import os
import re
import sys
import textwrap
import time
from itertools import pairwise
from pathlib import Path

import cuda_driver
import pytest

from gorsqrt import _gorsqrt

pytest.register_assert_rewrite("torch_oracle")

ROOT = Path(__file__).resolve().parent.parent

# The tiers that are tested, the best first, with the features that each needs by the kernel's list.
# gorsqrt's own dispatch has another list on purpose: test_tiers.py compares the two.
CPU_FLAGS = {
    "avx512": {"avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl"},
    "avx2": {"avx2", "fma", "f16c"},
    "neon": {"asimd"},
    "scalar": set(),
}


def machine_tiers():
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    flags = set(found[1].split()) if found else set()
    return [tier for tier, needed in CPU_FLAGS.items() if needed <= flags]


MACHINE_TIERS = machine_tiers()

# If calls are to use one tier only, the tests use no other.
FORCED_TIERS = os.environ.get("GORSQRT_ISA", "").split()


@pytest.fixture(params=FORCED_TIERS or MACHINE_TIERS)
def tier(request):
    assert _gorsqrt.binding_SetTier(request.param) == request.param
    yield request.param
    _gorsqrt.binding_SetTier((FORCED_TIERS or MACHINE_TIERS)[0])


def allocated():
    """The blocks that Python's allocator has given out, and the bytes of C's.

    The latter are from glibc's mallinfo2 (2.33 and newer).
    """
    gc.collect()
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = type("mallinfo2", (ctypes.Structure,), {"_fields_": [(f"field{i}", ctypes.c_size_t) for i in range(10)]})
    info = mallinfo()
    return sys.getallocatedblocks(), info.field4 + info.field7  # hblkhd, uordblks: mapped, and in the heaps


@pytest.fixture
def kept():
    """kept(work, n): the memory that each of the n calls in work(n) leaves allocated.

    It is a number of Python's blocks and of C's bytes. work runs three times, and the lesser of the
    last two counts: a cache or an allocator's page that is filled once shows in one of them only.
    """

    def measure(work, n):
        work(n)
        marks = [allocated()]
        for _ in range(2):
            work(n)
            marks.append(allocated())
        return tuple(min(after - before for before, after in pairwise(of)) / n for of in zip(*marks, strict=True))

    return measure


@pytest.fixture(scope="session")
def torch_processes():
    """The processes in which the tests of cuda_double.on_doubles run."""
    processes = {}
    yield processes
    for process in processes.values():
        process.end()


# The rows of the contract, by number.
ROWS = re.findall(r"^\*\*([\d.]+) ", (ROOT / "docs/contract.md").read_text(), re.MULTILINE)

# Rows that Go tests show, too or alone.
GO_TESTS = {
    "3.5": ["cuda.TestDevices"],
    "5.1": ["rsqrt.TestOverlapsItselfIsExact"],
    "5.3": ["rsqrt.TestOverlapIsExact"],
    "5.4": ["rsqrt.TestOverlapOfLargeArrays"],
    "5.5": ["rsqrt.TestUndecidedOverlap"],
    "6.3": ["cgo.TestEveryFloat32"],
    "6.4": ["cgo.TestHalfKernels"],
    "6.5": ["cgo.TestComplexAccuracy"],
    "6.7": ["cgo.TestComplexSpecials"],
    "6.8": ["cgo.TestTiersAgree", "cgo.TestComplexTiersAgree", "cuda.TestLengths", "cuda.TestRandomLayouts", "cuda.TestCasts"],
    "8.5": ["cuda.TestWithoutDriver"],
}


SHOWN = pytest.StashKey()


def pytest_addoption(parser):
    parser.addoption("--contract", action="store_true", help="list the rows of docs/contract.md and their tests; run none")


def pytest_collection_modifyitems(config, items):
    shown = config.stash[SHOWN] = {row: list(GO_TESTS.get(row, [])) for row in ROWS}
    for item in items:
        name = f"{item.path.stem}.{item.originalname}"
        for row in (row for marker in item.iter_markers("spec") for row in marker.args):
            if row not in shown:
                raise pytest.UsageError(f"{name} shows row {row}, which docs/contract.md does not have")
            if name not in shown[row]:
                shown[row].append(name)
    for package, name in (test.split(".") for tests in GO_TESTS.values() for test in tests):
        if not any(f"func {name}(" in path.read_text() for path in (ROOT / package).glob("*_test.go")):
            raise pytest.UsageError(f"there is no Go test {package}.{name}")
    whole = config.args == config.getini("testpaths") and not config.option.keyword and config.option.markexpr == "not gpu"
    missing = [row for row, tests in shown.items() if not tests]
    if whole and missing:
        raise pytest.UsageError(f"no test shows row {', '.join(missing)} of docs/contract.md")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session):
    if session.config.option.contract:
        for row, tests in session.config.stash[SHOWN].items():
            indent = {"initial_indent": f"{row:5}", "subsequent_indent": " " * 5}
            print(textwrap.fill(" ".join(tests or "-"), 100, break_long_words=False, **indent))
        return True
    if any(item.get_closest_marker("gpu") for item in session.items) and not session.config.option.collectonly:
        try:
            cuda_driver.devices()
        except RuntimeError as error:
            raise pytest.UsageError(f"the tests marked gpu need a CUDA device, and there is none: {error}") from None
    return None


# Without -v or -q, a file of tests is one line: its name, a letter for each test that has not
# passed, then how many tests it has and how long they took.

FILE = pytest.StashKey()


def pytest_report_teststatus(report, config):
    return ("passed", "", "") if report.passed and report.when == "call" and config.option.verbose == 0 else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item, nextitem):
    tests, began = item.config.stash.get(FILE, (0, time.monotonic()))
    item.config.stash[FILE] = tests + 1, began
    result = yield
    if nextitem is None or nextitem.path != item.path:
        del item.config.stash[FILE]
        if item.config.option.verbose == 0:
            terminal = item.config.pluginmanager.get_plugin("terminalreporter")
            terminal.write(f" {tests + 1} tests, {time.monotonic() - began:.1f} s")
    return result
