"""Arrays of the DLPack protocol on CUDA devices, on the test double of the driver (as
test_cuda_arrays)."""

import ctypes
import gc
import itertools
import os
import types

import cuda_double as double
import ml_dtypes
import numpy as np
import pytest
from dlpack_producer import BACK, DELETER, OUT, TWICE, Producer, delete
from test_cuda_arrays import COMPLEX, INTEGERS, REALS, bits, end_capture, layouts, on_cpu, on_device, on_double, raises, values

import gorsqrt

BF16 = np.dtype(ml_dtypes.bfloat16)


class Device(Producer):
    """Device memory with DLPack only, with the layout that `view` has within `base`."""

    def __init__(self, view, base=None, index=0, memory=None, code=2, **how):
        self.array = double.Array(view, base, index, memory)
        self.memory = self.array.memory
        self.get, self.peek = self.array.get, self.array.peek
        address = self.memory.address + self.array.offset if view.size else 0
        super().__init__(view, **{"device": (code, index), "device_type": code, "device_id": index, "data": address, **how})

    def __dlpack__(self, stream=None, **wishes):
        if self.old and not wishes:
            self.asked.append({"stream": stream})
            return Producer(self.x, versioned=False, **self.changes).__dlpack__()
        return super().__dlpack__(**wishes) if stream is None else super().__dlpack__(stream=stream, **wishes)


def held():
    """How many tensors are out."""
    gc.collect()
    assert not TWICE
    return len(OUT)


def settle():
    """Lets the device finish, and gorsqrt look at the tensors that it holds until it holds none."""
    for index in (0, 1):
        with double.On(index):
            double.call("cuCtxSynchronize")
    x = Device(np.ones(1, "f4"))
    for _ in range(len(OUT) + 1):
        gorsqrt.rsqrt_(x)
        with double.On(0):
            double.call("cuCtxSynchronize")
    gorsqrt.rsqrt_(x)
    assert held() <= 4, "what the last call uses, and the one before"


@pytest.mark.spec("1.2", "2.1", "2.2", "2.4", "3.1", "6.8")
@on_double
def test_dtypes():
    """The CPU's bits, of every dtype and to every dtype that takes it."""
    for source in [*REALS, BF16, *COMPLEX, *INTEGERS]:
        x = values("u2", 1027).view(BF16) if source == BF16 else values(source, 1027)
        if source not in INTEGERS:
            a = Device(x)
            assert gorsqrt.rsqrt_(a) is a
            assert bits(a.get()) == bits(on_cpu(x)), source
        for to in COMPLEX if source in COMPLEX else [*REALS, BF16, *COMPLEX]:
            a, out = Device(x), Device(np.full(1027, 77).astype(to))
            assert gorsqrt.rsqrt(a, out=out) is out
            assert bits(out.get()) == bits(on_cpu(x, to)), (source, to)
            assert bits(a.peek()) == bits(x)
    settle()


@pytest.mark.spec("3.1", "6.8")
@on_double
def test_layouts():
    for dtype in ("f4", "f2", "c16"):
        base = values(dtype, 120).reshape(4, 5, 6)
        for view in layouts(base):
            expected = on_cpu(view)
            memory = np.full(tuple(2 * n + 1 for n in view.shape), 77, dtype)
            out_view = memory[(..., *(slice(1, None, 2) for _ in view.shape))]
            out = Device(out_view, memory)
            gorsqrt.rsqrt(Device(view, base), out=out)
            got = out.get()
            assert bits(got) == bits(expected), (dtype, view.shape, view.strides)
            host = memory.copy()
            np.ndarray(got.shape, got.dtype, host, out.array.offset, out_view.strides)[...] = expected
            assert out.memory.peek() == host.tobytes()  # not a byte beside
    x = values("f4", 24).reshape(4, 6)
    for how in ({"strides": 0}, {"flags": 1}, {"versioned": False}, {"versioned": False, "old": True}, {"code": 13}):
        out = double.Array(np.zeros((4, 6), "f4"))
        gorsqrt.rsqrt(Device(x, **how), out=out)
        assert bits(out.get()) == bits(on_cpu(x)), how
    a = Device(x)
    a.changes |= {"data": a.memory.address - 4096, "byte_offset": 4096}
    gorsqrt.rsqrt_(a)
    assert bits(a.get()) == bits(on_cpu(x))
    settle()


