"""Arrays with __cuda_array_interface__, on a test double of the driver that runs the kernels' PTX.

The double is tests/cuda/libcuda. A process looks for the driver once, so each test runs in a
process of its own, which finds the double.
"""

import ctypes
import functools
import itertools
import os
import re
import subprocess
import sys
import threading

import cuda_double as double
import numpy as np
import pytest

import gorsqrt

REALS = ["f2", "f4", "f8"]
COMPLEX = ["c8", "c16"]
INTEGERS = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"]


def run(code, environment):
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def on_double(test):
    """Runs the test in a process that finds the double."""

    @functools.wraps(test)
    def in_child():
        run(f"import {test.__module__} as t; t.{test.__name__}.__wrapped__()", double.build())

    return in_child


def raises(kind, text, function, *arguments, **keywords):
    with pytest.raises(kind) as caught:
        function(*arguments, **keywords)
    assert str(caught.value) == text


def bits(x):
    return np.ascontiguousarray(x).tobytes()


def values(dtype, n, seed=0):
    """n values with all special ones among them, wherever they lie."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return rng.integers(0, 2, n).astype(dtype)
    if dtype.kind in "iu":
        x = np.frombuffer(rng.bytes(n * dtype.itemsize), dtype).copy()
        x[::7] = 0
        return x
    part = np.dtype(f"f{dtype.itemsize // 2}") if dtype.kind == "c" else dtype
    x = np.frombuffer(rng.bytes(n * dtype.itemsize), part).copy()
    one = np.finfo(part)
    specials = [0.0, -0.0, np.inf, -np.inf, np.nan, 1, -1, 4, one.tiny, one.smallest_subnormal, -one.tiny, one.max]
    x[:: 3 if dtype.kind == "c" else 5] = rng.choice(np.array(specials, part), len(x[:: 3 if dtype.kind == "c" else 5]))
    return x.view(dtype)


def on_cpu(x, dtype=None):
    """The CPU's result in an array of this dtype."""
    out = np.empty_like(x, dtype or gorsqrt.rsqrt(x).dtype)
    return gorsqrt.rsqrt(x, out=out)


@pytest.mark.spec("8.4", "8.5")
@on_double
def test_nothing_of_cuda_is_loaded_before_it_is_used():
    def mapped():
        return "libcuda" in open("/proc/self/maps").read()

    x = np.array([4, 16, 25], "f4")
    gorsqrt.rsqrt(x)
    gorsqrt.rsqrt_(x)
    gorsqrt.rsqrt(x, out=np.empty(3))
    gorsqrt.show_config("dicts")
    if os.fork() == 0:
        gorsqrt.rsqrt(x[::-1])
        os._exit(mapped())
    assert os.wait()[1] == 0
    assert not mapped()
    a = double.Array(x)
    assert mapped()  # by the test itself
    assert gorsqrt.rsqrt_(a) is a


@pytest.mark.spec("8.5")
def test_without_a_driver(tmp_path):
    """A CUDA array is an error of one sentence, after errors that need no driver; the CPU works."""
    library = tmp_path / "libcuda.so.1"
    library.touch()  # found before the machine's, if it has one
    code = f"import test_cuda_arrays as t; t.without_a_driver('{library}: file too short')"
    run(code, {**double.build(), "LD_LIBRARY_PATH": str(tmp_path)})


def without_a_driver(because):
    class Fake:
        def __init__(self, n, typestr="<f4", address=4096):
            data = (address, False)
            self.__cuda_array_interface__ = {"shape": (n,), "typestr": typestr, "data": data, "version": 3}

    Fake.__cuda_array_interface__ = None  # instances have their own
    sentence = f"CUDA error: NVIDIA's driver could not be loaded ({because}); an array on a CUDA device needs it"
    for _ in range(2):
        raises(RuntimeError, sentence, gorsqrt.rsqrt_, Fake(3))
        raises(RuntimeError, sentence, gorsqrt.rsqrt, Fake(3))
        raises(RuntimeError, sentence, gorsqrt.rsqrt, Fake(3), out=Fake(3, "<f8", 8192))
    cast = "result type Float can't be cast to the desired output type Long"
    raises(RuntimeError, cast, gorsqrt.rsqrt, Fake(3), out=Fake(3, "<i8", 8192))
    two = "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"
    raises(RuntimeError, two, gorsqrt.rsqrt, Fake(3), out=np.empty(3, "f4"))
    raises(RuntimeError, two, gorsqrt.rsqrt, np.ones(3, "f4"), out=Fake(3))
    empty = Fake(0, address=0)
    assert gorsqrt.rsqrt_(empty) is empty
    assert gorsqrt.rsqrt(np.array([4.0])) == [0.5]


