"""Contract 9.2: objects with wrong descriptions, objects that change while they are read, and
memory that runs out are exceptions, and nothing is written."""

import ctypes
import os
import subprocess
import sys
import types
from pathlib import Path
from textwrap import dedent

import array_api_strict as xp
import numpy as np
import pytest
from buffer_exporter import exporter_type, getbuffer, releasebuffer

import gorsqrt

X = np.array([1.0, 4.0, 16.0, 64.0])
Y = [1.0, 0.5, 0.25, 0.125]


def python(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", dedent(code)], env={**os.environ, **environment}, cwd=Path(__file__).parent, capture_output=True
    )
    assert done.returncode == 0, (done.returncode, done.stderr.decode()[-2000:])
    return done.stdout.decode().split()


# Buffers, whose exporter is C.


LIES = {}  # what the next view has that is not so
GIVEN, RELEASED = [], []
KEPT = []


@getbuffer
def get_buffer(exporter, view, flags):
    lengths, steps = (ctypes.c_ssize_t * 1)(4), (ctypes.c_ssize_t * 1)(8)
    KEPT.extend((lengths, steps))
    fields = {
        "buf": X.ctypes.data, "len": 32, "itemsize": 8, "readonly": 0, "ndim": 1, "format": b"d", "suboffsets": None,
        "shape": ctypes.addressof(lengths), "strides": ctypes.addressof(steps), "internal": None, **LIES,
    }  # fmt: skip
    for name, value in fields.items():
        if isinstance(value, tuple):
            KEPT.append((ctypes.c_ssize_t * len(value))(*value))
            value = ctypes.addressof(KEPT[-1])
        setattr(view[0], name, value)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(exporter))
    view[0].obj = id(exporter)
    GIVEN.append(1)
    return 0


@releasebuffer
def release_buffer(exporter, view):
    RELEASED.append(1)


EXPORTER = exporter_type(b"test_lies.Exporter", get_buffer, release_buffer)()
BAD_VIEWS = [
    ({"len": 64}, BufferError, "its length does not match its items"),
    ({"len": 8}, BufferError, "its length does not match its items"),
    ({"len": -1}, BufferError, "its length does not match its items"),
    ({"shape": (5,)}, BufferError, "its length does not match its items"),
    ({"shape": (-4,)}, BufferError, "a length is negative"),
    ({"buf": None}, BufferError, "data is NULL"),
    ({"buf": 8}, BufferError, "data can't be the address"),
    ({"buf": 2**64 - 8}, BufferError, "data can't be the address"),
    ({"shape": (2**61,), "len": 0}, BufferError, "too large"),
    ({"ndim": 2, "shape": (2**32, 2**32), "strides": (0, 0), "len": 0}, BufferError, "too large"),
    ({"strides": (2**62,)}, BufferError, "too large"),
    ({"suboffsets": (0,)}, BufferError, "suboffsets that were not requested"),
    ({"ndim": -1}, BufferError, "no shape"),
    ({"shape": None}, BufferError, "no shape"),
    ({"ndim": 65, "shape": None, "strides": None}, BufferError, "no shape"),
    ({"ndim": 65, "shape": (1,) * 65, "strides": None}, RuntimeError, "at most 64"),
    ({"ndim": 2, "shape": (2**32, 2**32), "strides": None}, ValueError, "too large"),
    ({"itemsize": 4}, TypeError, "has dtype d, which is not supported"),
    ({"itemsize": 0}, TypeError, "has dtype d, which is not supported"),
    ({"itemsize": -8}, TypeError, "has dtype d, which is not supported"),
    ({"format": None}, TypeError, "has dtype B, which is not supported"),
]


