"""Contract 1 to 3: calls, containers, dtypes, out=, and the errors of wrong calls."""

import array
import ctypes
import io
import mmap
import re
import sys
import warnings
from collections import deque
from multiprocessing import shared_memory

import numpy as np
import pytest
import torch

import gorsqrt

X = np.array([4, 16, 25, 0.25], np.float64)
Y = [0.5, 0.25, 0.2, 2.0]


# 1.1, 1.2: signatures and identity.


@pytest.mark.spec("1.1", "1.2")
@pytest.mark.parametrize("make", [lambda x: x.copy(), lambda x: array.array("d", x), lambda x: memoryview(x.copy())])
def test_identity(make):
    x, out = make(X), make(X * 0 + 77)
    assert gorsqrt.rsqrt(x, out=out) is out
    assert gorsqrt.rsqrt(input=x, out=out) is out
    assert gorsqrt.rsqrt(out=out, input=x) is out
    assert list(out) == Y
    assert list(x) == list(X)
    assert gorsqrt.rsqrt(x, out=x) is x
    assert list(x) == Y
    x = make(X)
    assert gorsqrt.rsqrt_(x) is x
    assert list(x) == Y
    x = make(X)
    assert gorsqrt.rsqrt_(input=x) is x
    assert list(x) == Y


@pytest.mark.spec("1.1", "1.2")
def test_out_none_is_as_omitted_and_results_are_fresh():
    for result in (gorsqrt.rsqrt(X), gorsqrt.rsqrt(X, out=None), gorsqrt.rsqrt(input=X), gorsqrt.rsqrt(X[::2], out=None)):
        assert result is not X
        assert not np.shares_memory(result, X)
        assert result.flags.owndata
        assert result.flags.writeable


# 1.3: container in, container out.


@pytest.mark.spec("1.3")
@pytest.mark.parametrize("dtype", ["f", "d"])
def test_containers(dtype):
    values = array.array(dtype, X)
    fresh = gorsqrt.rsqrt(values)
    assert type(fresh) is array.array
    assert fresh == array.array(dtype, Y)

    ctypes_type = {"f": ctypes.c_float, "d": ctypes.c_double}[dtype] * 4
    anonymous = mmap.mmap(-1, len(values.tobytes()))
    anonymous[:] = values.tobytes()
    exporters = [
        memoryview(values),
        memoryview(values.tobytes()).cast(dtype),
        memoryview(bytearray(values.tobytes())).cast(dtype),
        memoryview(anonymous).cast(dtype),
        ctypes_type(*X),
    ]
    for exporter in exporters:
        result = gorsqrt.rsqrt(exporter)
        assert type(result) is memoryview
        assert result.format == dtype
        assert result.shape == (4,)
        assert not result.readonly
        assert result.tolist() == list(array.array(dtype, Y))
    assert list(gorsqrt.rsqrt_(exporters[-1])) == list(array.array(dtype, Y))
    gorsqrt.rsqrt_(exporters[3])
    assert anonymous[:] == array.array(dtype, Y).tobytes()


@pytest.mark.spec("1.3")
def test_shared_memory():
    block = shared_memory.SharedMemory(create=True, size=32)
    try:
        view = block.buf.cast("d")
        view[:] = array.array("d", X)
        assert gorsqrt.rsqrt_(view) is view
        assert block.buf.tobytes() == array.array("d", Y).tobytes()
        view.release()
    finally:
        block.close()
        block.unlink()


@pytest.mark.spec("1.3", "4.1")
def test_memoryview_results_keep_their_memory_and_shape():
    image = memoryview(array.array("f", [4.0] * 24)).cast("B").cast("f", (2, 3, 4))
    result = gorsqrt.rsqrt(image)
    assert result.shape == (2, 3, 4)
    assert result.strides == (48, 16, 4)
    assert result.c_contiguous
    assert np.asarray(result).ctypes.data % 64 == 0
    row = result[1:]
    del result
    assert row.tolist() == [[[0.5] * 4] * 3]
    assert gorsqrt.rsqrt(memoryview(np.array(4.0))).tolist() == 0.5
    assert gorsqrt.rsqrt(ctypes.c_double(4)).tolist() == 0.5
    assert gorsqrt.rsqrt(memoryview(np.empty((0, 3)))).shape == (0, 3)