@pytest.mark.spec("6.8", "2.1", "2.6")
@on_double
def test_dtypes():
    """The CPU's bits, of every dtype and to every dtype that takes it."""
    for source in REALS + COMPLEX + INTEGERS:
        x = values(source, 1027)
        if source in REALS + COMPLEX:
            a = double.Array(x)
            assert gorsqrt.rsqrt_(a) is a
            assert bits(a.get()) == bits(on_cpu(x)), source
        a = double.Array(x)
        for to in REALS + COMPLEX:
            if source in COMPLEX and to in REALS:
                continue
            out = double.Array(np.full(1027, 77, to))
            assert gorsqrt.rsqrt(a, out=out) is out
            assert bits(out.get()) == bits(on_cpu(x, to)), (source, to)
        assert bits(a.get()) == bits(x)


@pytest.mark.spec("2.6")
@on_double
def test_the_default_dtype():
    a = double.Array(np.array([4, 16, 3], "i4"))
    for name, dtype in (("float16", "f2"), ("float64", "f8"), ("float32", "f4")):
        gorsqrt.set_default_dtype(name)
        out = double.Array(np.zeros(3))
        gorsqrt.rsqrt(a, out=out)
        assert bits(out.get()) == bits(on_cpu(a.view, "f8"))
        assert bits(out.get()) == bits(on_cpu(a.view.astype(dtype)).astype("f8"))


def layouts(base):
    """Views of a C-contiguous array of 3 dimensions, all of shape (4, 5, 6) or less."""
    yield from (base, base.transpose(2, 0, 1), base[::-1], base[:, ::-2, ::3], base[..., 1:4], base[1:3, 2, ::-1])
    yield from (base[2, 3, 4:5], base[2, 3, 4, ...], base[:0], base[:, :, :1], np.broadcast_to(base[:, :1], base.shape))


@pytest.mark.spec("3.1", "4.1", "6.8")
@on_double
def test_layouts():
    for dtype in ("f4", "f2", "c16", "u1"):
        base = values(dtype, 120).reshape(4, 5, 6)
        to = "f4" if dtype == "u1" else dtype
        for view in layouts(base):
            expected = on_cpu(view, to)
            out_base = np.full(tuple(2 * n + 1 for n in view.shape), 77, to)
            inside = out_base[(..., *(slice(1, None, 2) for _ in view.shape))]
            for out_view, memory in ((inside, out_base), (whole := np.full(view.shape, 77, to), whole)):
                a, out = double.Array(view, base), double.Array(out_view, memory)
                gorsqrt.rsqrt(a, out=out)
                got = out.get()
                assert bits(got) == bits(expected), (dtype, view.shape, view.strides)
                host = memory.copy()
                np.ndarray(got.shape, got.dtype, host, out.offset, out_view.strides)[...] = expected
                assert out.memory.peek() == host.tobytes()  # not a byte beside
    # Items at any address, and strides that are no multiple of an item.
    packed = np.zeros(9, [("a", "u1"), ("x", "f8"), ("b", "u1")])
    packed["x"] = values("f8", 9)
    expected = on_cpu(packed["x"])
    a = double.Array(packed["x"], packed)
    gorsqrt.rsqrt_(a)
    assert bits(a.get()) == bits(expected)


