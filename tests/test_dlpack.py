"""Contract 1 to 5 and 8 for arrays of the DLPack protocol: who owns the memory, what may be
written, and producers that break the protocol."""

import array
import contextlib
import ctypes
import gc
import itertools
import re
import resource
import sys
import threading
import types

import array_api_strict as xp
import ml_dtypes
import numpy as np
import pytest
import torch
from dlpack_producer import BACK, DELETER, NAMES, OUT, TWICE, WRONG_NAMES, Producer, Unversioned, delete
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided
from test_calls import SUPPORTED, Interface
from test_dtypes import BF16, COMPLEX, INTEGER, REAL, bits, ids
from test_layouts import OVERLAP, SELF_OVERLAP, views
from test_process import python

import gorsqrt

X = np.array([4, 16, 25, 0.25])
Y = [0.5, 0.25, 0.2, 2.0]


@pytest.fixture(autouse=True)
def every_tensor_comes_back_once():
    OUT.clear()
    BACK.clear()
    TWICE.clear()
    yield
    gc.collect()
    assert not OUT, "a deleter was not called"
    assert not TWICE, "a deleter was called twice"


def both(x):
    return Producer(x), Producer(x, versioned=False), Producer(x, versioned=False, old=True)


# 1.3: containers.


@pytest.mark.spec("1.3", "2.1", "2.2")
@pytest.mark.parametrize("dtype", REAL[:3] + COMPLEX + INTEGER, ids=ids)
def test_a_producer_without_a_namespace_gives_a_memoryview(dtype):
    x = np.arange(1, 25).reshape(4, 6).astype(dtype)
    for producer in both(x):
        result = gorsqrt.rsqrt(producer)
        assert type(result) is memoryview
        np.testing.assert_array_equal(bits(np.asarray(result)), bits(gorsqrt.rsqrt(x)))
        assert np.asarray(result).dtype == gorsqrt.rsqrt(x).dtype
    assert len(BACK) == 3


@pytest.mark.spec("1.3", "2.1")
def test_bfloat16():
    x = np.array([4, 16, 25], BF16)
    out = np.zeros(3, BF16)
    np.testing.assert_array_equal(gorsqrt.rsqrt(Producer(x), out=out), gorsqrt.rsqrt(x))
    assert gorsqrt.rsqrt_(producer := Producer(x)) is producer
    np.testing.assert_array_equal(x, out)
    with pytest.raises(TypeError, match="a memoryview can't have dtype bfloat16"):
        gorsqrt.rsqrt(Producer(x))


@pytest.mark.spec("1.1", "1.2", "1.3")
@pytest.mark.parametrize("dtype", [xp.float32, xp.float64, xp.complex64, xp.complex128])
@pytest.mark.parametrize("device", ["CPU_DEVICE", "device1"])
def test_array_api_strict(dtype, device):
    x = xp.asarray([[4, 16, 25], [1, 64, 100]], dtype=dtype, device=xp.Device(device))
    want = gorsqrt.rsqrt(np.asarray(np.from_dlpack(x)))
    for view in (x, x.T, x[:, ::-1], x[1, :], x[:0, :], x[0, 0]):
        result = gorsqrt.rsqrt(view)
        assert type(result) is type(x)
        assert (result.dtype, result.shape, result.device) == (view.dtype, view.shape, view.device)
        np.testing.assert_array_equal(np.from_dlpack(result), gorsqrt.rsqrt(np.from_dlpack(view)))
    result[()] = 7  # it is an ordinary array, and writable
    out = xp.zeros_like(x)
    assert gorsqrt.rsqrt(x, out=out) is out
    np.testing.assert_array_equal(np.from_dlpack(out), want)
    assert gorsqrt.rsqrt(x, out=None).dtype == dtype
    assert gorsqrt.rsqrt_(x) is x
    np.testing.assert_array_equal(np.from_dlpack(x), want)


@pytest.mark.spec("1.3", "2.2", "2.5")
def test_array_api_strict_integers():
    x = xp.asarray([4, 16], dtype=xp.int64)
    assert gorsqrt.rsqrt(x).dtype == xp.float32
    assert gorsqrt.rsqrt(xp.asarray([True])).dtype == xp.float32
    with pytest.raises(RuntimeError, match="result type Float can't be cast to the desired output type Long"):
        gorsqrt.rsqrt_(x)