@pytest.mark.spec("1.3", "3.4", "4.1")
@pytest.mark.parametrize(
    "view", [lambda a: a, lambda a: a.T, lambda a: a[::-1, ::2], lambda a: a[:1], lambda a: a[:0].T, lambda a: a[0, 0]]
)
@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int32])
def test_memoryviews_of_every_layout(view, dtype):
    """A memoryview is served as a numpy array of the same memory; a read-only one stays so."""
    whole = np.arange(1, 25, dtype=dtype).reshape(4, 6)
    x = np.asarray(view(whole))
    expected = gorsqrt.rsqrt(x)
    result = gorsqrt.rsqrt(memoryview(x))
    assert (type(result), result.shape) == (memoryview, x.shape)
    assert result.strides == expected.strides or x.size == 0
    assert np.asarray(result).tobytes() == expected.tobytes()
    out = np.full_like(expected, 7)
    assert type(gorsqrt.rsqrt(memoryview(x), out=memoryview(out))) is memoryview
    assert out.tobytes() == expected.tobytes()
    locked = memoryview(x).toreadonly()
    before = whole.copy()
    if dtype != np.int32:
        with pytest.raises(ValueError, match="read-only"):
            gorsqrt.rsqrt_(locked)
        assert (whole == before).all()
        view_of_x = memoryview(x)
        assert gorsqrt.rsqrt_(view_of_x) is view_of_x
        assert x.tobytes() == expected.tobytes()
    assert np.asarray(gorsqrt.rsqrt(locked)).tobytes() == gorsqrt.rsqrt(x).tobytes()


@pytest.mark.spec("1.3")
def test_numpy_scalars():
    for dtype in (np.float32, np.float64):
        result = gorsqrt.rsqrt(dtype(4))
        assert type(result) is dtype
        assert result == 0.5
    zero_d = gorsqrt.rsqrt(np.array(16.0))
    assert type(zero_d) is np.ndarray
    assert zero_d.shape == ()
    assert zero_d == 0.25
    with pytest.raises(ValueError, match=re.escape("rsqrt_(): argument 'input' is read-only")):
        gorsqrt.rsqrt_(np.float64(4))


@pytest.mark.spec("1.3")
def test_numpy_subclasses_stay_themselves():
    class Mine(np.ndarray):
        def __array_finalize__(self, other):
            self.tag = getattr(other, "tag", None)

    mine = X.view(Mine)
    mine.tag = "kept"
    for x in (mine, mine[::2]):
        result = gorsqrt.rsqrt(x)
        assert type(result) is Mine
        assert result.tag == "kept"
        np.testing.assert_array_equal(np.asarray(result), 1 / np.sqrt(np.asarray(x)))


