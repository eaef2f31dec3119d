"""Tiers: a test that asks for the fixture runs once on every instruction set of this machine.
Memory: what calls leave behind, counted exactly.
GPU: what is marked so needs one.
Rows: which test shows which row of the contract, printed at the end."""

import ctypes
import gc
import os
import re
import sys
from itertools import pairwise
from pathlib import Path

import cuda_driver
import pytest

from gorsqrt import _gorsqrt

pytest.register_assert_rewrite("torch_oracle")

ROOT = Path(__file__).resolve().parent.parent

# What each tier needs, told from the kernel's list on purpose and not from gorsqrt's own dispatch.
CPU_FLAGS = {
    "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl"},
    "avx2": {"avx2", "fma", "f16c"},
    "neon": {"asimd"},
    "scalar": set(),
}


def machine_tiers():
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    flags = set(found[1].split()) if found else set()
    return [tier for tier, needed in CPU_FLAGS.items() if needed <= flags]


# GORSQRT_REQUIRE_TIERS names tiers that must run even where the kernel's list lacks them: `make test` sets it.
MACHINE_TIERS = machine_tiers()
REQUIRED_TIERS = os.environ.get("GORSQRT_REQUIRE_TIERS", "").split() or MACHINE_TIERS

# The one that all calls are to use, so that there is no other to go through.
FORCED_TIERS = os.environ.get("GORSQRT_ISA", "").split()


@pytest.fixture(params=FORCED_TIERS or [name for name in CPU_FLAGS if name in {*MACHINE_TIERS, *REQUIRED_TIERS}])
def tier(request):
    assert _gorsqrt.binding_SetTier(request.param) == request.param
    yield request.param
    _gorsqrt.binding_SetTier((FORCED_TIERS or MACHINE_TIERS)[0])


def allocated():
    """The blocks that Python's allocator has given out, and the bytes that C's has, by glibc's mallinfo2 (2.33 and newer)."""
    gc.collect()
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = type("mallinfo2", (ctypes.Structure,), {"_fields_": [(f"field{i}", ctypes.c_size_t) for i in range(10)]})
    info = mallinfo()
    return sys.getallocatedblocks(), info.field4 + info.field7  # hblkhd, uordblks: mapped, and in the heaps


@pytest.fixture
def kept():
    """kept(work, n): what one of the n calls in work(n) leaves allocated, in blocks of Python's and in bytes of C's.

    After a run to warm up, the lesser of two: what is filled once, a cache or an allocator's pages, shows in one of them only.
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
    """Where the tests of cuda_double.on_doubles run."""
    processes = {}
    yield processes
    for process in processes.values():
        process.end()


# The rows of the contract.
SPEC = {
    1: "1.1 1.2 1.3 1.4 1.5 1.6", 2: "2.1 2.2 2.3 2.4 2.5 2.6 2.7 2.8 2.9", 3: "3.1 3.2 3.3 3.4 3.5 3.6", 4: "4",
    5: "5.1 5.2 5.3 5.4 5.5", 6: "6.1 6.2 6.3 6.4 6.5 6.6 6.7 6.8 6.9",
    7: "7.1 7.2 7.3 7.4 7.5 7.6 7.7 7.8 7.9 7.10 7.11", 8: "8.1 8.2 8.3 8.4 8.5",
    9: "9.1 9.2 9.3 9.4 9.5 9.6 9.7",
}  # fmt: skip

# Rows that Go tests show: exact decisions of overlap against sets of addresses, and layouts that can't be decided.
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


def pytest_collection_modifyitems(config, items):
    shown = {row: list(tests) for row, tests in GO_TESTS.items()}
    for item in items:
        for marker in item.iter_markers("spec"):
            for row in marker.args:
                name = f"{item.path.stem}.{item.originalname}"
                if name not in shown.setdefault(row, []):
                    shown[row].append(name)
    config.stash[ROWS] = shown
    for package, name in (test.split(".") for tests in GO_TESTS.values() for test in tests):
        if not any(f"func {name}(" in path.read_text() for path in (ROOT / package).glob("*_test.go")):
            raise pytest.UsageError(f"there is no Go test {package}.{name}")
    whole = config.args == config.getini("testpaths") and not config.option.keyword and config.option.markexpr == "not gpu"
    missing = [row for rows in SPEC.values() for row in rows.split() if row not in shown]
    if whole and missing:
        raise pytest.UsageError(f"no test shows row {', '.join(missing)} of the contract")


def pytest_collection_finish(session):
    if any(item.get_closest_marker("gpu") for item in session.items) and not session.config.option.collectonly:
        try:
            cuda_driver.devices()
        except RuntimeError as error:
            raise pytest.UsageError(f"the tests marked gpu need a CUDA device, and there is none: {error}") from None


ROWS = pytest.StashKey()


def pytest_terminal_summary(terminalreporter, config):
    terminalreporter.section("rows of the contract, and what shows them")
    for row in (row for rows in SPEC.values() for row in rows.split()):
        terminalreporter.write_line(f"{row:4} {' '.join(config.stash.get(ROWS, {}).get(row, ['-']))}")
