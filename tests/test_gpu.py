"""Tests for a GPU, `pytest -m gpu`: the CPU's bits, streams, captures and devices.

They use NVIDIA's driver, torch and cupy. `make test` runs them on the test doubles of the driver
and the runtime: the two functions without the mark do that.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import cuda_double
import cuda_driver as cuda
import ml_dtypes
import numpy as np
import pytest
from cuda_driver import array
from hard_cases import f64_hard_bits
from test_cuda_arrays import COMPLEX, INTEGERS, REALS, bits, layouts, on_cpu, raises, values

import gorsqrt

HERE = Path(__file__).resolve().parent
gpu = pytest.mark.gpu
BF16 = np.dtype(ml_dtypes.bfloat16)
COMPUTED = [np.dtype(name) for name in (*REALS, *COMPLEX)] + [BF16]
RANDOM = np.random.default_rng(1)


def check(x, device=0):
    """The CPU's bits into other memory and in place, aligned and off by an item, and no byte
    beside."""
    want = bits(on_cpu(x))
    one = np.zeros(1, x.dtype)
    for parts in ([x], [one, x]):
        base = np.concatenate(parts)
        start = len(base) - len(x)
        source, target = array(base[start:], base, device), np.full(len(base) + 5, 77, x.dtype)
        out = array(target[start : len(base)], target, device)
        assert gorsqrt.rsqrt(source, out=out) is out
        assert bits(out.get()) == want
        beside = np.frombuffer(out.memory.read(), x.dtype)
        assert bits(beside[: len(base) - len(x)]) + bits(beside[len(base) :]) == bits(
            np.full(len(target) - len(x), 77, x.dtype)
        )
        assert bits(source.get()) == bits(x)
        assert gorsqrt.rsqrt_(source) is source
        assert bits(source.get()) == want
        for memory in (source.memory, out.memory):
            memory.free()


@gpu
@pytest.mark.parametrize("dtype", [np.dtype(np.float16), BF16], ids=["float16", "bfloat16"])
def test_every_16_bit_value(dtype):
    for _ in range(8):
        check(RANDOM.permutation(1 << 16).astype(np.uint16).view(dtype))


@gpu
def test_float32():
    """Every mantissa and both parities of the exponent, and any bits."""
    check(np.arange(0x3F800000, 0x40800000, dtype=np.uint32).view(np.float32))
    check(RANDOM.integers(0, 1 << 32, 1 << 22, dtype=np.uint32).view(np.float32))


@gpu
def test_float64():
    hard = f64_hard_bits()
    for _ in range(4):
        check(RANDOM.permutation(hard).view(np.float64))
    check(RANDOM.integers(0, 1 << 64, 1 << 20, dtype=np.uint64).view(np.float64))


@gpu
@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_complex(dtype):
    from test_complex import kinds  # imports torch, which a first call in a capture does without

    for _, re_, im in kinds(dtype):
        z = np.empty(len(re_), dtype)
        z.real, z.imag = re_, im
        check(z)
    parts = np.array([0, 1, np.inf, np.nan, np.finfo(dtype).max, np.finfo(dtype).tiny, np.finfo(dtype).smallest_subnormal])
    parts = np.concatenate([parts, -parts]).astype(z.real.dtype)
    z = np.empty((len(parts), len(parts)), dtype)
    z.real, z.imag = parts[:, None], parts
    check(RANDOM.permutation(z.ravel()))
    check(values(dtype, 1 << 18))


@gpu
@pytest.mark.parametrize("dtype", COMPUTED, ids=str)
def test_lengths(dtype):
    """Around a vector, a warp and a block."""
    block = 256 * 4 * 16 // dtype.itemsize
    for n in (*range(20), 31, 32, 33, 127, 128, 129, 255, 256, 257, block - 1, block, block + 1, 3 * block + 5):
        check(values("u2", n).view(BF16) if dtype == BF16 else values(dtype, n))


@gpu
def test_layouts():
    for dtype in ("f4", "f2", "c16", "u1", BF16):
        base = (values("u2", 120).view(BF16) if dtype == BF16 else values(dtype, 120)).reshape(4, 5, 6)
        to = "f4" if dtype == "u1" else dtype
        for view in layouts(base):
            expected, whole = on_cpu(view, to), np.full(tuple(2 * n + 1 for n in view.shape), 77, to)
            inside = whole[(..., *(slice(1, None, 2) for _ in view.shape))]
            out = array(inside, whole)
            gorsqrt.rsqrt(array(view, base), out=out)
            inside[...] = expected
            assert out.memory.read() == bits(whole), (dtype, view.shape, view.strides)


@gpu
def test_casts():
    """Every dtype to every one that takes it, integers by the default dtype too."""
    for default in ("float64", "float32"):
        gorsqrt.set_default_dtype(default)
        for source in [*COMPUTED, *map(np.dtype, INTEGERS)]:
            x = values("u2", 1027).view(BF16) if source == BF16 else values(source, 1027)
            for to in COMPUTED:
                out = np.full(1027, 77).astype(to)
                if source.kind == "c" and to.kind != "c":
                    text = f"result type {'ComplexFloat' if source == 'c8' else 'ComplexDouble'} can't be cast to the desired "
                    with pytest.raises(RuntimeError, match=re.escape(text)):
                        gorsqrt.rsqrt(array(x), out=array(out))
                    continue
                result = array(out)
                gorsqrt.rsqrt(array(x), out=result)
                assert bits(result.get()) == bits(on_cpu(x, to)), (source, to)


@gpu
def test_overlap():
    """The CPU's refusals. Other overlaps are right, by a temporary or without one."""
    base = np.arange(1, 17, dtype="f4")
    parts = [base[:8], base[4:12], base[8:], base[::2], base[1::2], base[::-1], np.broadcast_to(base[:1], 8)]
    for x in parts:
        for y in parts:
            host, memory = base.copy(), cuda.Memory(base.tobytes())
            a, b = cuda.Array(x, base, memory=memory), cuda.Array(y, base, memory=memory)
            moved = [np.ndarray(v.shape, v.dtype, host, v.ctypes.data - base.ctypes.data, v.strides) for v in (x, y)]
            try:
                gorsqrt.rsqrt(moved[0], out=moved[1])
            except RuntimeError as error:
                raises(RuntimeError, str(error), gorsqrt.rsqrt, a, out=b)
            else:
                gorsqrt.rsqrt(a, out=b)
            assert memory.read() == bits(host)
            memory.free()


