"""Tiers: a test that asks for the fixture runs once on every instruction set of this machine."""

import os
import re
from pathlib import Path

import pytest

from gorsqrt import _gorsqrt

# What each tier needs, told from the kernel's list on purpose and not from gorsqrt's own dispatch.
CPU_FLAGS = {
    "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl"},
    "avx2": {"avx2", "fma"},
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


@pytest.fixture(params=[name for name in CPU_FLAGS if name in {*MACHINE_TIERS, *REQUIRED_TIERS}])
def tier(request):
    assert _gorsqrt.binding_SetTier(request.param) == request.param
    yield request.param
    _gorsqrt.binding_SetTier(MACHINE_TIERS[0])