@pytest.mark.spec("1.3")
def test_older_versions_of_the_standard():
    """They know no max_version, and so nothing of what may be written."""
    try:
        xp.set_array_api_strict_flags(api_version="2022.12")
        x = xp.asarray([4.0, 16.0])
        assert float(gorsqrt.rsqrt(x)[1]) == 0.25
        with pytest.raises(ValueError, match=re.escape("is read-only, since DLPack before version 1.0")):
            gorsqrt.rsqrt_(x)
    finally:
        xp.reset_array_api_strict_flags()


class Namespaced(Producer):
    """A library of arrays whose namespace has asarray only."""

    def __array_namespace__(self):
        return types.SimpleNamespace(asarray=lambda x: Namespaced(np.asarray(x)))


@pytest.mark.spec("1.3")
def test_a_namespace_without_from_dlpack():
    result = gorsqrt.rsqrt(Namespaced(X))
    assert type(result) is Namespaced
    assert result.x.tolist() == Y


@pytest.mark.spec("1.3")
def test_a_namespace_that_fails():
    class Failing(Producer):
        def __array_namespace__(self):
            raise ZeroDivisionError("namespace")

    with pytest.raises(ZeroDivisionError, match="namespace"):
        gorsqrt.rsqrt(Failing(X))


@pytest.mark.spec("1.3")
def test_other_protocols_come_first_where_there_is_no_namespace():
    """ctypes' buffers have no strides to lose, and an interface needs no deleter."""

    class Both(Producer):
        @property
        def __array_interface__(self):
            return self.x.__array_interface__

    producer = Both(X.copy())
    assert gorsqrt.rsqrt(producer).tolist() == Y
    assert producer.asked == []


@pytest.mark.spec("1.4")
def test_what_is_no_array():
    class OfTheObject:
        def __getattr__(self, name):
            return 5

    for bad in (Producer, OfTheObject()):
        with pytest.raises(TypeError, match=re.escape("must be an array (buffer protocol, DLPack or array interface)")):
            gorsqrt.rsqrt(bad)


# The protocol: versions, wishes, flags.


@pytest.mark.spec("1.2", "3.4")
def test_what_a_producer_is_asked_for():
    x, out = Producer(X), Producer(X.copy())
    gorsqrt.rsqrt(x, out=out)
    assert x.asked == [{"max_version": (1, 3)}]
    assert out.asked == [{"max_version": (1, 3), "copy": False}]
    old = Producer(X, versioned=False, old=True)
    gorsqrt.rsqrt(old)
    assert old.asked == [{"max_version": (1, 3)}, {}]


@pytest.mark.spec("1.1", "1.2", "3.1")
def test_out_and_in_place():
    x = X.copy()
    producer, out = Producer(x), Producer(np.zeros(4))
    assert gorsqrt.rsqrt(producer, out=out) is out
    assert out.x.tolist() == Y
    target = array.array("f", bytes(16))
    assert gorsqrt.rsqrt(producer, out=target) is target
    assert target == array.array("f", Y)
    assert gorsqrt.rsqrt(X, out=out) is out
    assert gorsqrt.rsqrt(producer, out=producer) is producer
    assert x.tolist() == Y
    strided = np.full(8, 77.0)
    gorsqrt.rsqrt(X, out=Producer(strided[::2]))
    assert strided[::2].tolist() == Y
    assert (strided[1::2] == 77).all()
    assert gorsqrt.rsqrt_(producer) is producer


@pytest.mark.spec("1.3", "2.4", "5.3")
def test_beside_torch():
    """A tensor on one side, any DLPack on the other, of the same memory too."""
    tensor, out = torch.tensor([4.0, 16.0]), np.zeros(2, np.float32)
    producer = Producer(out)
    assert gorsqrt.rsqrt(tensor, out=producer) is producer
    assert out.tolist() == [0.5, 0.25]
    assert gorsqrt.rsqrt(Producer(X[:2]), out=tensor) is tensor
    assert tensor.tolist() == [0.5, 0.25]
    with pytest.raises(RuntimeError, match=OVERLAP):
        gorsqrt.rsqrt(tensor[:1], out=Producer(tensor.numpy()))