@pytest.mark.spec("1.3")
def test_matrix_masked_and_record_arrays():
    """numpy's own subclasses: a matrix stays one, and a masked array keeps its mask.

    The values under the mask are computed too. A field of a record array is an ordinary array, and
    is written in place among the other fields.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)  # numpy's own, of the class
        assert type(gorsqrt.rsqrt(np.asmatrix([[4.0, 16.0]]))) is np.matrix
    masked = np.ma.array([4.0, -1.0, 16.0], mask=[False, True, False])
    result = gorsqrt.rsqrt(masked)
    assert type(result) is np.ma.MaskedArray
    np.testing.assert_array_equal(result.mask, masked.mask)
    np.testing.assert_array_equal(result.compressed(), [0.5, 0.25])
    assert np.isnan(result.data[1])
    result[0] = np.ma.masked
    assert not masked.mask[0]
    records = np.rec.array([(4.0, 1), (16.0, 2)], [("x", "f4"), ("n", "i4")])
    np.testing.assert_array_equal(gorsqrt.rsqrt(records.x), [0.5, 0.25])
    assert gorsqrt.rsqrt(records.n).dtype == np.float32
    gorsqrt.rsqrt_(records["x"])
    assert records.tolist() == [(0.5, 1), (0.25, 2)]
    with pytest.raises(TypeError, match="not supported"):
        gorsqrt.rsqrt(records)


@pytest.mark.spec("1.3")
def test_memmap(tmp_path):
    mapped = np.memmap(tmp_path / "x", np.float32, "w+", shape=(3,))
    mapped[:] = [4, 16, 64]
    assert type(gorsqrt.rsqrt(mapped)) is np.memmap
    gorsqrt.rsqrt_(mapped).flush()
    assert np.fromfile(tmp_path / "x", np.float32).tolist() == [0.5, 0.25, 0.125]


def test_a_scalar_type_that_lies_about_its_dtype():
    class Liar(np.float16):
        dtype = np.dtype("f8")

    assert gorsqrt.rsqrt(Liar(4)) == 0.5


class Interface:
    """An object with numpy's array interface only. `changes` replace entries, or remove them if
    None."""

    __array_interface__ = None

    def __init__(self, x, **changes):
        self.x = x
        interface = {**x.__array_interface__, **changes}
        self.__array_interface__ = {name: value for name, value in interface.items() if value is not None}


@pytest.mark.spec("1.3")
def test_array_interface():
    x = np.arange(1.0, 25).reshape(4, 6)
    for view in (x, x.T, x[::-2, 1::2], x[:0], x.astype(np.float16), x.astype("i2"), x.astype(bool), x.astype(np.complex64)):
        result = gorsqrt.rsqrt(Interface(view))
        assert type(result) is memoryview
        np.testing.assert_array_equal(np.asarray(result), gorsqrt.rsqrt(view), strict=True)
    out = np.full((4, 6), 77.0)
    wrapped = Interface(out)
    assert gorsqrt.rsqrt(x, out=wrapped) is wrapped
    np.testing.assert_array_equal(out, gorsqrt.rsqrt(x))
    assert gorsqrt.rsqrt_(wrapped) is wrapped
    block = bytearray(x.tobytes())
    assert gorsqrt.rsqrt(Interface(x, data=block)).tolist() == gorsqrt.rsqrt(x).tolist()
    gorsqrt.rsqrt_(Interface(x, data=block, shape=(2,), strides=(8,), offset=8))
    assert np.frombuffer(block)[:4].tolist() == [1, *gorsqrt.rsqrt(np.array([2.0, 3.0])), 4]
    with pytest.raises(ValueError, match="read-only"):
        gorsqrt.rsqrt_(Interface(np.broadcast_to(x, (2, 4, 6))))
    with pytest.raises(ValueError, match="read-only"):
        gorsqrt.rsqrt_(Interface(x, data=x.tobytes()))


BAD_INTERFACES = [
    ({"shape": None}, ValueError, "must have a shape and a typestr"),
    ({"typestr": None}, ValueError, "must have a shape and a typestr"),
    ({"typestr": 5}, ValueError, "must have a shape and a typestr"),
    ({"mask": np.ones(2)}, ValueError, "no mask"),
    ({"shape": [2]}, ValueError, "must be tuples"),
    ({"shape": (2,) * 65}, ValueError, "at most 64"),
    ({"shape": (-2,)}, ValueError, "a length is negative"),
    ({"shape": ("2",)}, TypeError, "int"),
    ({"strides": (8, 8)}, ValueError, "differ in length"),
    ({"typestr": ">f8"}, TypeError, "has dtype >f8, which is not supported"),
    ({"typestr": "<f16"}, TypeError, "has dtype <f16, which is not supported"),
    ({"typestr": "|V8"}, TypeError, "has dtype |V8, which is not supported"),
    ({"typestr": "<M8[s]"}, TypeError, "has dtype <M8[s], which is not supported"),
    ({"typestr": "f"}, TypeError, "has dtype f, which is not supported"),
    ({"data": bytearray(15)}, ValueError, "reach beyond the buffer"),
    ({"data": bytearray(16), "strides": (-8,)}, ValueError, "reach beyond the buffer"),
    ({"data": bytearray(16), "offset": 8}, ValueError, "reach beyond the buffer"),
    ({"data": bytearray(64), "shape": (5,), "strides": (2**62,)}, ValueError, "shape and strides are too large"),
    ({"data": bytearray(64), "shape": (), "strides": None, "offset": 2**63 - 1}, ValueError, "reach beyond the buffer"),
    ({"data": bytearray(64), "offset": -8}, ValueError, "reach beyond the buffer"),
    ({"strides": None, "shape": (2**40, 2**40)}, ValueError, "the shape is too large"),
    ({"strides": (0, 0), "shape": (2**32, 2**32)}, ValueError, "shape and strides are too large"),
    ({"strides": (2**61,), "shape": (9,)}, ValueError, "shape and strides are too large"),
    ({"data": (0, False)}, ValueError, "data is NULL"),
    ({"data": (8, False)}, ValueError, "data can't be the address of this many items"),
    ({"data": (2**64 - 8, False)}, ValueError, "data can't be the address of this many items"),
    ({"data": (2**13, False), "strides": (-(2**13),)}, ValueError, "data can't be the address of this many items"),
    ({"typestr": "<f8\0"}, TypeError, "not supported"),
    ({"typestr": "<f 8"}, TypeError, "not supported"),
    ({"data": None}, ValueError, "data must be an address and a flag, or a buffer"),
    ({"data": "text"}, ValueError, "data must be an address and a flag, or a buffer"),
    ({"data": ("text", False)}, TypeError, "int"),
]


@pytest.mark.spec("1.4", "3.6")
@pytest.mark.parametrize(("changes", "error", "text"), BAD_INTERFACES)
def test_bad_array_interfaces(changes, error, text):
    x = np.array([4.0, 16.0])
    bad, out = Interface(x, **changes), np.full(2, 77.0)
    with pytest.raises(error, match=re.escape(text)):
        gorsqrt.rsqrt(bad, out=out)
    with pytest.raises(error, match=re.escape(text)):
        gorsqrt.rsqrt_(bad)
    assert (out == 77).all()
    assert x.tolist() == [4, 16]


def test_an_array_interface_that_changes_while_it_is_read():
    """Somebody's __index__ empties the dict: what is read from it stays alive."""
    x = np.array([4.0, 16.0, 64.0])
    bad = Interface(x)

    class Length:
        def __index__(self):
            bad.__array_interface__.clear()
            return 3

    bad.__array_interface__.update(shape=(Length(),), strides=tuple([8]))
    assert gorsqrt.rsqrt(bad).tolist() == [0.5, 0.25, 0.125]