@pytest.mark.spec("5.1", "5.2", "5.3")
@on_double
def test_overlap():
    """The CPU's answers, with nothing enqueued where that is a refusal."""
    base = np.arange(1, 17, dtype="f4")
    memory = double.Memory(base.tobytes())
    whole = double.Array(base, base, memory=memory)
    parts = [base[:8], base[4:12], base[8:], base[::2], base[1::2], base[::-1], np.broadcast_to(base[:1], 8)]
    for x, y in itertools.product(parts, parts):
        host = base.copy()
        move = lambda v, host=host: np.ndarray(v.shape, v.dtype, host, v.ctypes.data - base.ctypes.data, v.strides)  # noqa: E731
        try:
            gorsqrt.rsqrt(move(x), out=move(y))
            text = None
        except RuntimeError as error:
            text = str(error)
        a, b = double.Array(x, base, memory=memory), double.Array(y, base, memory=memory)
        double.log()
        if text is None:
            gorsqrt.rsqrt(a, out=b)
        else:
            raises(RuntimeError, text, gorsqrt.rsqrt, a, out=b)
            assert not any("Launch" in line for line in double.log())
        assert bits(whole.get()) == bits(host)
        with double.On(0):
            double.call("cuMemcpyHtoD_v2", memory.address, base.tobytes(), base.nbytes)


@pytest.mark.spec("3.2", "3.4", "3.6", "2.7")
@on_double
def test_refusals():
    """The CPU's texts; nothing is enqueued and nothing written."""
    x = np.array([4, 16, 25], "f4")
    a, out = double.Array(x), double.Array(np.full(3, 77, "f4"))
    array = double.Array
    name = "__cuda_array_interface__"
    double.log()
    read_only = array(x, data=(a.memory.address, True))
    raises(ValueError, "rsqrt_(): argument 'input' is read-only; a writable array is needed", gorsqrt.rsqrt_, read_only)
    raises(ValueError, "rsqrt(): argument 'out' is read-only; a writable array is needed", gorsqrt.rsqrt, a, out=read_only)
    text = "rsqrt(): argument 'out' has shape [2], which does not match the required output shape [3]; "
    raises(RuntimeError, text + "this container cannot be resized", gorsqrt.rsqrt, a, out=array(np.zeros(2, "f4")))
    text = "result type Float can't be cast to the desired output type Int"
    raises(RuntimeError, text, gorsqrt.rsqrt, a, out=array(np.zeros(3, "i4")))
    raises(RuntimeError, text, gorsqrt.rsqrt_, array(np.ones(3, "i4")))
    for dtype in ("|S4", ">f4"):
        with pytest.raises(TypeError, match=f"argument 'input' has dtype {re.escape(dtype)}, which is not supported"):
            gorsqrt.rsqrt(array(np.zeros(3, dtype)), out=out)
    stream = f"{name}: stream must be None, 1, 2 or a stream's handle, not "
    for flaw, text in (
        ({"mask": array(x)}, f"{name} must have a shape and a typestr, and no mask"),
        ({"stream": 0}, stream + "0"),
        ({"stream": -1}, stream + "-1"),
        ({"stream": 2**64}, stream + str(2**64)),
        ({"stream": "1"}, stream + "'1'"),
        ({"data": None}, f"{name}: data must be an address and a flag"),
        ({"data": b"123"}, f"{name}: data must be an address and a flag"),
        ({"data": (1, False)}, f"{name}: data can't be the address of this many items"),
        ({"shape": (2**32, 2**32), "strides": (0, 0)}, f"{name}: shape and strides are too large"),
        ({"shape": (-1,)}, f"{name}: a length is negative"),
        ({"shape": [3]}, f"{name}: shape and strides must be tuples of at most 64 integers"),
        ({"strides": (4, 4)}, f"{name}: strides and shape differ in length"),
    ):
        raises(ValueError, text, gorsqrt.rsqrt, array(x, **flaw), out=out)
        raises(ValueError, text, gorsqrt.rsqrt, a, out=array(x, **flaw))
    for function in (gorsqrt.rsqrt_, gorsqrt.rsqrt):
        raises(RuntimeError, "CUDA error: CUDA_ERROR_INVALID_VALUE: invalid argument", function, array(x, data=(4096, False)))
    assert not any("Launch" in line for line in double.log())
    assert (out.peek() == 77).all()
    assert bits(a.peek()) == bits(x)


@on_double
def test_versions_of_the_interface():
    """Version 2 has no stream, and strides are missing, or None, where the array is contiguous."""
    x = values("f4", 24).reshape(4, 6)
    for entries in ({"version": 2}, {"strides": None}, {"stream": None}):
        a = double.Array(x, **entries)
        if entries == {"version": 2}:
            del a.interface["strides"]
        gorsqrt.rsqrt_(a)
        assert bits(a.get()) == bits(on_cpu(x))