READ_ONLY = [
    ({"flags": 1}, "is read-only; a writable array is needed"),
    ({"flags": 2}, "is read-only, since its __dlpack__ gives a copy; a writable array is needed"),
    ({"flags": 3}, "is read-only; a writable array is needed"),
    ({"versioned": False}, "is read-only, since DLPack before version 1.0 does not say that it is writable; a writable array"),
]


@pytest.mark.spec("3.4", "3.6")
@pytest.mark.parametrize(("how", "text"), READ_ONLY)
def test_read_only(how, text):
    x = X.copy()
    frozen = Producer(x, **how)
    with pytest.raises(ValueError, match=re.escape("rsqrt(): argument 'out' " + text)):
        gorsqrt.rsqrt(X, out=frozen)
    with pytest.raises(ValueError, match=re.escape("rsqrt_(): argument 'input' " + text)):
        gorsqrt.rsqrt_(frozen)
    assert x.tolist() == X.tolist()
    assert gorsqrt.rsqrt(frozen).tolist() == Y
    broadcast = xp.broadcast_to(xp.asarray([4.0]), (3,))
    with pytest.raises(ValueError, match="is read-only"):
        gorsqrt.rsqrt_(broadcast)


@pytest.mark.spec("3.3")
def test_out_of_another_shape():
    out = np.full(3, 77.0)
    with pytest.raises(RuntimeError, match=re.escape("argument 'out' has shape [3], which does not match the required output")):
        gorsqrt.rsqrt(Producer(X), out=Producer(out))
    assert (out == 77).all()


# 2.7: element types.

TYPES = [
    ({"code": 2, "bits": 128}, "float128"),
    ({"code": 2, "bits": 8}, "float8"),
    ({"code": 2, "bits": 33}, "float33"),
    ({"code": 0, "bits": 4}, "int4"),
    ({"code": 1, "bits": 0}, "uint0"),
    ({"code": 3}, "opaque64"),
    ({"code": 4, "bits": 32}, "bfloat32"),
    ({"code": 5, "bits": 32}, "complex32"),
    ({"code": 6, "bits": 1}, "bool1"),
    ({"code": 6, "bits": 16}, "bool16"),
    ({"code": 10, "bits": 8}, "float8_e4m3fn"),
    ({"code": 17, "bits": 4}, "float4_e2m1fn"),
    ({"code": 18, "bits": 8}, "code 18 of 8 bits"),
    ({"code": 255, "bits": 255}, "code 255 of 255 bits"),
    ({"lanes": 4}, "float64x4"),
    ({"lanes": 0}, "float64x0"),
    ({"lanes": 65535, "code": 200}, "code 200 of 64 bitsx65535"),
]


@pytest.mark.spec("2.7", "3.6")
@pytest.mark.parametrize(("changes", "name"), TYPES, ids=[name for _, name in TYPES])
def test_unsupported_types(changes, name):
    text = f"has dtype {name}, which is not supported; supported are {SUPPORTED}"
    x, out = X.copy(), np.full(4, 77.0)
    with pytest.raises(TypeError, match=re.escape("rsqrt(): argument 'input' " + text)):
        gorsqrt.rsqrt(Producer(x, **changes), out=out)
    with pytest.raises(TypeError, match=re.escape("rsqrt_(): argument 'input' " + text)):
        gorsqrt.rsqrt_(Producer(x, **changes))
    with pytest.raises(TypeError, match=re.escape("rsqrt(): argument 'out' " + text)):
        gorsqrt.rsqrt(X, out=Producer(x, **changes))
    assert x.tolist() == X.tolist()
    assert (out == 77).all()


# What a producer may get wrong.