@gpu
def test_streams():
    """The work comes after the work on the array's stream. An out on another stream waits for
    it."""
    n = 1 << 22
    x = values("f4", n)
    expected = bits(on_cpu(on_cpu(x)))
    for blocking in (False, True):
        one, two = cuda.stream(blocking=blocking), cuda.stream(blocking=blocking)
        for first, second in ((one, one), (one, two), (two, 1), (1, two), (2, one)):
            a, b = cuda.Array(x, stream=first), cuda.Array(np.zeros(n, "f4"), stream=second)
            gorsqrt.rsqrt_(a)
            gorsqrt.rsqrt(a, out=b)
            assert bits(b.get(second)) == expected
            a.memory.free()
            b.memory.free()


@gpu
@pytest.mark.parametrize("mode", [0, 1, 2], ids=["global", "thread", "relaxed"])
def test_first_calls_in_a_capture(mode):
    """In a process that has not called gorsqrt yet; the replay computes what is there then."""
    code = f"import test_gpu as t; t.first_calls_in_a_capture({mode})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=HERE, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def first_calls_in_a_capture(mode):
    stream = cuda.stream()
    for dtype in [*REALS, *COMPLEX]:
        x = np.array([4, 16, 25, 1], dtype)
        a, b = cuda.Array(x, stream=stream), cuda.Array(np.zeros(4, dtype), stream=stream)
        c = cuda.Array(np.zeros(4, "c16"), stream=stream)

        def work(a=a, b=b, c=c):
            gorsqrt.rsqrt(a, out=b)
            gorsqrt.rsqrt(b, out=c)

        replay = cuda.captured(stream, work, mode=mode)
        assert not b.get(stream).any()
        for more in (x, x + 3):
            a.memory.write(more.tobytes())
            replay()
            assert bits(b.get(stream)) == bits(on_cpu(more))
            assert bits(c.get(stream)) == bits(on_cpu(on_cpu(more), "c16"))