def test_a_class_with_an_array_interface_is_no_array():
    with pytest.raises(TypeError, match="must be an array"):
        gorsqrt.rsqrt(Interface)


def test_results_of_memoryview_serve_other_consumers():
    """The object behind a memoryview is a buffer too, and refuses consumers that it can't serve."""
    flat = gorsqrt.rsqrt(memoryview(np.ones((2, 3))))
    assert bytes(flat.obj) == np.ones(6).tobytes()
    turned = gorsqrt.rsqrt(memoryview(np.ones((2, 3)).T))
    assert turned.f_contiguous
    with pytest.raises(BufferError, match="not contiguous in C order"):
        io.BytesIO().write(turned.obj)
    view, get = (ctypes.c_char * 128)(), ctypes.pythonapi.PyObject_GetBuffer
    get.argtypes = ctypes.py_object, ctypes.c_void_p, ctypes.c_int
    c_order, f_order, any_order = 0x38, 0x58, 0x98
    mixed = gorsqrt.rsqrt(memoryview(np.ones((2, 3, 4)).transpose(1, 0, 2)))
    for memory, flags in ((turned, c_order), (flat, f_order), (mixed, any_order)):
        with pytest.raises(BufferError, match="not contiguous"):
            get(memory.obj, view, flags)


@pytest.mark.spec("2.4", "3.1")
def test_out_may_be_another_container_and_another_float():
    out = array.array("f", [77] * 4)
    assert gorsqrt.rsqrt(X, out=out) is out
    assert out == array.array("f", Y)
    block = bytearray(64)
    strided = memoryview(block).cast("d")[::2]
    assert gorsqrt.rsqrt(array.array("d", X), out=strided) is strided
    assert strided.tolist() == Y
    assert memoryview(block).cast("d")[1::2].tolist() == [0] * 4