@pytest.mark.spec("3.5", "8.5")
@on_double
def test_memory_of_the_cpu_that_is_pinned_for_the_device():
    x = values("f4", 9)
    assert bits(np.asarray(gorsqrt.rsqrt(Producer(x, device=(3, 0), device_type=3)))) == bits(on_cpu(x))
    assert double.pending() == 0


@pytest.mark.spec("1.2", "3.4")
@on_double
def test_what_a_producer_is_asked_for():
    """The stream that the work goes to: the other array's, or the legacy default one."""
    x = np.array([4, 16, 25], "f4")
    version, mine = {"max_version": (1, 3)}, {"copy": False}
    a, out = Device(x), Device(np.zeros(3, "f4"))
    double.log()
    gorsqrt.rsqrt(a, out=out)
    assert a.asked == [{"stream": 1} | version]
    assert out.asked == [{"stream": 1} | version | mine]
    assert not any("Wait" in line for line in double.log())
    a = Device(x)
    gorsqrt.rsqrt_(a)
    assert a.asked == [{"stream": 1} | version | mine] * 2
    for stream, asked in ((None, 1), (1, 1), (2, 2), (own := double.stream(), own)):
        a, b = Device(x), Device(np.zeros(3, "f4"))
        c = double.Array(np.zeros(3, "f4"), stream=stream)
        double.log()
        gorsqrt.rsqrt(a, out=c)
        gorsqrt.rsqrt(c, out=b)
        log = double.log()
        assert a.asked == [{"stream": asked} | version]
        assert b.asked == [{"stream": asked} | version | mine]
        assert not any("Wait" in line for line in log)
        launches = [line for line in log if "threads on" in line]
        assert len(launches) == 2
        assert all(
            int(line.rpartition(" ")[2].replace("(nil)", "0"), 16) in ((0, 1) if asked == 1 else (asked,)) for line in launches
        )
        assert bits(b.get(stream or 0)) == bits(on_cpu(on_cpu(x)))
    old = Device(x, versioned=False, old=True)
    gorsqrt.rsqrt(old, out=out)
    assert old.asked == [{"stream": 1} | version, {"stream": 1}]
    settle()


@pytest.mark.spec("3.4", "3.5", "3.6", "2.7", "5.1", "5.3")
@on_double
def test_refusals():
    """The errors of the CPU. Nothing is enqueued or written, and every tensor comes back at once.

    An array on another kind of device is not asked for its tensor.
    """
    x = np.array([4, 16, 25], "f4")
    double.context(0)
    two = "Expected all tensors to be on the same device, but found at least two devices, {} and {}!"
    there, here, beside = Device(x, index=1), x.copy(), Device(x)
    raises(RuntimeError, two.format("cuda:1", "cpu"), gorsqrt.rsqrt, there, out=here)
    raises(RuntimeError, two.format("cuda:1", "cpu"), gorsqrt.rsqrt, here, out=there)
    raises(RuntimeError, two.format("cuda:1", "cuda:0"), gorsqrt.rsqrt, beside, out=there)
    assert there.asked == beside.asked == []
    raises(RuntimeError, two.format("cuda:0", "cuda:1"), gorsqrt.rsqrt, there, out=double.Array(x))
    version = "rsqrt_(): argument 'input' is read-only, since DLPack before version 1.0 does not say that it is writable; "
    raises(ValueError, version + "a writable array is needed", gorsqrt.rsqrt_, Device(x, versioned=False))
    read_only = "rsqrt(): argument 'out' is read-only; a writable array is needed"
    raises(ValueError, read_only, gorsqrt.rsqrt, beside, out=Device(x, flags=1))
    cast = "result type Float can't be cast to the desired output type Int"
    raises(RuntimeError, cast, gorsqrt.rsqrt, beside, out=Device(np.zeros(3, "i4")))
    with pytest.raises(TypeError, match="argument 'out' has dtype float128, which is not supported"):
        gorsqrt.rsqrt(beside, out=Device(x, bits=128))
    whole = Device(np.ones(8, "f4"))
    part = Device(whole.x[1:], whole.x, memory=whole.memory)
    with pytest.raises(RuntimeError, match="some elements of the input tensor and the written-to tensor refer to a single"):
        gorsqrt.rsqrt(part, out=Device(whole.x[:-1], whole.x, memory=whole.memory))
    with pytest.raises(RuntimeError, match="more than one element of the written-to tensor refers to a single memory location"):
        gorsqrt.rsqrt_(Device(x, strides=(0,)))
    for how, error, text in (
        ({"data": 0}, BufferError, "__dlpack__: data is NULL"),
        ({"ndim": -1}, BufferError, "__dlpack__: ndim is negative"),
        ({"raises": "late"}, ZeroDivisionError, "late"),
        ({"device_type": 10}, RuntimeError, "neither the CPU nor CUDA's"),
        ({"device_id": 7}, RuntimeError, "at least two devices, cuda:0 and cuda:7"),
    ):
        with pytest.raises(error, match=text):
            gorsqrt.rsqrt(Device(x, **how), out=beside)
    raises(
        RuntimeError, "CUDA error: CUDA_ERROR_INVALID_DEVICE: invalid device ordinal", gorsqrt.rsqrt_, Device(x, device_id=7)
    )
    assert not any("Launch" in line for line in double.log())
    assert held() == 0
    for array in (there, beside, whole):
        assert bits(array.peek()) == bits(array.x)