@on_double
def test_streams():
    """Launched on the array's stream, not waited for, and seen by it."""
    x = np.array([4, 16, 25], "f4")
    expected = bits(on_cpu(x))
    for stream in (None, 1, 2, double.stream(), double.stream(blocking=True)):
        a = double.Array(x, stream=stream)
        gorsqrt.rsqrt_(a)
        assert double.pending() == 1
        assert bits(a.peek()) == bits(x)
        assert bits(a.get(stream or 0)) == expected
    # Two streams, neither of which waits for the other by itself.
    one, two = double.stream(), double.stream()
    a, b = double.Array(x, stream=one), double.Array(np.zeros(3, "f4"), stream=two)
    gorsqrt.rsqrt_(a)  # waits on the first
    gorsqrt.rsqrt(a, out=b)
    assert bits(b.get(two)) == bits(on_cpu(on_cpu(x)))
    gorsqrt.rsqrt(a, out=b)
    with double.On(0):  # work on the first that would spoil the second's
        double.call("cuMemsetD8Async", a.memory.address, 0x40, 12, one)
        double.call("cuStreamSynchronize", one)
    assert bits(b.get(two)) == bits(on_cpu(on_cpu(x)))
    # One of them says nothing: where the other is.
    for a, b in ((double.Array(x, stream=one), double.Array(x)), (double.Array(x), double.Array(x, stream=one))):
        double.log()
        gorsqrt.rsqrt(a, out=b)
        assert not any("Event" in line for line in double.log())
        assert bits(b.get(one)) == expected


@on_double
def test_any_order_that_the_streams_allow():
    """Calls on arrays of several streams see each other's results, in any order of the device's
    work."""
    for seed in range(40):
        double.schedule(seed)
        rng = np.random.default_rng(seed)
        streams = [1, 2, double.stream(), double.stream(), double.stream(blocking=True)]
        wanted = [values("f4", 100, i) for i in range(8)]
        arrays = [double.Array(x, stream=int(rng.choice(streams))) for x in wanted]
        for _ in range(60):
            i, j = rng.integers(0, 8, 2)
            if i == j:
                gorsqrt.rsqrt_(arrays[i])
                gorsqrt.rsqrt_(wanted[i])
            else:
                gorsqrt.rsqrt(arrays[i], out=arrays[j])
                gorsqrt.rsqrt(wanted[i], out=wanted[j])
        for a, x in zip(arrays, wanted, strict=True):
            assert bits(a.get(a.interface["stream"])) == bits(x), seed


@on_double
def test_the_first_call_in_a_capture():
    """It is captured and breaks nothing; the replay computes what is there then."""
    x = np.array([4, 16, 25], "f4")
    stream = double.stream()
    a, b = double.Array(x, stream=stream), double.Array(np.zeros(3, "f4"), stream=stream)
    with double.On(0):
        double.call("cuStreamBeginCapture_v2", stream, 0)
    gorsqrt.rsqrt(a, out=b)
    with double.On(0):
        graph = end_capture(stream)
        assert (b.peek() == 0).all()
        double.call("cuMemcpyHtoD_v2", a.memory.address, np.array([1, 4, 100], "f4").tobytes(), 12)
        double.call("cuGraphLaunch", graph, stream)
    assert b.get(stream).tolist() == on_cpu(np.array([1, 4, 100], "f4")).tolist()


def end_capture(stream):
    graph = ctypes.c_uint64()
    double.call("cuStreamEndCapture", stream, ctypes.byref(graph))
    return double.made("cuGraphInstantiateWithFlags", graph.value, 0)


@pytest.mark.spec("3.5")
@on_double
def test_two_devices():
    x = np.array([4, 16, 25], "f4")
    zero, one = double.Array(x), double.Array(x, device=1)
    text = "Expected all tensors to be on the same device, but found at least two devices, {} and {}!"
    raises(RuntimeError, text.format("cuda:1", "cuda:0"), gorsqrt.rsqrt, zero, out=one)
    raises(RuntimeError, text.format("cuda:0", "cuda:1"), gorsqrt.rsqrt, one, out=zero)
    raises(RuntimeError, text.format("cuda:1", "cpu"), gorsqrt.rsqrt, one, out=x)
    raises(RuntimeError, text.format("cuda:1", "cpu"), gorsqrt.rsqrt, x, out=one)
    gorsqrt.rsqrt_(one)
    assert (double.pending(0), double.pending(1)) == (0, 1)
    assert bits(one.get()) == bits(on_cpu(x))
    gorsqrt.rsqrt_(zero)
    assert (double.pending(0), double.pending(1)) == (1, 0)
    assert bits(zero.get()) == bits(on_cpu(x))


