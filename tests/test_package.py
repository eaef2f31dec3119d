"""The package: signatures, help, pickling, types, the demo, the library that the wheel holds."""

import array
import doctest
import functools
import inspect
import os
import pickle
import pydoc
import re
import runpy
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

import gorsqrt

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.spec("1.1")
def test_signatures():
    assert str(inspect.signature(gorsqrt.rsqrt)) == "(input, *, out=None)"
    assert str(inspect.signature(gorsqrt.rsqrt_)) == "(input)"


def test_help_and_names():
    assert gorsqrt.rsqrt.__module__ == gorsqrt.rsqrt_.__module__ == "gorsqrt"
    for function in (gorsqrt.rsqrt, gorsqrt.rsqrt_, gorsqrt.show_config):
        text = pydoc.render_doc(function, renderer=pydoc.plaintext)
        for section in ("Parameters", "Returns", "Raises"):
            assert f"{section}\n" in text
    assert set(gorsqrt.__all__) <= set(dir(gorsqrt))
    assert gorsqrt.__version__ == metadata.version("gorsqrt")


def test_docstrings_run():
    runner, parser = doctest.DocTestRunner(), doctest.DocTestParser()
    for documented in (gorsqrt, gorsqrt.rsqrt, gorsqrt.rsqrt_):
        examples = parser.get_doctest(documented.__doc__, {}, documented.__name__, None, 0)
        assert examples.examples
        assert runner.run(examples).failed == 0


def test_readme_runs():
    assert doctest.testfile(str(ROOT / "README.md"), module_relative=False).failed == 0


def test_pickle():
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(gorsqrt.rsqrt, protocol)) is gorsqrt.rsqrt
        assert pickle.loads(pickle.dumps(gorsqrt.rsqrt_, protocol)) is gorsqrt.rsqrt_


def test_as_a_value():
    arrays = [array.array("d", [4.0**i]) for i in range(3)]
    assert [list(y) for y in map(gorsqrt.rsqrt, arrays)] == [[1], [0.5], [0.25]]
    out = np.zeros(1)
    into = functools.partial(gorsqrt.rsqrt, out=out)
    assert into(arrays[1]) is out
    assert out == 0.5
    normalise = lambda x: x * gorsqrt.rsqrt((x * x).sum(1, keepdims=True))  # noqa: E731
    np.testing.assert_array_equal(
        normalise(np.array([[3.0, 4], [6, 8]])), [[0.6000000000000001, 0.8], [0.6000000000000001, 0.8]]
    )


def test_show_config(capsys):
    config = gorsqrt.show_config("dicts")
    names = ["version", "tier", "tiers", "threads", "caches", "go", "gopy", "cuda_driver", "threads_from", "torch", "cache"]
    assert list(config) == names
    assert config["version"] == gorsqrt.__version__
    assert config["tier"] in config["tiers"]
    assert config["tiers"][-1] == "scalar"
    assert config["gopy"] == "0.4.10"
    assert tuple(map(int, config["go"].split(".")[:2])) >= (1, 26)
    assert gorsqrt.show_config() is None
    assert f"version     {gorsqrt.__version__}\n" in capsys.readouterr().out


@pytest.mark.spec("9.2")
def test_the_library_is_hardened():
    """Read-only relocations bound at load, canaries, no executable stack, checked copies of C."""

    def readelf(what):
        command = ["readelf", "--wide", what, gorsqrt._gorsqrt.__file__]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    dynamic, segments, symbols = readelf("--dynamic"), readelf("--segments"), readelf("--dyn-syms")
    assert re.search(r"\(FLAGS\).*\bBIND_NOW\b", dynamic)
    assert "GNU_RELRO" in segments
    assert "TEXTREL" not in dynamic
    assert re.search(r"GNU_STACK( +0x[0-9a-f]+){5} RW  ", segments)
    assert not re.search(r"LOAD( +0x[0-9a-f]+){5} RWE", segments)
    imports = re.findall(r" UND (\w+)", symbols)
    assert "__stack_chk_fail" in imports
    assert any(name.endswith("_chk") for name in imports)


def test_types():
    """The stub agrees with what is installed, and a user's strict mypy with the stub."""
    for command in (["mypy"], ["mypy.stubtest", "gorsqrt", "--ignore-missing-stub"]):
        done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_demo(capsys):
    runpy.run_module("gorsqrt", run_name="__main__")
    shown = capsys.readouterr().out
    shown, on_cuda = shown.split("5. CUDA")
    if gorsqrt.show_config("dicts")["cuda_driver"] is None:
        assert "RuntimeError: CUDA error: NVIDIA's driver could not be loaded (libcuda.so.1: " in on_cuda
    assert shown.count("[0.5, 0.25, 0.2]") == 4
    assert shown.count("[[0.6, 0.8], [0.6, 0.8]]") == 3


def test_demo_without_numpy_and_torch():
    """None in sys.modules hides both; array.array and memoryview remain."""
    hide = (
        "import runpy, sys; sys.modules['numpy'] = sys.modules['torch'] = None; runpy.run_module('gorsqrt', None, '__main__')"
    )
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", hide], capture_output=True, text=True, env=ascii_only)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("[0.5, 0.25, 0.2]") == 2
    assert "neither numpy nor torch" in done.stdout
    assert "[[0.6, 0.8], [0.6, 0.8]]" in done.stdout


FROZEN = """
import importlib.util, sys
from importlib.machinery import PathFinder
import array_api_strict
import numpy as np
import gorsqrt

for array in (np.asarray([4.0, 16.0]), array_api_strict.asarray([4.0, 16.0])):
    result = gorsqrt.rsqrt(array)
    assert type(result) is type(array) and [*map(float, result)] == [0.5, 0.25], result
assert sys.frozen
for name in sys.argv[1:]:
    path, parts = None, name.split(".")
    for depth in range(len(parts)):  # importlib.util.find_spec would import gorsqrt.torch
        path = PathFinder.find_spec(".".join(parts[: depth + 1]), path).submodule_search_locations
assert not any(map(importlib.util.find_spec, ("torch", "jax", "jaxlib")))
"""


def test_frozen(tmp_path):
    """PyInstaller finds all modules that C imports by name, and adds no library."""
    sources = "".join(path.read_text() for path in (ROOT / "python/binding").glob("*.c"))
    by_name = sorted(set(re.findall(r'PyImport_ImportModule\("(gorsqrt\.[\w.]+)"\)', sources)))
    assert by_name == ["gorsqrt._torch_door", "gorsqrt.array_api", "gorsqrt.cupy", "gorsqrt.jax", "gorsqrt.torch._calls"]
    (tmp_path / "application.py").write_text(FROZEN)
    freeze = [sys.executable, "-m", "PyInstaller", "--log-level=WARN", "application.py"]
    done = subprocess.run(freeze, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    done = subprocess.run([tmp_path / "dist/application/application", *by_name], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
