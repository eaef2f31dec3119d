"""Instruction sets: the tested ones are the offered ones, and a new one takes what CONTRIBUTING.md
says."""

import os
import re
import shutil
import subprocess
import sys

from conftest import MACHINE_TIERS, ROOT

import gorsqrt

# A tier by the recipe of CONTRIBUTING.md: its file, and its rows. With GORSQRT_TOY in the
# environment it writes 42 everywhere.
TOY = """
#include "kernels.h"

#include "mode.h"

#include <stdlib.h>

static void rsqrt_f64_toy(void *dst, const void *src, size_t n) {
    if (mode_is_foreign()) {
        gorsqrt_run_in_default_mode(rsqrt_f64_toy, dst, src, n);
        return;
    }
    gorsqrt_scalar.of[GORSQRT_F64].plain(dst, src, n);
    for (size_t i = 0; getenv("GORSQRT_TOY") && i < n; i++) ((double *)dst)[i] = 42;
}

const gorsqrt_tier gorsqrt_toy = {
    .name = "toy",
    .needs = "",
    .of = {[GORSQRT_F64] = {.plain = rsqrt_f64_toy}},
};
"""
ROWS = {
    "cgo/kernels.h": ("TIER(scalar)\n", "TIER(toy) TIER(scalar)\n"),
    "tests/conftest.py": ('    "scalar": set(),\n', '    "toy": set(),\n    "scalar": set(),\n'),
}


def test_every_tier_is_tested():
    """By the kernel's list of features, and by gorsqrt's dispatch, which asks the processor."""
    assert gorsqrt.show_config("dicts")["tiers"] == MACHINE_TIERS


def test_a_new_tier(tmp_path):
    """Go's tests run it, and notice that it is wrong."""
    recipe = re.search(r"^## Add an instruction set\n(.*?)(?=^## |\Z)", (ROOT / "CONTRIBUTING.md").read_text(), re.M | re.S)[1]
    assert all(f"`{path}`" in recipe for path in ("cgo/toy.c", *ROWS))
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).exists():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    for path, (before, after) in ROWS.items():
        text = (tmp_path / path).read_text()
        assert before in text
        (tmp_path / path).write_text(text.replace(before, after))

    (tmp_path / "cgo/toy.c").write_text(TOY)

    def go_tests(**variables):
        tests = [
            "-count=1",
            "-short",
            "-run",
            "TestTiers|TestEveryTier|TestKernels|TestApplyOnRandomLayouts",
            "./cgo",
            "./rsqrt",
        ]
        command = [sys.executable, tmp_path / "python/build.py", "test", *tests]
        return subprocess.run(command, env=os.environ | variables, capture_output=True, text=True)

    right = go_tests()
    assert right.returncode == 0, right.stdout + right.stderr
    wrong = go_tests(GORSQRT_TOY="wrong")
    failed = re.findall(r"^ *--- FAIL: (\S+)", wrong.stdout, re.M)
    assert wrong.returncode == 1, wrong.stderr
    assert {"TestKernels/toy,_Intel_false/f64", "TestApplyOnRandomLayouts/toy"} <= set(failed)