HUGE = 2**62
BAD = [
    ({"ndim": -1}, BufferError, "ndim is negative"),
    ({"ndim": 65}, RuntimeError, "has 65 dimensions; at most 64 are supported"),
    ({"ndim": 2**31 - 1, "shape": 0, "strides": 0}, RuntimeError, "dimensions; at most 64"),
    ({"shape": 0}, BufferError, "shape is NULL"),
    ({"shape": (-4,)}, BufferError, "a length is negative"),
    ({"shape": (HUGE,)}, BufferError, "shape and strides are too large"),
    ({"ndim": 2, "shape": (HUGE, 8), "strides": 0}, BufferError, "shape and strides are too large"),
    ({"ndim": 2, "shape": (HUGE, HUGE), "strides": (0, 0)}, BufferError, "shape and strides are too large"),
    ({"strides": (HUGE,)}, BufferError, "shape and strides are too large"),
    ({"strides": (2**60 - 1,)}, BufferError, "shape and strides are too large"),
    ({"strides": (-(2**63),)}, BufferError, "shape and strides are too large"),
    ({"data": 0}, BufferError, "data is NULL"),
    ({"byte_offset": 2**64 - 1}, BufferError, "byte_offset is too large"),
    ({"data": 8}, BufferError, "data can't be the address of this many items"),
    ({"data": 2**13, "strides": (-(2**13),)}, BufferError, "data can't be the address of this many items"),
    ({"data": 2**64 - 16}, BufferError, "data can't be the address of this many items"),
    ({"major": 2}, BufferError, "version 2.0 is not supported; 1.x is"),
    ({"major": 0}, BufferError, "version 0.0 is not supported; 1.x is"),
    ({"capsule": 5}, BufferError, "must return a capsule, not <class 'int'>"),
    ({"raises": "device"}, ZeroDivisionError, "device"),
    ({"raises": "dlpack"}, ZeroDivisionError, "dlpack"),
    ({"raises": "late"}, ZeroDivisionError, "late"),
    ({"device": 1}, BufferError, "must return a pair"),
    ({"device": (1,)}, BufferError, "must return a pair"),
    ({"device": ("cpu", 0)}, TypeError, "int"),
    ({"device": (1, "0")}, TypeError, "int"),
    ({"device": None}, BufferError, "must return a pair"),
    *(({"name": name}, BufferError, "must return a capsule named") for name in WRONG_NAMES if not name.startswith(b"used")),
]


@pytest.mark.spec("1.4", "3.6")
@pytest.mark.parametrize(("how", "error", "text"), BAD)
def test_bad_producers(how, error, text):
    x, out = X.copy(), np.full(4, 77.0)
    for call in (
        lambda: gorsqrt.rsqrt(Producer(x, **how)),
        lambda: gorsqrt.rsqrt(Producer(x, **how), out=out),
        lambda: gorsqrt.rsqrt(X, out=Producer(x, **how)),
        lambda: gorsqrt.rsqrt_(Producer(x, **how)),
    ):
        with pytest.raises(error, match=re.escape(text)):
            call()
    assert x.tolist() == X.tolist()
    assert (out == 77).all()


def test_good_but_unusual_producers():
    x = X.copy()
    assert gorsqrt.rsqrt(Producer(x, strides=0)).tolist() == Y
    assert gorsqrt.rsqrt(Producer(x, data=x.ctypes.data - 24, byte_offset=24)).tolist() == Y
    assert gorsqrt.rsqrt(Producer(np.array(4.0), shape=0, strides=0)).tolist() == 0.5
    assert gorsqrt.rsqrt(Producer(x, data=0, shape=(0,))).tolist() == []
    assert gorsqrt.rsqrt(Producer(x, data=0, ndim=2, shape=(0, 2**40), strides=0)).shape == (0, 2**40)
    assert gorsqrt.rsqrt(Producer(x, flags=2**63)).tolist() == Y  # flags of a later minor version
    assert gorsqrt.rsqrt(Producer(x, data=x.ctypes.data + 24, strides=(-1,))).tolist() == Y[::-1]
    no_device = type("NoDevice", (), {"__dlpack__": lambda self, **wishes: Producer(x).__dlpack__()})()
    assert gorsqrt.rsqrt(no_device).tolist() == Y


def test_no_deleter():
    """It may be NULL; the memory then stays."""
    assert gorsqrt.rsqrt(Producer(X, deleter=0)).tolist() == Y
    assert len(OUT) == 1
    OUT.clear()