@pytest.mark.spec("3.5")
@on_double
def test_who_does_not_say_where_it_is():
    """The tensor says it. Asked for no stream, the producer gives it for the legacy default
    stream."""
    x = np.array([4, 16, 25], "f4")
    out = Device(np.zeros(3, "f4"))
    given = []

    class Silent:
        def __dlpack__(self, **wishes):
            given.append(Device(x))
            return given[-1].__dlpack__(**wishes)

    for liar in (Silent(), Device(x, device=(1, 0))):
        gorsqrt.rsqrt(liar, out=out)
        assert bits(out.get()) == bits(on_cpu(x))
    assert liar.asked == given[0].asked == [{"max_version": (1, 3)}]
    settle()


@pytest.mark.spec("1.3", "2.1", "4.1")
@on_double
def test_fresh_results():
    """Results of arrays with DLPack only: memory that lends itself by DLPack, on the consumer's
    stream."""
    base = values("f4", 120).reshape(4, 5, 6)
    for view in layouts(base):
        a = Device(view, base, index=1)
        y = gorsqrt.rsqrt(a)
        assert a.asked == [{"stream": 1, "max_version": (1, 3)}]
        assert on_device(y) == bits(gorsqrt.rsqrt(view))
    y = gorsqrt.rsqrt(Device(values("u2", 9).view(BF16), index=1))
    assert not hasattr(y, "__cuda_array_interface__")
    with pytest.raises(AttributeError, match="has no typestr for bfloat16; DLPack has"):
        y.__cuda_array_interface__  # noqa: B018
    out = Device(np.zeros(9, BF16), index=1)
    gorsqrt.rsqrt(y, out=out)
    assert bits(out.get()) == bits(gorsqrt.rsqrt(gorsqrt.rsqrt(values("u2", 9).view(BF16))))
    # What it lends.
    y = gorsqrt.rsqrt(Device(base, index=1))
    stream = double.stream(1)
    for wishes in ({}, {"stream": None}, {"stream": 1}, {"stream": -1}, {"stream": stream}, {"stream": 2, "dl_device": (2, 1)}):
        double.log()
        capsule = y.__dlpack__(max_version=(1, 0), copy=False, **wishes)
        assert any("cuStreamWaitEvent" in line for line in double.log()) == (wishes.get("stream") in (2, stream))
        assert '"dltensor_versioned"' in repr(capsule)
    with double.On(1):
        double.call("cuStreamSynchronize", stream)
    assert y.__cuda_array_interface__["data"][0] in map(address_in, (y.__dlpack__(), y.__dlpack__()))
    for wishes, error in (
        ({"stream": 0}, ValueError),
        ({"stream": -2}, ValueError),
        ({"stream": "1"}, TypeError),
        ({"dl_device": (1, 0)}, BufferError),
        ({"dl_device": (2, 0)}, BufferError),
        ({"copy": True}, BufferError),
    ):
        with pytest.raises(error):
            y.__dlpack__(**wishes)
    # Its memory stays while a capsule does, and goes then.
    settle()
    blocks, capsule = double.blocks(1), y.__dlpack__()
    address = y.__cuda_array_interface__["data"][0]
    del y
    assert address_in(capsule) == address
    assert (double.pending(1), double.blocks(1)) == (0, blocks)
    del capsule
    settle()
    assert double.blocks(1) == blocks - 1
    if (child := os.fork()) == 0:  # where a copy of one goes with nothing
        del out
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def address_in(capsule):
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    return ctypes.c_void_p.from_address(pointer(capsule, b"dltensor")).value