@on_double
def test_errors_of_the_driver():
    """Each call that fails once: CUDA's name and text, nothing written; the next call works."""
    x = np.array([4, 16, 25], "f4")
    streams = double.stream(), double.stream()
    double.log()
    a, b = double.Array(x, stream=streams[0]), double.Array(np.zeros(3, "f4"), stream=streams[1])
    failing = ["cuInit", "cuPointerGetAttribute", "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuCtxPushCurrent",
               "cuThreadExchangeStreamCaptureMode", "cuModuleLoadData", "cuModuleGetFunction", "cuEventCreate", "cuEventRecord",
               "cuStreamWaitEvent", "cuLaunchKernel"]  # fmt: skip
    for function in failing:
        double.fail(function, 2)
        raises(RuntimeError, "CUDA error: CUDA_ERROR_OUT_OF_MEMORY: out of memory", gorsqrt.rsqrt, a, out=b)
        assert (b.get(streams[1]) == 0).all(), function
    gorsqrt.rsqrt(a, out=b)
    assert bits(b.get(streams[1])) == bits(on_cpu(x))


@pytest.mark.spec("1.3", "4.1", "6.8")
@on_double
def test_fresh_results():
    """Results are on the input's device, and have the interface and DLPack. They are valid
    inputs."""
    blocks = [double.blocks(d) for d in (0, 1)]
    for dtype in (*REALS, *COMPLEX, "u1"):
        base = values(dtype, 120).reshape(4, 5, 6)
        floats = base.astype("f4") if dtype == "u1" else base
        streams = itertools.cycle([None, 1, 2, double.stream(1)])
        for view, same, stream in zip(layouts(base), layouts(floats), streams, strict=False):
            expected = gorsqrt.rsqrt(same)
            a = double.Array(view, base, device=1, stream=stream)
            y = gorsqrt.rsqrt(a)
            interface = y.__cuda_array_interface__
            assert (interface["shape"], interface["typestr"]) == (view.shape, expected.dtype.str)
            assert interface["strides"] == expected.strides or view.size == 0
            assert (interface["version"], interface["stream"]) == (3, 1)
            assert y.__dlpack_device__() == (2, 1 if view.size else 0)
            assert on_device(y) == bits(expected)
            assert gorsqrt.rsqrt_(y) is y
            out = double.Array(np.zeros(view.shape, expected.dtype), device=1)
            gorsqrt.rsqrt(y, out=out)
            assert bits(out.get()) == bits(gorsqrt.rsqrt(gorsqrt.rsqrt(expected)))
            z = gorsqrt.rsqrt(y)
            assert type(z) is type(y)
            assert on_device(z) == bits(gorsqrt.rsqrt(gorsqrt.rsqrt(expected)))
            for array in (a, out):
                if view.size:
                    assert array.memory.device == 1
                with double.On(1):
                    double.call("cuMemFree_v2", array.memory.address)
            del y, z
    with double.On(1):
        double.call("cuCtxSynchronize")
    assert [double.blocks(d) for d in (0, 1)] == blocks
    with pytest.raises(RuntimeError, match="CUDA_ERROR_OUT_OF_MEMORY: out of memory"):
        gorsqrt.rsqrt(double.Array(base.astype("f4"), shape=(1 << 50,), strides=(0,)))


def on_device(y):
    """The bytes of an array with the interface, in C order, once the default stream is done."""
    interface = y.__cuda_array_interface__
    shape, strides, dtype = interface["shape"], interface["strides"], np.dtype(interface["typestr"])
    with double.On(y.__dlpack_device__()[1]):
        double.call("cuStreamSynchronize", 0)
    if 0 in shape:
        return b""
    size = dtype.itemsize + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    whole = np.frombuffer(ctypes.string_at(interface["data"][0], size), np.uint8)
    return bits(np.ndarray(shape, dtype, whole, 0, strides))