def test_a_capsule_is_taken_once():
    """A producer gives out one capsule twice: the first consumer owns the tensor."""
    producer = Producer(X.copy())
    producer.capsule = Producer(producer.x).__dlpack__()
    assert gorsqrt.rsqrt(producer).tolist() == Y
    assert len(BACK) == 1
    with pytest.raises(BufferError, match="named 'dltensor_versioned' or 'dltensor', not 'used_dltensor_versioned'"):
        gorsqrt.rsqrt(producer)
    producer.capsule = Producer(producer.x).__dlpack__()
    with pytest.raises(BufferError, match="not 'used_dltensor_versioned'"):
        gorsqrt.rsqrt_(producer)
    assert producer.x.tolist() == X.tolist()
    assert len(BACK) == 2


def test_the_tensor_is_held_until_the_call_returns():
    """It comes back after the computation, which runs without the GIL."""
    x, out = np.full(1 << 24, 4.0), np.zeros(1 << 24)
    beside, threads = [], gorsqrt.get_num_threads()
    gorsqrt.set_num_threads(1)  # which goes from the first to the last
    try:
        thread = threading.Thread(target=gorsqrt.rsqrt, args=(Producer(x),), kwargs={"out": out})
        thread.start()
        while thread.is_alive():
            has_begun = out[0] == 0.5
            lent = len(OUT), len(BACK)
            if has_begun and out[-1] == 0:  # in the middle of it
                beside.append(lent)
        thread.join()
    finally:
        gorsqrt.set_num_threads(threads)
    assert set(beside) == {(1, 0)}
    assert len(BACK) == 1
    assert (out == 0.5).all()


def test_a_deleter_that_runs_python_sees_no_exception_of_ours():
    seen = []

    @DELETER
    def look(address):
        seen.append(sys.exc_info()[0])
        delete(address)

    bad = Producer(X.copy(), deleter=ctypes.cast(look, ctypes.c_void_p).value, lanes=2)
    with pytest.raises(TypeError, match="float64x2"):
        gorsqrt.rsqrt(bad)
    assert seen == [None]


FAULTS = st.fixed_dictionaries(
    {"device_id": st.just(99)},  # no machine has such a CUDA device
    optional={
        "versioned": st.booleans(),
        "old": st.booleans(),
        "device": st.sampled_from([(1, 0), (1, 5), (2, 0), (3, 0), (7, 0), (2**40, 0), (1, 2**40), None, ("cpu", 0), (1, "0")]),
        "raises": st.sampled_from([None, "device", "dlpack", "late"]),
        "name": st.sampled_from([*NAMES, *WRONG_NAMES[2:]]),
        "major": st.sampled_from([0, 1, 1, 1, 2, 2**32 - 1]),
        "flags": st.integers(0, 2**64 - 1),
        "data": st.just(0),
        "device_type": st.sampled_from([-1, 0, 1, 1, 2, 3, 10, 13, 99]),
        "ndim": st.integers(-2, 1) | st.sampled_from([64, 65, 2**31 - 1, -(2**31)]),
        "code": st.integers(0, 20) | st.just(255),
        "bits": st.sampled_from([0, 1, 4, 8, 16, 32, 64, 128, 255]),
        "lanes": st.sampled_from([0, 1, 1, 2, 65535]),
        "shape": st.just(0) | st.tuples(st.integers(-(2**63), 4) | st.integers(2**62, 2**63 - 1)),
        "strides": st.just(0) | st.tuples(st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63)])),
        "byte_offset": st.sampled_from([0, 8, 2**64 - 1]),
    },
)


def detectable(how):
    """Leaves out the flaws that no consumer can detect: the other struct's name, missing
    lengths."""
    if how.get("name") in NAMES:
        del how["name"]
    if how.get("ndim") == 64:
        how |= {"shape": (0,) * 64, "strides": 0}
    return how