@pytest.mark.spec("1.3")
@on_double
def test_a_namespace_makes_the_result():
    """By its from_dlpack, which asks for the stream that it works on."""
    streams = [double.stream(1), double.stream(1)]

    class Library(Device):
        def __array_namespace__(self):
            return types.SimpleNamespace(from_dlpack=self.taken)

        @staticmethod
        def taken(memory):
            capsule = memory.__dlpack__(stream=streams[0], max_version=(1, 0))
            return Library.Result(memory.__dlpack_device__(), memory, capsule)

        class Result:
            def __init__(self, device, memory, capsule):
                self.device, self.memory, self.capsule = device, memory, capsule

    x = values("f4", 50)
    a = Library(x, index=1)
    y = gorsqrt.rsqrt(a)
    assert type(y) is Library.Result
    assert y.device == (2, 1)
    with double.On(1):
        double.call("cuStreamSynchronize", streams[0])  # and nothing else: that one waits for the result
    assert ctypes.string_at(y.memory.__cuda_array_interface__["data"][0], 200) == bits(gorsqrt.rsqrt(x))
    settle()


@pytest.mark.spec("8.1")
@on_double
def test_tensors_are_held_until_the_device_has_used_them():
    """The deleter waits for the device, and no call does. No tensor is held that the device has
    used."""
    x = np.array([4, 16, 25], "f4")
    early = []

    def lent(out):
        """An input whose deleter looks whether its result is there."""

        @DELETER
        def look(address):
            early.extend([address] * (bits(out.peek()) != bits(on_cpu(x))))
            delete(address)

        kept.append(look)
        return Device(x, deleter=ctypes.cast(look, ctypes.c_void_p).value)

    kept, streams = [], [double.stream(), double.stream()]
    outs = [double.Array(np.zeros(3, "f4"), stream=streams[n % 2]) for n in range(40)]
    for n, out in enumerate(outs):
        gorsqrt.rsqrt(lent(out), out=out)
        assert bits(out.peek()) == bytes(12)
        assert 1 <= held() <= 2  # the double does what it is asked about, and then says that it was not done
        assert len(BACK) >= n - 1
    # The device is busy with the first one, and done with the others.
    settle()
    BACK.clear()
    first = lent(outs[0])
    gorsqrt.rsqrt(first, out=outs[0])
    for _ in range(20):
        double.fail("cuEventQuery", 600)
        out = double.Array(np.zeros(3, "f4"), stream=streams[1])
        gorsqrt.rsqrt(lent(out), out=out)
        out.get(streams[1])
        assert held() <= 3
    assert len(BACK) >= 18
    settle()
    assert not early


@pytest.mark.spec("8.1")
@on_double
def test_empty_arrays_wait_for_nothing():
    a, out = Device(np.zeros((0, 3), "f4")), Device(np.zeros((0, 3), "f4"))
    double.log()
    assert gorsqrt.rsqrt(a, out=out) is out
    assert gorsqrt.rsqrt_(a) is a
    assert double.log() == [""]
    assert held() == 0


