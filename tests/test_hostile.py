"""Contract 9.2, exporters that lie: arbitrary DLPack tensors, interfaces and buffers.

A call ends in a result or in one exception, calls every deleter that it must call once, and gives
every buffer back. Lengths, strides and addresses are arbitrary. Memory that may be read lies in the
arena; a read of any other address faults. GORSQRT_EXAMPLES is the number of examples of each kind,
600 unless it is set.
"""

import ctypes
import gc
import math
import os
import sys

import numpy as np
import pytest
from buffer_exporter import exporter_type, getbuffer, releasebuffer
from dlpack_producer import BACK, OUT, TWICE, Producer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gorsqrt import rsqrt, rsqrt_

hostile = settings(
    max_examples=int(os.environ.get("GORSQRT_EXAMPLES", 600)),
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

ARENA = np.ones(1 << 16)
MIDDLE = ARENA.ctypes.data + ARENA.nbytes // 2
NOWHERE = [None, 1, 8, 4095, 1 << 47, (1 << 63) - 1, 1 << 63, (1 << 64) - 8, (1 << 64) - 1]
INT64 = st.one_of(
    st.sampled_from([0, 1, -1, 2, 1 << 31, 1 << 32, 1 << 61, 1 << 62, (1 << 63) - 1, -(1 << 63), -(1 << 62)]),
    st.integers(-(1 << 63), (1 << 63) - 1),
)
RAISED = [
    ValueError,
    TypeError,
    BufferError,
    AttributeError,
    NotImplementedError,
    MemoryError,
    KeyboardInterrupt,
    RecursionError,
]
NO_ARRAYS = st.sampled_from([None, 0, 1.5, "f8", b"", (), [], {}, object(), type, (1,), (None, None), 1 << 70])


def c_order(lengths, item):
    strides, step = [], item
    for length in reversed(lengths):
        strides.insert(0, step)
        step *= length
    return strides


def made_harmless(lengths, strides, item):
    """The byte lengths of a layout, and whether it may be read: it then stays within the arena.

    If not, it has no items, a negative length, or does not fit into 64 bits.
    """
    strides = c_order(lengths, item) if strides is None else strides
    if min(lengths, default=1) < 0:
        return lengths, False
    count = math.prod(lengths)
    reach = item + sum(abs(stride) * (length - 1) for length, stride in zip(lengths, strides, strict=True) if length > 1)
    if count <= 4096 and reach <= ARENA.nbytes // 2:
        return lengths, True
    if count * item >= 1 << 63 or reach >= 1 << 63:
        return lengths, False
    return [0, *lengths[1:]], False


# Layouts: (lengths, strides or None), in items.
tame = st.lists(st.integers(0, 4), max_size=5).flatmap(
    lambda lengths: st.tuples(
        st.just(lengths), st.none() | st.lists(st.integers(-9, 9), min_size=len(lengths), max_size=len(lengths))
    )
)
wild = st.lists(INT64, max_size=66).flatmap(
    lambda lengths: st.tuples(st.just(lengths), st.none() | st.lists(INT64, min_size=len(lengths), max_size=len(lengths)))
)
deep = st.integers(60, 66).map(lambda n: ([1] * n, None))
layouts = st.one_of(tame, tame, tame, wild, deep)


def rarely(draw):
    """Makes a flaw rare, so that most of the others are absent and one goes through the whole
    call."""
    return draw(st.integers(0, 19)) == 7


def call(how, exporter):
    """A call with the exporter in each of its places. Its result; None if it raised."""
    try:
        if how == "fresh":
            return rsqrt(exporter)
        if how == "in place":
            return rsqrt_(exporter)
        if how == "out":
            return rsqrt(np.ones(3), out=exporter)
        return rsqrt(exporter, out=np.ones(3))
    except (SystemError, AssertionError):
        raise
    except BaseException:
        return None


def works():
    assert rsqrt(np.array([4.0, 16.0])).tolist() == [0.5, 0.25]


places = st.sampled_from(["fresh", "fresh", "in place", "out", "to an out"])


def act(what, exporter):
    """What an exporter's own code does while it is asked."""
    if what == "call":
        rsqrt(np.ones(3))
    elif what == "collect":
        gc.collect()
    elif what == "itself" and not getattr(exporter, "within", False):
        exporter.within = True
        call("fresh", exporter)
    elif isinstance(what, type):
        raise what("asked")


acts = st.sampled_from([None] * 60 + ["call", "collect", "itself"] * 3 + RAISED)


class Tensor(Producer):
    """A producer whose answers are drawn."""

    def __init__(self, answer, device, doing, **changes):
        super().__init__(ARENA, device=device, **changes)
        self.answer, self.doing = answer, doing

    def __dlpack__(self, **wishes):
        act(self.doing, self)
        return super().__dlpack__(**wishes) if self.answer is None else self.answer


@st.composite
def tensors(draw):
    lengths, steps = draw(layouts)
    known = st.sampled_from([(2, 64), (2, 64), (2, 32), (0, 8), (5, 128), (4, 16), (6, 8)])
    code, bits = draw(st.tuples(*[st.integers(0, 255)] * 2) if rarely(draw) else known)
    size = max(1, bits // 8)
    lengths, readable = made_harmless(lengths, None if steps is None else [step * size for step in steps], size)
    changes = {
        "shape": tuple(lengths), "strides": None if steps is None else tuple(steps), "ndim": len(lengths),
        "code": code, "bits": bits, "data": MIDDLE if readable else draw(st.sampled_from(NOWHERE)),
        "byte_offset": 0 if readable else draw(st.sampled_from([0, 1, 8, 1 << 63, (1 << 64) - 1])),
    }  # fmt: skip
    if rarely(draw):
        changes["ndim"] = draw(st.sampled_from([-1, -(1 << 31), 65, 66, 1 << 20, (1 << 31) - 1]))
        changes["data"] = None
    if rarely(draw):
        changes["lanes"] = draw(st.integers(0, 65535))
    if rarely(draw):
        changes["device_type"] = draw(st.sampled_from([3, 7, 11, 0, -1, 99]))
    if rarely(draw):
        changes["name"] = draw(st.sampled_from([b"dltensors", b""]))
    if draw(st.booleans()):
        changes["versioned"] = False
    else:
        changes["major"] = draw(st.sampled_from([1] * 9 + [0, 2, (1 << 32) - 1]))
        changes["flags"] = draw(st.sampled_from([0, 0, 0, 1, 2, 3, 1 << 63]))
    answer = draw(NO_ARRAYS) if rarely(draw) else None
    others = [(3, 0), (7, 0), (-1, 0), (99, 1 << 40), (1 << 70, 0), (1,), (1, 0, 0), ("a", 0), None, 1]
    device = draw(st.sampled_from(others)) if rarely(draw) else (1, 0)
    return Tensor(answer, device, draw(acts), **changes)


@pytest.mark.spec("9.2", "9.4")
@hostile
@given(places, tensors())
def test_tensors(how, tensor):
    for tensors in OUT, BACK, TWICE:
        tensors.clear()
    call(how, tensor)
    del tensor
    gc.collect(0)
    assert not OUT, "a deleter was not called"
    assert not TWICE, "a deleter was called twice"
    works()


class Index:
    def __init__(self, value, doing):
        self.value, self.doing = value, doing

    def __index__(self):
        act(self.doing, self)
        return self.value


class Interface:
    def __init__(self, answer, doing):
        self.answer, self.doing = answer, doing

    def ask(self):
        act(self.doing, self)
        return self.answer


class HostInterface(Interface):
    __array_interface__ = property(Interface.ask)


class CudaInterface(Interface):
    """No machine of these tests has a device: an interface that is not refused is refused for
    that."""

    __cuda_array_interface__ = property(Interface.ask)


TYPESTRS = [
    "<f8",
    "<f8",
    "<f4",
    "<f2",
    "<c16",
    "|b1",
    "<i4",
    "|u1",
    "=f8",
    "f8",
    ">f8",
    "<f16",
    "<f",
    "<f888",
    "|V2",
    "<f8\0",
    "é",
    "\ud800",
]


MEMORY = {
    "bytes": b"x" * 4096, "bytearray": bytearray(4096), "strided": memoryview(bytearray(64))[::2], "array": ARENA, "none": b"",
}  # fmt: skip


@st.composite
def interfaces(draw, kind):
    lengths, strides = draw(layouts)
    typestr = draw(st.sampled_from(TYPESTRS))
    size = int(typestr[2:]) if typestr[2:].isascii() and typestr[2:].isdecimal() else 8
    memory = draw(st.sampled_from(["address", *MEMORY]).map(lambda name: MEMORY.get(name, name)))
    offset = draw(st.sampled_from([0, 8, -8, 4095, 1 << 62, 1 << 70, "x"])) if rarely(draw) else None
    if isinstance(memory, str):
        lengths, readable = made_harmless(lengths, strides, size)
        memory = (MIDDLE if readable else draw(st.sampled_from(NOWHERE[1:])), draw(st.sampled_from([False, True, 0, 1])))
        offset = None
    shape = tuple(Index(length, draw(acts)) if rarely(draw) else length for length in lengths)
    interface = {
        "version": 3,
        "shape": shape,
        "typestr": typestr,
        "data": memory,
        "strides": None if strides is None else tuple(strides),
    }
    if offset is not None:
        interface["offset"] = offset
    if rarely(draw):
        interface[draw(st.sampled_from(["version", "shape", "typestr", "data", "strides", "mask", "stream"]))] = draw(NO_ARRAYS)
    return kind(draw(NO_ARRAYS) if rarely(draw) else interface, draw(acts))


@pytest.mark.spec("9.2", "9.4")
@hostile
@given(places, interfaces(HostInterface) | interfaces(CudaInterface))
def test_interfaces(how, exporter):
    call(how, exporter)
    works()


LENT = []  # a count of the buffers that are out


@getbuffer
def get_buffer(exporter, view, flags):
    for name, value in exporter.claims.items():
        setattr(view[0], name, value)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(exporter))
    view[0].obj = id(exporter)
    LENT.append(exporter)
    return 0


@releasebuffer
def release_buffer(exporter, view):
    LENT.pop()


class Buffer(exporter_type(b"test_hostile.Exporter", get_buffer, release_buffer)):
    """An exporter of the buffer protocol, whose claims are the fields of a Py_buffer."""

    def __init__(self, lengths, strides, **claims):
        self.arrays = [(ctypes.c_ssize_t * len(numbers))(*numbers) for numbers in (lengths, strides)]
        shape, steps = map(ctypes.addressof, self.arrays)
        self.claims = {"shape": shape, "strides": steps, "ndim": len(lengths), "readonly": 0, "suboffsets": None, **claims}


FORMATS = [
    b"d",
    b"d",
    b"f",
    b"e",
    b"Zd",
    b"?",
    b"i",
    b"<q",
    b"@d",
    b"=f",
    b">d",
    b"",
    b"x",
    b"dd",
    b"T{d:a:}",
    b"Z",
    b"@",
    b"\xff",
    None,
]


@st.composite
def buffers(draw):
    lengths, strides = draw(layouts)
    format = draw(st.sampled_from(FORMATS))
    item = draw(st.sampled_from([8, 8, 4, 2, 16, 1]))
    if strides is None or draw(st.integers(0, 3)) == 0:
        strides = [max(-(1 << 63), min(step, (1 << 63) - 1)) for step in c_order(lengths, item)]
    lengths, readable = made_harmless(lengths, strides, 16)
    claims = {"buf": MIDDLE if readable else draw(st.sampled_from(NOWHERE)), "format": format, "itemsize": item}
    # PyBuffer_FillInfo and memoryview go by len, so that it is true unless a length is a lie.
    claims["len"] = math.prod(lengths) * item if readable else draw(st.sampled_from([0, 8, 1 << 62, -1]))
    claims["readonly"] = draw(st.integers(0, 1))
    if rarely(draw):
        claims |= {"ndim": draw(st.sampled_from([-1, 65, 1 << 20])), "buf": None}
    return Buffer(lengths, strides, **claims)


@pytest.mark.spec("9.2", "9.4")
@hostile
@given(places, buffers())
def test_buffers(how, exporter):
    LENT.clear()
    call(how, exporter)
    assert not LENT, "a buffer was not given back"
    works()


VIEWS = [memoryview(bytearray(64)), memoryview(bytes(64)).cast("d"), memoryview(ARENA)[::2], memoryview(b"released")]
VIEWS[3].release()

if sys.version_info >= (3, 12):

    class Pythons:
        """An exporter by Python's own __buffer__."""

        def __init__(self, answer, doing):
            self.answer, self.doing, self.lent = answer, doing, 0

        def __buffer__(self, flags):
            act(self.doing, self)
            self.lent += isinstance(self.answer, memoryview) and self.answer is not VIEWS[3]
            return self.answer

        def __release_buffer__(self, view):
            self.lent -= 1
            if self.doing in ("call", "collect"):
                act(self.doing, self)

    @pytest.mark.spec("9.2", "9.4")
    @hostile
    @given(places, st.builds(Pythons, st.integers(0, 3).map(VIEWS.__getitem__) | NO_ARRAYS, acts))
    def test_pythons_buffers(how, exporter):
        call(how, exporter)
        assert exporter.lent == 0, "a buffer was not given back"
        works()