@pytest.mark.spec("3.6", "9.2")
@pytest.mark.parametrize(("lies", "error", "text"), BAD_VIEWS)
def test_exporters(monkeypatch, lies, error, text):
    x, out = X.tolist(), np.full(4, 77.0)
    assert gorsqrt.rsqrt(EXPORTER).tolist() == Y
    for name, value in lies.items():
        monkeypatch.setitem(LIES, name, value)
    GIVEN.clear()
    RELEASED.clear()
    calls = (
        lambda: gorsqrt.rsqrt(EXPORTER),
        lambda: gorsqrt.rsqrt_(EXPORTER),
        lambda: gorsqrt.rsqrt(EXPORTER, out=out),
        lambda: gorsqrt.rsqrt(out, out=EXPORTER),
    )
    for call in calls:
        with pytest.raises(error, match=text):
            call()
    assert len(RELEASED) == len(GIVEN) >= len(calls)
    assert X.tolist() == x
    assert (out == 77).all()


@pytest.mark.spec("3.6", "9.2")
@pytest.mark.parametrize(("lies", "error", "text"), BAD_VIEWS[:6])
def test_memoryviews_of_exporters(monkeypatch, lies, error, text):
    """A memoryview repeats what it was told, and knows no better."""
    x, out = X.tolist(), np.full(4, 77.0)
    for name, value in lies.items():
        monkeypatch.setitem(LIES, name, value)
    view = memoryview(EXPORTER)
    for call in (
        lambda: gorsqrt.rsqrt(view),
        lambda: gorsqrt.rsqrt_(view),
        lambda: gorsqrt.rsqrt(view, out=out),
        lambda: gorsqrt.rsqrt(out, out=view),
    ):
        with pytest.raises(error, match=text):
            call()
    assert X.tolist() == x
    assert (out == 77).all()


# Classes in the place of others.


@pytest.mark.spec("1.3", "9.2")
def test_a_subclass_in_the_place_of_array_array():
    """Its own `*` is not asked: results are of the class that C has made."""
    assert python("""
        import array
        import gorsqrt
        real = array.array
        class Wrapped(real):
            def __mul__(self, n):
                return Wrapped(self.typecode, [1.0])
        array.array = Wrapped
        for x in (Wrapped("d", [4.0] * 100_000), real("d", [4.0] * 100_000), Wrapped("i", [4] * 100_000)):
            y = gorsqrt.rsqrt(x)
            assert type(y) is real and len(y) == 100_000 and set(y) == {0.5}
            gorsqrt.rsqrt(x, out=y)
        print("done")
    """) == ["done"]


@pytest.mark.spec("9.2")
def test_somebodys_own_array_module(monkeypatch):
    own = type("array", (bytearray,), {"typecode": "B"})
    monkeypatch.setitem(sys.modules, "array", types.SimpleNamespace(array=own))
    for x in (own([1, 4]), bytearray([1, 4])):
        assert gorsqrt.rsqrt(x).tolist() == [1, 0.5]


def shorter(exporter, n):
    LIES.update(len=8, shape=(1,))
    return exporter


def flat(exporter, n):
    LIES.update(format=b"q")
    return exporter


@pytest.mark.spec("9.2")
@pytest.mark.parametrize(
    "times", [shorter, flat, lambda exporter, n: np.ones(n), lambda exporter, n: memoryview(bytearray(8 * n)).cast("d")]
)
def test_what_repeating_an_array_answers(monkeypatch, times):
    """A class of C's with a type code, in a module called array: its `*` must give the right
    array."""
    kind = type(EXPORTER)
    for name, value in {"typecode": "d", "__init__": lambda *_: None, "__getitem__": lambda *_: 0, "__mul__": times}.items():
        monkeypatch.setattr(kind, name, value, raising=False)
    monkeypatch.setitem(sys.modules, "array", types.SimpleNamespace(array=kind))
    before = X.tolist()
    try:
        with pytest.raises(TypeError, match=r"times 4 is not an array of this many items; pass out"):
            gorsqrt.rsqrt(EXPORTER)
    finally:
        LIES.clear()
    assert X.tolist() == before