@pytest.mark.spec("8.1")
@on_double
def test_capture():
    """With an array on the capturing stream.

    Its tensor is asked for on that stream and given back at once, since nothing is enqueued. The
    tensors of earlier calls are looked at outside of the capture.
    """
    x = np.array([4, 16, 25], "f4")
    stream = double.stream()
    gorsqrt.rsqrt(Device(x), out=double.Array(np.zeros(3, "f4"), stream=double.stream()))
    assert held() == 1
    a, b = Device(x), double.Array(np.zeros(3, "f4"), stream=stream)
    with double.On(0):
        double.call("cuStreamBeginCapture_v2", stream, 0)
    gorsqrt.rsqrt(a, out=b)
    gorsqrt.rsqrt(a, out=b)
    with double.On(0):
        graph = end_capture(stream)
    assert held() == 0 or len(BACK) >= 2
    with double.On(0):
        double.call("cuMemcpyHtoD_v2", a.memory.address, np.array([1, 4, 100], "f4").tobytes(), 12)
        double.call("cuGraphLaunch", graph, stream)
    assert b.get(stream).tolist() == on_cpu(np.array([1, 4, 100], "f4")).tolist()
    settle()


@on_double
def test_errors_of_the_driver():
    """Each call that fails once: CUDA's name and text, every tensor back; the next call works."""
    x = np.array([4, 16, 25], "f4")
    for function in ("cuInit", "cuCtxPushCurrent", "cuModuleLoadData", "cuLaunchKernel"):
        a, b = Device(x), Device(np.zeros(3, "f4"))
        double.fail(function, 2)
        raises(RuntimeError, "CUDA error: CUDA_ERROR_OUT_OF_MEMORY: out of memory", gorsqrt.rsqrt, a, out=b)
        assert held() == 0, function
        assert (b.get() == 0).all(), function
    for function in ("cuStreamIsCapturing", "cuEventCreate", "cuEventRecord"):  # after the launch
        a, b = Device(x), Device(np.zeros(3, "f4"))
        double.fail(function, 2)
        raises(RuntimeError, "CUDA error: CUDA_ERROR_OUT_OF_MEMORY: out of memory", gorsqrt.rsqrt, a, out=b)
        assert held() == 0, function
    gorsqrt.rsqrt(a, out=b)
    assert held() == 2
    double.fail("cuEventQuery", 700)  # a device that has failed does nothing more with them
    gorsqrt.rsqrt(Device(x), out=double.Array(x))
    assert held() == 1
    settle()


@pytest.mark.spec("8.2")
@on_double
def test_a_forked_child_gives_nothing_back():
    """Its tensors are copies of the parent's, who is still using them."""
    x = np.array([4, 16, 25], "f4")
    gorsqrt.rsqrt(Device(x), out=double.Array(np.zeros(3, "f4")))
    assert held() == 1
    if (child := os.fork()) == 0:
        text = "Cannot re-initialize CUDA in forked subprocess. To use CUDA with multiprocessing, you must use the "
        a = Device.__new__(Device)
        Producer.__init__(a, x, device=(2, 0), device_type=2, device_id=0)
        raises(RuntimeError, text + "'spawn' start method", gorsqrt.rsqrt_, a)
        assert held() == 1
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    settle()


@pytest.mark.spec("1.3", "3.1")
@on_double
def test_beside_cupy():
    """Ordered with cupy's current stream, in either direction."""
    cupy = double.cupy()
    stream = cupy.cuda.streams[0] = double.stream()
    x = values("f4", 100)
    for _ in range(2):
        a, y, b = Device(x), cupy.ndarray(None, view=np.zeros(100, "f4")), Device(np.zeros(100, "f4"))
        gorsqrt.rsqrt(a, out=y)
        gorsqrt.rsqrt(y, out=b)
        assert bits(b.get(stream)) == bits(on_cpu(on_cpu(x)))
        assert a.asked[0]["stream"] == b.asked[0]["stream"] == stream
    settle()


@pytest.mark.spec("8.1")
@on_double
def test_no_leak():
    """Neither tensors nor events nor device memory."""
    x = np.array([4, 16, 25], "f4")
    a, out = Device(x), Device(np.zeros(3, "f4"))
    library = double.library()
    for rounds in itertools.count():
        for _ in range(100):
            gorsqrt.rsqrt(a, out=out)
            out.get()
        a.asked.clear()
        out.asked.clear()
        text = double.log()
        if rounds:
            assert text.count("cuEventCreate") == text.count("cuEventDestroy") == 100
            assert held() <= 4
        if rounds == 3:
            break
    assert library.double_reset() == ctypes.c_int(library.double_reset()).value
    settle()