@given(FAULTS, FAULTS, st.sampled_from(["fresh", "out", "both", "in place"]))
@settings(max_examples=3000, deadline=None)
def test_fuzz(one, other, form):
    """Whatever a producer does: an exception or a result, and every tensor comes back once."""
    memory = np.ones(64)
    a, b = Producer(memory[8:12], **detectable(one)), Producer(memory[16:20], **detectable(other))
    calls = {
        "fresh": lambda: gorsqrt.rsqrt(a),
        "out": lambda: gorsqrt.rsqrt(X, out=a),
        "both": lambda: gorsqrt.rsqrt(a, out=b),
        "in place": lambda: gorsqrt.rsqrt_(a),
    }
    with contextlib.suppress(BufferError, TypeError, ValueError, RuntimeError, ZeroDivisionError, MemoryError):
        calls[form]()
    assert not OUT
    assert not TWICE


# 3.5, 8.5: devices.


@pytest.mark.spec("3.5", "8.5", "3.6")
@pytest.mark.parametrize("code", [2, 13])
def test_cuda(code):
    """What is refused for where it is; what is not: test_cuda_dlpack."""
    there, beside = Producer(X, device=(code, 3)), Producer(X, device=(2, 5))
    for x, out, where in (
        (X, there, "cuda:3 and cpu"),
        (there, X.copy(), "cuda:3 and cpu"),
        (beside, there, "cuda:3 and cuda:5"),
    ):
        with pytest.raises(RuntimeError) as caught:
            gorsqrt.rsqrt(x, out=out)
        assert str(caught.value) == (f"Expected all tensors to be on the same device, but found at least two devices, {where}!")
    assert there.asked == beside.asked == []  # no stream of theirs was waited for


@pytest.mark.spec("3.5", "8.5")
def test_other_devices():
    for code in (0, -1, 4, 8, 10, 14, 99, 2**40):
        text = "is on a device that is neither the CPU nor CUDA's, where this version of gorsqrt does not compute; copy it to"
        there = Producer(X, device=(code, 0))
        with pytest.raises(RuntimeError, match=re.escape(f"rsqrt(): argument 'input' {text}")):
            gorsqrt.rsqrt(there, out=X.copy())
        with pytest.raises(RuntimeError, match=re.escape(f"rsqrt(): argument 'out' {text}")):
            gorsqrt.rsqrt(X, out=there)
    for pinned in (3, 11):
        assert gorsqrt.rsqrt(Producer(X, device=(pinned, 0), device_type=pinned)).tolist() == Y


@pytest.mark.spec("8.5")
def test_a_tensor_that_is_elsewhere_than_its_producer_said():
    with pytest.raises(RuntimeError, match=r"^CUDA error: "):
        gorsqrt.rsqrt(Producer(X, device_type=2, device_id=99))  # no machine has so many


# 3.1, 4, 5: layouts and shared memory.


@pytest.mark.spec("3.1", "4.1", "6.8")
@given(views())
@settings(max_examples=300, deadline=None)
def test_any_layout(x):
    """The same bits and strides as by numpy's array interface."""
    if any(s % x.itemsize for s in x.strides):
        return
    ours = gorsqrt.rsqrt(Producer(x))
    by_interface = gorsqrt.rsqrt(Interface(x, strides=x.strides))
    assert (ours.shape, ours.strides, ours.format) == (by_interface.shape, by_interface.strides, by_interface.format)
    np.testing.assert_array_equal(bits(np.asarray(ours)), bits(np.asarray(by_interface)))
    held = np.full(tuple(2 * n + 3 for n in x.shape), 77, x.dtype)
    out = held[(*(slice(1, 1 + 2 * n, 2) for n in x.shape), ...)]
    gorsqrt.rsqrt(Producer(x), out=Producer(out))
    np.testing.assert_array_equal(bits(out), bits(np.asarray(by_interface)))
    out[...] = 77
    assert (held == 77).all()
    gorsqrt.rsqrt_(Producer(x))
    np.testing.assert_array_equal(bits(x), bits(np.asarray(by_interface)))


@pytest.mark.spec("4.3")
def test_64_dimensions():
    x = np.full((1,) * 62 + (2, 3), 4.0)
    assert gorsqrt.rsqrt(Producer(x)).shape == x.shape