@pytest.mark.spec("9.2")
def test_array_finalize_that_changes_the_result():
    class Grows(np.ndarray):
        def __array_finalize__(self, other):
            if isinstance(other, Grows) and how == "resize":
                self.resize(0, refcheck=False)
            elif isinstance(other, Grows):
                self.dtype = how

    for how in ("resize", "i8", "f4"):  # noqa: B007
        x = np.full(4, 4.0).view(Grows)
        with pytest.raises(
            TypeError, match=r"__array_finalize__ of .*Grows.* changes a result's shape, strides or dtype; pass out"
        ):
            gorsqrt.rsqrt(x)
        out = np.empty(4)
        assert gorsqrt.rsqrt(x, out=out) is out
        assert (out == 0.5).all()


@pytest.mark.spec("3.6", "9.2")
def test_the_other_argument_changes_meanwhile():
    """Code of one argument changes the other: the call uses the other as it was when it was
    read."""

    class Changes:
        def __init__(self, x, change):
            self.x, self.change = x, change

        def __dlpack_device__(self):
            return self.x.__dlpack_device__()

        def __dlpack__(self, **wishes):
            self.change()
            return self.x.__dlpack__(**wishes)

    class Interface(Changes):
        __dlpack__ = __dlpack_device__ = property()

        @property
        def __array_interface__(self):
            self.change()
            return self.x.__array_interface__

    class Namespaced(Changes):
        def __array_namespace__(self):
            return xp

    def churn(out):
        out.shape = (1, 2, 1, 1, 2)
        KEPT.extend(np.empty((7,) * 5) for _ in range(3))  # where the old shape was

    for kind in (Changes, Interface, Namespaced):
        for before in (np.empty((2, 2)).T, np.empty((2, 2), np.float32).T):
            out = before
            result = gorsqrt.rsqrt(kind(X.reshape(2, 2), lambda out=out: churn(out)), out=out)
            assert result is out
            np.testing.assert_array_equal(out.reshape(2, 2), [Y[:2], Y[2:]])


# When memory runs out.


@pytest.mark.spec("9.2")
def test_one_allocation_fails():
    """Any of Python's allocations fails: a MemoryError or the right result.

    Nothing is written to memory that was given back: here such memory is unmapped.
    """
    calls = [
        "memoryview(whole)", "memoryview(whole)[::2]", "whole", "(ctypes.c_int * n).from_buffer(whole)", "Interface()",
        "tensor", "strict", "sub", "doubles", "integers", "transposed",
    ]  # fmt: skip
    assert python(
        f"""
        import array, ctypes
        import numpy as np, torch, array_api_strict as xp
        from _testcapi import remove_mem_hooks, set_nomemory
        from gorsqrt import rsqrt
        n = 1 << 14
        whole, doubles, integers = bytearray(b"\\4\\0\\0\\0") * n, array.array("d", [4.0]) * n, array.array("i", [4]) * n
        class Interface:
            __array_interface__ = np.full((n, 2), 4.0, "f4").T.__array_interface__ | {{"data": bytes(8 * n)}}
        class Sub(np.ndarray):
            pass
        tensor, strict = torch.full((n, 2), 4.0).T, xp.asarray(np.full(n, 4.0))
        sub, transposed = np.full(n, 4.0).view(Sub), np.full((n, 2), 4.0).T
        for name in {calls}:
            call = eval(f"lambda: rsqrt({{name}})")
            right = np.asarray(call()).copy()
            for start in range(120):
                set_nomemory(start, start + 1)
                try:
                    result = call()
                except MemoryError:
                    result = None
                finally:
                    remove_mem_hooks()
                assert result is None or (np.asarray(result) == right).all(), (name, start)
            assert (np.asarray(call()) == right).all(), name
            print("done")
        """,
        MALLOC_MMAP_THRESHOLD_="4096",
    ) == ["done"] * len(calls)