@gpu
def test_every_device():
    """And two at once are refused."""
    x = values("f4", 1000)
    for device in range(cuda.devices()):
        check(x, device)
        for other in set(range(cuda.devices())) - {device}:
            text = "Expected all tensors to be on the same device, but found at least two devices, "
            with pytest.raises(RuntimeError, match=text + f"cuda:{other} and cuda:{device}!"):
                gorsqrt.rsqrt(array(x, device=device), out=array(x, device=other))
        with pytest.raises(RuntimeError, match="the same device, but found at least two devices, "):
            gorsqrt.rsqrt(array(x, device=device), out=x.copy())


@gpu
def test_torch():
    """torch's CUDA tensors: fresh, out=, in place, strided, on the current stream, in CUDA
    graphs."""
    import torch

    if not torch.cuda.is_available():
        pytest.skip("this torch has no CUDA")
    names = {"f2": "float16", "f4": "float32", "f8": "float64", "c8": "complex64", "c16": "complex128"}
    for code, name in names.items():
        x = torch.from_numpy(values(code, 3000)).reshape(30, 100)
        want, device = gorsqrt.rsqrt(x), x.cuda()
        for view in (device, device.T, device[::2, ::3]):
            y = gorsqrt.rsqrt(view)
            assert (y.device, y.dtype) == (view.device, getattr(torch, name))
            same = torch.empty_strided(y.shape, y.stride(), dtype=y.dtype)
            host = want.T if view.shape == (100, 30) else want[::2, ::3] if view.shape == (15, 34) else want
            assert bits(same.copy_(y).numpy()) == bits(host.numpy())
        out = torch.empty_like(device)
        with torch.cuda.stream(torch.cuda.Stream()):
            assert gorsqrt.rsqrt(device, out=out) is out
            assert bits(out.cpu().numpy()) == bits(want.numpy())
            assert gorsqrt.rsqrt_(out) is out
            torch.cuda.current_stream().synchronize()
        assert bits(out.cpu().numpy()) == bits(gorsqrt.rsqrt(want).numpy())
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        with torch.cuda.graph(graph):
            y = gorsqrt.rsqrt(device)
        device.copy_(want)
        graph.replay()
        assert bits(y.cpu().numpy()) == bits(gorsqrt.rsqrt(want).numpy())


@gpu
def test_cupy():
    cupy = pytest.importorskip("cupy")
    for dtype in [*REALS, *COMPLEX]:
        x = values(dtype, 3000).reshape(30, 100)
        on_device = cupy.asarray(x)
        for view, host in ((on_device, x), (on_device.T, x.T), (on_device[::2, ::-3], x[::2, ::-3])):
            y = gorsqrt.rsqrt(view)
            assert type(y) is cupy.ndarray
            assert bits(cupy.asnumpy(y)) == bits(gorsqrt.rsqrt(host))


# Without the mark: the tests above on the doubles, and where there is nothing.


def marked(environment, *more):
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-p", "no:cacheprovider", *more, str(HERE / "test_gpu.py")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, cwd=HERE.parent)


def test_all_on_the_doubles():
    done = marked(cuda_double.torch_environment(), "-k", "not cupy")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\n=+ \d\d passed, \d+ deselected in", done.stdout), done.stdout  # and none left out


def test_without_a_device(tmp_path):
    """One sentence, and nothing passes."""
    library = tmp_path / "libcuda.so.1"
    library.touch()  # found before the machine's, if it has one
    done = marked({**os.environ, "LD_LIBRARY_PATH": str(tmp_path)})
    assert done.returncode == 4
    assert "passed" not in done.stdout
    reason = f"NVIDIA's driver could not be loaded ({library}: file too short)"
    assert f"ERROR: the tests marked gpu need a CUDA device, and there is none: {reason}\n" in done.stderr + done.stdout