# 1.4, 1.5: arguments, in torch's order and words.

BAD_CALLS = [  # over (f, a, b): the function and two arrays, or two tensors for torch
    "f()",
    "f(a, b)",
    "f(a, b, a)",
    "f(5, b)",
    "f(a, b, foo=1)",
    "f(foo=1)",
    "f(out=a)",
    "f(out=5)",
    "f(a, foo=1)",
    "f(a, foo=1, bar=2)",
    "f(a, input=b)",
    "f(a, foo=1, input=b)",
    "f(a, input=b, foo=1)",
    "f(5)",
    "f(5, foo=1)",
    "f(5, out=5)",
    "f(5, input=5)",
    "f(4.0)",
    "f(None)",
    "f('text')",
    "f([4.0])",
    "f((4.0,))",
    "f({})",
    "f(deque([4.0]))",
    "f(1j)",
    "f(True)",
    "f(input=5)",
    "f(input=None, foo=1)",
    "f(a, out=5)",
    "f(a, out=[1.0])",
    "f(a, out=(a,))",
    "f(a, out='text', foo=1)",
    "f(a, out=a, foo=1)",
    "f(a, out=b, input=a)",
]


@pytest.mark.spec("1.4", "1.5", "3.6")
@pytest.mark.parametrize("name", ["rsqrt", "rsqrt_"])
@pytest.mark.parametrize("call", BAD_CALLS)
def test_bad_calls_get_torchs_words(name, call):
    x, y = X.copy(), X.copy()
    with pytest.raises(TypeError) as theirs:
        eval(call, {"f": getattr(torch, name), "a": torch.from_numpy(x), "b": torch.from_numpy(y), "deque": deque})
    with pytest.raises(TypeError) as ours:
        eval(call, {"f": getattr(gorsqrt, name), "a": x, "b": y, "deque": deque})
    words = (
        str(theirs.value)
        .splitlines()[0]
        .replace("must be Tensor", "must be an array (buffer protocol, DLPack or array interface)")
    )
    assert str(ours.value) == words
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(y, X)


def test_a_type_that_can_not_be_named():
    class Meta(type):
        @property
        def __module__(cls):
            raise ZeroDivisionError("no name")

    with pytest.raises(ZeroDivisionError, match="no name"):
        gorsqrt.rsqrt(Meta("Nameless", (), {})())


@pytest.mark.spec("1.4")
def test_types_are_named_with_their_module():
    class Local:
        pass

    name = f"{__name__}.test_types_are_named_with_their_module.<locals>.Local"
    with pytest.raises(TypeError, match=re.escape(f"not {name}")):
        gorsqrt.rsqrt(Local())


# 2.7: dtypes that have no kernel.