@pytest.mark.spec("5.1", "5.2", "5.3", "5.4", "3.6")
def test_shared_memory():
    memory = np.arange(1.0, 11)
    for view in (as_strided(memory, (3, 4), (0, 8)), as_strided(memory, (3, 4), (8, 8))):
        with pytest.raises(RuntimeError, match=SELF_OVERLAP):
            gorsqrt.rsqrt_(Producer(view))
    for x, out in ((memory[:-1], memory[1:]), (memory[::-1], memory), (memory[::2], memory[:5])):
        for a, b in ((Producer(x), out), (x, Producer(out)), (Producer(x), Producer(out))):
            with pytest.raises(RuntimeError, match=OVERLAP):
                gorsqrt.rsqrt(a, out=b)
    assert memory.tolist() == list(range(1, 11))
    want = gorsqrt.rsqrt(memory)
    gorsqrt.rsqrt(Producer(memory[::2]), out=memory[1::2])
    np.testing.assert_array_equal(memory[1::2], want[::2])
    gorsqrt.rsqrt(Producer(memory[::2]), out=memory[::2])
    np.testing.assert_array_equal(memory[::2], want[::2])


# Ours as a producer: the memory of a result.


def result_memory(x):
    return gorsqrt.rsqrt(memoryview(x)).obj


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "c8", "c16"])
def test_others_read_results_by_dlpack(dtype):
    x = np.arange(1, 25).astype(dtype).reshape(2, 3, 4).transpose(2, 0, 1)
    memory = result_memory(x)
    assert memory.__dlpack_device__() == (1, 0)
    for theirs in (np.from_dlpack(memory), torch.from_dlpack(memory).numpy(), np.from_dlpack(memory, copy=True)):
        np.testing.assert_array_equal(theirs, gorsqrt.rsqrt(x), strict=True)
        assert theirs.strides == gorsqrt.rsqrt(x).strides
    shared, copy = np.from_dlpack(memory), np.from_dlpack(memory, copy=True)
    shared[...] = 7
    assert (np.from_dlpack(memory) == 7).all()
    assert not (copy == 7).any()
    assert np.from_dlpack(result_memory(x[:0])).shape == (0, 2, 3)


def test_what_ours_gives_out():
    memory = result_memory(X)
    for wishes, name in (
        ({}, "dltensor"),
        ({"max_version": None}, "dltensor"),
        ({"max_version": (0, 8)}, "dltensor"),
        ({"max_version": (1, 0)}, "dltensor_versioned"),
        ({"max_version": (2, 0), "dl_device": (1, 0), "copy": False, "stream": None}, "dltensor_versioned"),
    ):
        assert f'"{name}"' in repr(memory.__dlpack__(**wishes))
    for wishes, error in (
        ({"stream": 1}, BufferError),
        ({"dl_device": (2, 0)}, BufferError),
        ({"dl_device": 1}, TypeError),
        ({"max_version": 1}, TypeError),
        ({"max_version": ("1", 0)}, TypeError),
        ({"other": 1}, TypeError),
    ):
        with pytest.raises(error):
            memory.__dlpack__(**wishes)
    with pytest.raises(TypeError):
        memory.__dlpack__(None)


def test_ownership_of_results():
    """The memory lives as long as any consumer, and goes with the last."""
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    x = np.full(1 << 20, 4.0)
    held = []
    for _ in range(50):
        result = gorsqrt.rsqrt(xp.asarray(x))
        held = [np.from_dlpack(result), torch.from_dlpack(result), *held[:1]]
        del result
        assert (held[0] == 0.5).all()
        assert bool((held[1] == 0.5).all())
        memory = result_memory(x)
        unopened = memory.__dlpack__(), memory.__dlpack__(max_version=(1, 0), copy=True)
        del memory, unopened
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - kib < 200_000  # and all rounds' results are a gigabyte