@pytest.mark.spec("1.3", "4.1", "8.5")
@on_double
def test_cupy():
    """A cupy.ndarray gives one, on its device, by cupy's allocator, on the current stream."""
    import ml_dtypes

    cupy = double.cupy()
    base = values("f4", 120).reshape(4, 5, 6)
    for view in layouts(base):
        x = cupy.ndarray(None, view=view, base=base)
        y = gorsqrt.rsqrt(x)
        expected = gorsqrt.rsqrt(view)
        assert type(y) is cupy.ndarray
        assert y.dtype == np.float32
        assert y.shape == np.shape(expected)
        assert y.strides == expected.strides or y.size == 0
        assert bits(y.get()) == bits(expected)
    for dtype in [*REALS, *COMPLEX, *INTEGERS, ml_dtypes.bfloat16]:
        v = values(dtype, 33) if dtype is not ml_dtypes.bfloat16 else values("u2", 33).view(dtype)
        y = gorsqrt.rsqrt(cupy.ndarray(None, view=v, **({"typestr": "<V2", "strides": None} if v.dtype.kind == "V" else {})))
        assert y.dtype == gorsqrt.rsqrt(v).dtype
        assert bits(y.get()) == bits(gorsqrt.rsqrt(v)), dtype
    stream = double.stream(1)
    cupy.cuda.streams[1] = stream
    x = cupy.ndarray(None, view=base.copy(), device=1)
    double.log()
    y = gorsqrt.rsqrt(x)
    assert y.memory.device == 1
    assert f"stream {stream:#x}" in "".join(double.log())
    assert bits(y.get(stream)) == bits(gorsqrt.rsqrt(base))
    assert gorsqrt.rsqrt_(x) is x
    assert gorsqrt.rsqrt(x, out=y) is y
    assert bits(y.get(stream)) == bits(gorsqrt.rsqrt(gorsqrt.rsqrt(base)))
    two = "Expected all tensors to be on the same device, but found at least two devices, cuda:1 and cpu!"
    raises(RuntimeError, two, gorsqrt.rsqrt, x, out=base.copy())
    unsupported = cupy.ndarray(None, view=np.zeros(3, "S4"))
    with pytest.raises(TypeError, match=r"^rsqrt\(\): argument 'input' has dtype \|S4, which is not supported"):
        gorsqrt.rsqrt(unsupported)


@pytest.mark.spec("8.2")
@on_double
def test_fork():
    """A child of a process that has used CUDA can't; one of a process that has not, can."""
    x = np.array([4, 16, 25], "f4")

    def child(work):
        if pid := os.fork():
            assert os.waitpid(pid, 0)[1] == 0
            return
        try:
            work()
        except BaseException as error:
            print(error, flush=True)
            os._exit(1)
        os._exit(0)

    def first():
        a = double.Array(x)
        gorsqrt.rsqrt_(a)
        assert bits(a.get()) == bits(gorsqrt.rsqrt(x))

    child(first)
    a = double.Array(x)
    gorsqrt.rsqrt_(a)

    def late():
        text = "Cannot re-initialize CUDA in forked subprocess. To use CUDA with multiprocessing, you must use the "
        raises(RuntimeError, text + "'spawn' start method", gorsqrt.rsqrt_, a)
        assert gorsqrt.rsqrt(x[::-1]).tolist() == gorsqrt.rsqrt(x)[::-1].tolist()

    child(late)
    assert bits(a.get()) == bits(gorsqrt.rsqrt(x))


@pytest.mark.spec("8.1")
@on_double
def test_threads_and_references():
    x = values("f4", 1000)
    expected = bits(on_cpu(x))
    wrong = []

    def work():
        stream = double.stream()
        for _ in range(50):
            a, out = double.Array(x, stream=stream), double.Array(np.zeros(1000, "f4"), stream=stream)
            counts = [sys.getrefcount(o) for o in (a, out, a.interface)]
            gorsqrt.rsqrt(a, out=out)
            if counts != [sys.getrefcount(o) for o in (a, out, a.interface)] or bits(out.get(stream)) != expected:
                wrong.append(counts)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