SUPPORTED = (
    "float16, bfloat16, float32, float64, complex64, complex128, "
    "bool, int8, uint8, int16, uint16, int32, uint32, int64 and uint64"
)
UNSUPPORTED = [
    (np.ones(3, ">f4"), ">f4"),
    (np.ones(3, ">f8"), ">f8"),
    (np.ones(3, np.longdouble), "float128"),
    (np.array(["a"]), "<U1"),
    (np.array([b"a"]), "|S1"),
    (np.array([None]), "object"),
    (np.zeros(3, "M8[s]"), "datetime64[s]"),
    (np.zeros(3, [("a", "f4")]), "[('a', '<f4')]"),
    (np.datetime64(0, "s"), "datetime64[s]"),
    (memoryview(b"abcd").cast("c"), "c"),
    ((ctypes.c_float.__ctype_be__ * 3)(), ">f"),
    ((ctypes.c_int16.__ctype_be__ * 3)(), ">h"),
    (np.ones(3, ">i2"), ">i2"),
    (np.ones(3, ">c8"), ">c8"),
    (np.ones(3, np.clongdouble), "complex256"),
    (np.longdouble(3), "float128"),
    (np.zeros(3, "V4"), "|V4"),
    (np.zeros(3, "m8[s]"), "timedelta64[s]"),
    (np.bytes_(b"abc"), "|S3"),
    (array.array("w" if sys.version_info >= (3, 13) else "u", "abc"), "w"),
]


@pytest.mark.spec("2.7", "3.6")
@pytest.mark.parametrize(("x", "name"), UNSUPPORTED, ids=[f"{type(x).__name__}-{name}" for x, name in UNSUPPORTED])
def test_unsupported_dtypes_are_named(x, name):
    before = bytes(memoryview(x).cast("B")) if not isinstance(x, np.ndarray | np.generic) else x.tobytes()
    text = f"argument '%s' has dtype {name}, which is not supported; supported are {SUPPORTED}"
    with pytest.raises(TypeError) as caught:
        gorsqrt.rsqrt(x)
    assert str(caught.value) == "rsqrt(): " + text % "input"
    with pytest.raises(TypeError) as caught:
        gorsqrt.rsqrt_(x)
    assert str(caught.value) == "rsqrt_(): " + text % "input"
    with pytest.raises(TypeError) as caught:
        gorsqrt.rsqrt(X, out=x)
    assert str(caught.value) == "rsqrt(): " + text % "out"
    out = X.copy()
    with pytest.raises(TypeError):
        gorsqrt.rsqrt(x, out=out)
    np.testing.assert_array_equal(out, X)
    assert before == (bytes(memoryview(x).cast("B")) if not isinstance(x, np.ndarray | np.generic) else x.tobytes())


@pytest.mark.spec("2.9")
def test_formats():
    """Floating-point formats: native prefixes are accepted, foreign order is not."""
    native = memoryview(X.copy())
    for view in (native, native.cast("B").cast("@d"), memoryview((ctypes.c_double * 4)(*X))):
        assert gorsqrt.rsqrt(view).tolist() == Y
    assert [v.format for v in (native.cast("B").cast("@d"), memoryview((ctypes.c_double * 4)(*X)))] == ["@d", "<d"]


# 3: out=.


@pytest.mark.spec("3.3", "3.6")
@pytest.mark.parametrize("shape", [(3,), (5,), (4, 1), (1, 4), (2, 2), (), (0,)])
def test_out_of_another_shape(shape):
    out = np.full(shape, 77.0)
    with pytest.raises(RuntimeError) as caught:
        gorsqrt.rsqrt(X, out=out)
    assert str(caught.value) == (
        f"rsqrt(): argument 'out' has shape {list(shape)}, which does not match the required output shape [4]; "
        "this container cannot be resized"
    )
    assert (out == 77).all()