def test_deleters_need_no_gil_and_run_in_any_thread():
    memory = result_memory(X)
    plain = ctypes.CFUNCTYPE(None, ctypes.c_void_p)  # lets the GIL go during the call
    take, name = ctypes.pythonapi.PyCapsule_SetName, b"used_dltensor"
    take.argtypes = ctypes.py_object, ctypes.c_char_p
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    tensors = []
    for _ in range(1000):
        capsule = memory.__dlpack__()
        tensors.append(pointer(id(capsule), b"dltensor"))
        take(capsule, name)
    del memory, capsule

    def give_back(mine):
        for address in mine:
            plain(Unversioned.from_address(address).deleter)(address)

    threads = [threading.Thread(target=give_back, args=(tensors[i::4],)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_consumers_that_outlive_the_interpreter():
    """Arrays in a module's globals, and a tensor whose deleter libc calls after Python's end."""
    python("""
        import ctypes, sys
        import numpy as np, torch, array_api_strict as xp
        import gorsqrt
        kept = gorsqrt.rsqrt(xp.asarray([4.0, 16.0]))
        tensor = torch.from_dlpack(kept)
        sys.kept = [kept, tensor, np.from_dlpack(kept)]
        memory = gorsqrt.rsqrt(memoryview(bytearray(64)).cast("d")).obj
        capsule = memory.__dlpack__()
        pointer = ctypes.pythonapi.PyCapsule_GetPointer
        pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
        address = pointer(capsule, b"dltensor")
        used = b"used_dltensor"  # which the capsule keeps the address of
        ctypes.pythonapi.PyCapsule_SetName(ctypes.py_object(capsule), used)
        deleter = ctypes.c_void_p.from_address(address + 56).value  # after a tensor of 48 bytes and the context
        at_end = ctypes.CDLL(None).__cxa_atexit
        at_end.argtypes = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p
        assert at_end(deleter, address, None) == 0
    """)


@pytest.mark.spec("8.2")
def test_in_a_forked_child():
    python("""
        import os
        import array_api_strict as xp
        import gorsqrt
        x = xp.asarray([[4.0, 16.0], [1.0, 64.0]])
        def check():
            y = gorsqrt.rsqrt(x.T)
            assert type(y) is type(x) and float(y[1, 0]) == 0.25
            out = xp.zeros((2, 2))
            gorsqrt.rsqrt(x, out=out.T)
            assert float(out[1, 0]) == 0.25
        check()
        child = os.fork()
        if child == 0:
            check()
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    """)


@pytest.mark.spec("8.4")
def test_dlpack_imports_nothing():
    python("""
        import sys
        import gorsqrt
        class Bad:
            def __dlpack__(self, **wishes): return 5
        try:
            gorsqrt.rsqrt(Bad())
        except BufferError:
            pass
        assert not {"numpy", "torch", "jax", "cupy", "gorsqrt.jax", "gorsqrt.array_api"} & set(sys.modules)
    """)


def test_no_leak(kept):
    x, out = X.copy(), np.zeros(4)
    strict, good, bad, foreign = xp.asarray(x), Producer(x), Producer(x, lanes=2), Producer(x, device=(2, 0))
    capsules = itertools.count()

    def refused(call):
        with pytest.raises((TypeError, ValueError, RuntimeError, BufferError)):
            call()

    forms = [
        lambda: gorsqrt.rsqrt(strict),
        lambda: gorsqrt.rsqrt(strict, out=out),
        lambda: gorsqrt.rsqrt(x, out=strict),
        lambda: gorsqrt.rsqrt(good),
        lambda: gorsqrt.rsqrt(good, out=good),
        lambda: refused(lambda: gorsqrt.rsqrt(bad)),
        lambda: refused(lambda: gorsqrt.rsqrt(foreign, out=out)),
        lambda: refused(lambda: gorsqrt.rsqrt(x, out=Producer(x, versioned=False))),
        lambda: np.from_dlpack(result_memory(x), copy=next(capsules) % 2 == 0),
    ]
    held = [x, out, strict, good, bad, foreign, None, xp, gorsqrt.rsqrt, np.dtype("f8")]

    def work(n):
        for form in forms:
            for _ in range(n // len(forms)):
                form()
                good.asked.clear()
                bad.asked.clear()
            BACK.clear()

    counts = [sys.getrefcount(o) for o in held]
    blocks, size = kept(work, 30_000)
    assert max(abs(b - a) for a, b in zip(counts, map(sys.getrefcount, held), strict=True)) < 100
    assert blocks < 1 / (2 * len(forms))  # one form's leak of one block, or of 16 bytes, would be twice that
    assert size < 16 / (2 * len(forms))


def test_ml_dtypes_stay_as_they_were():
    assert gorsqrt.rsqrt(np.array([4], ml_dtypes.bfloat16)) == ml_dtypes.bfloat16(0.5)