@pytest.mark.spec("3.6")
def test_order_of_refusals():
    """TypeError, overlap, cast, resize, as torch where torch sees it; and nothing is written."""
    memory = np.arange(1.0, 9)
    x, shifted, integers = memory[:4], memory[1:5], np.ones(3, np.int64)
    with pytest.raises(TypeError, match="has dtype float128"):
        gorsqrt.rsqrt(np.ones(4, np.longdouble), out=np.broadcast_to(x, (2, 4)))
    with pytest.raises(RuntimeError, match="some elements of the input tensor"):
        gorsqrt.rsqrt(x, out=memory[1:4])
    with pytest.raises(RuntimeError, match="some elements of the input tensor"):
        gorsqrt.rsqrt(x, out=shifted.view(np.int64))
    with pytest.raises(RuntimeError, match="can't be cast to the desired output type Long"):
        gorsqrt.rsqrt(x, out=integers)
    with pytest.raises(RuntimeError, match="can't be cast to the desired output type Long"):
        torch.rsqrt(torch.from_numpy(x), out=torch.from_numpy(integers))
    with pytest.raises(RuntimeError, match="does not match the required output shape"):
        gorsqrt.rsqrt(x, out=np.ones(3))
    assert memory.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert (integers == 1).all()


READ_ONLY = [
    lambda: np.broadcast_to(X, (1, 4))[0],
    lambda: memoryview(X.tobytes()).cast("d"),
    lambda: memoryview(X.copy()).toreadonly(),
]


@pytest.mark.spec("3.4", "3.6")
@pytest.mark.parametrize("make", READ_ONLY)
def test_read_only_destinations(make):
    out = make()
    assert out.readonly if isinstance(out, memoryview) else not out.flags.writeable
    with pytest.raises(ValueError, match=re.escape("rsqrt(): argument 'out' is read-only; a writable array is needed")):
        gorsqrt.rsqrt(X, out=out)
    with pytest.raises(ValueError, match=re.escape("rsqrt(): argument 'out' is read-only; a writable array is needed")):
        gorsqrt.rsqrt(out, out=out)
    with pytest.raises(ValueError, match=re.escape("rsqrt_(): argument 'input' is read-only; a writable array is needed")):
        gorsqrt.rsqrt_(out)
    assert list(out) == list(X)
    np.testing.assert_array_equal(gorsqrt.rsqrt(out), Y)  # as an input it is as good as any


def test_released_memoryview():
    view = memoryview(bytearray(8)).cast("d")
    view.release()
    with pytest.raises(ValueError, match="released memoryview"):
        gorsqrt.rsqrt(view)


def test_array_array_is_held_and_given_back():
    x = array.array("d", X)
    gorsqrt.rsqrt_(x)
    gorsqrt.rsqrt(x, out=x)
    gorsqrt.rsqrt(x)
    with pytest.raises(RuntimeError):
        gorsqrt.rsqrt(x, out=array.array("d", [1]))
    x.append(1.0)  # refused by array.array while somebody holds its buffer
    assert len(x) == 5


class OnDevice:
    """What a CUDA array shows of itself."""

    __cuda_array_interface__ = {"shape": (3,), "typestr": "<f4", "data": (4096, False), "version": 3}  # noqa: RUF012


@pytest.mark.spec("3.5", "3.6")
def test_two_devices():
    """In torch's words."""
    text = "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"
    out = np.full(3, 77, np.float32)
    with pytest.raises(RuntimeError) as caught:
        gorsqrt.rsqrt(OnDevice(), out=out)
    assert str(caught.value) == text
    with pytest.raises(RuntimeError) as caught:
        gorsqrt.rsqrt(out, out=OnDevice())
    assert str(caught.value) == text
    assert (out == 77).all()


@pytest.mark.spec("8.5")
def test_a_cuda_array_that_is_none_is_refused_in_one_sentence():
    """By a driver that does not know the memory, or for want of one."""
    with pytest.raises(RuntimeError, match=r"^CUDA error: [^\n]+$"):
        gorsqrt.rsqrt_(OnDevice())
    with pytest.raises(RuntimeError, match=r"^CUDA error: [^\n]+$"):
        gorsqrt.rsqrt(OnDevice(), out=OnDevice())
    with pytest.raises(RuntimeError, match=r"^CUDA error: [^\n]+$"):
        gorsqrt.rsqrt(OnDevice())
