"""Contract 7.11, and 1 to 7 on CUDA devices: torch's tensors on the test doubles (test_torch_cuda).

torch's own kernels don't run there. So torch's layouts, resizes and errors come from the same call
on the CPU. There integers are cast first, which can change the layout: their layouts come from a
call with another dtype. The bits are compared with gorsqrt's on the CPU.
"""

import gc
import itertools
import os
import re
import subprocess
import sys
import textwrap
import threading
import warnings

import cuda_double as double
import numpy as np
import pytest
import torch
from cuda_double import on_doubles
from dlpack_producer import BACK, OUT, Producer
from torch_oracle import COMPLEX, FLOATS, INTEGERS

import gorsqrt.torch
from gorsqrt import _gorsqrt

OPS = torch.ops.gorsqrt


class ByOps:
    """The registered ops under the functions' names: the second door."""

    rsqrt = staticmethod(lambda x, out=None: OPS.rsqrt(x) if out is None else OPS.rsqrt.out(x, out=out))
    rsqrt_ = staticmethod(lambda x: OPS.rsqrt_(x))


DOORS = [gorsqrt, ByOps]


def storage_bytes(t):
    """A copy of all of a tensor's storage, in the CPU's memory."""
    return torch.empty(0, dtype=torch.uint8, device=t.device).set_(t.untyped_storage()).cpu()


def like(t, storage):
    """A tensor with t's dtype and layout on a storage of these bytes, new in every respect."""
    return storage.view(t.dtype).as_strided(t.size(), t.stride(), t.storage_offset()).detach()


def to(device, t):
    """The same tensor there, with all of its storage, whatever its layout."""
    return like(t, storage_bytes(t).to(device))


def cuda(t):
    return to("cuda", t)


def cpu(t):
    return to("cpu", t)


def bytes_of(t):
    return t.contiguous().reshape(-1).view(torch.uint8)


def same_bits(a, b):
    """Whether two tensors have the same values bit for bit, dtype and shape."""
    a, b = cpu(a.detach()), cpu(b.detach())
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return a.numel() == 0 or torch.equal(bytes_of(a), bytes_of(b))


def torchs_strides(t):
    return torch.rsqrt(torch.empty_strided(t.size(), t.stride())).stride()


def values(*shape, dtype=torch.float32, seed=0):
    """Any bit patterns, with the special values among them."""
    rng = np.random.default_rng(seed)
    n = int(np.prod(shape))
    if n == 0:
        return torch.empty(shape, dtype=dtype)
    if dtype is torch.bool:
        return torch.from_numpy(rng.integers(0, 2, n).astype(bool)).reshape(shape)
    x = torch.from_numpy(np.frombuffer(rng.bytes(n * dtype.itemsize), np.uint8).copy()).view(dtype)
    if dtype.is_floating_point or dtype.is_complex:
        part = torch.view_as_real(x).reshape(-1) if dtype.is_complex else x
        one = torch.finfo(dtype)
        specials = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, torch.nan, 1, -1, 4, one.tiny, -one.tiny, one.max])
        part[::3] = specials.to(part.dtype)[torch.from_numpy(rng.integers(0, len(specials), len(part[::3])))]
    else:
        x[::7] = 0
    return x.reshape(shape)


def poisoned(t):
    """A tensor of ones in t's layout, where every byte beside its elements is 0x77."""
    storage = torch.full((t.untyped_storage().nbytes(),), 0x77, dtype=torch.uint8)
    return like(t, storage)


def raises(kind, text, call):
    with pytest.raises(kind) as caught:
        call()
    assert text in str(caught.value), str(caught.value)


# 7.1, 1.2, 2, 4, 6.8: the CPU's rules and bits.


@pytest.mark.spec("7.1", "7.11", "1.2", "2.1", "2.2", "2.5", "6.8")
@on_doubles()
def test_every_dtype_and_form():
    shapes = [(), (1,), (7,), (33,), (0,), (2, 0, 3), (3, 4), (1027,)]
    for f, dtype, shape in itertools.product(DOORS, FLOATS + COMPLEX + INTEGERS, shapes):
        x = values(*shape, dtype=dtype)
        want = gorsqrt.rsqrt(x)
        a = cuda(x)
        y = f.rsqrt(a)
        assert same_bits(y, want), (dtype, shape)
        assert (type(y), y.device, y.stride()) == (torch.Tensor, a.device, torchs_strides(x))
        assert y._version == a._version == 0
        assert y.untyped_storage().resizable()
        assert y.untyped_storage().nbytes() == want.untyped_storage().nbytes()
        assert y.data_ptr() != a.data_ptr() or y.numel() == 0
        assert same_bits(a, x)
        out = cuda(torch.full_like(want, 77))
        assert f.rsqrt(a, out=out) is out
        assert same_bits(out, want)
        assert out._version == 1
        if dtype in INTEGERS:
            text = f"result type Float can't be cast to the desired output type {NAMES[dtype]}"
            raises(RuntimeError, text, lambda f=f, a=a: f.rsqrt_(a))
            raises(RuntimeError, text, lambda f=f, a=a: f.rsqrt(a, out=a))
            assert same_bits(a, x)
        else:
            assert f.rsqrt_(a) is a
            assert same_bits(a, want)
            assert a._version == 1
            b = cuda(x)
            assert f.rsqrt(b, out=b) is b
            assert same_bits(b, want)


NAMES = dict(zip(INTEGERS, ["Bool", "Char", "Short", "Int", "Long", "Byte", "UInt16", "UInt32", "UInt64"], strict=True))


@pytest.mark.spec("7.1", "7.11", "2.3", "2.4", "2.6")
@on_doubles()
def test_cast_to_out():
    for f, dtype, target in itertools.product(DOORS, FLOATS + COMPLEX + INTEGERS, FLOATS + COMPLEX + INTEGERS):
        x = values(99, dtype=dtype)
        out = torch.full((99,), 1, dtype=target)
        there = cuda(out)
        try:
            torch.rsqrt(x, out=out.clone())
        except RuntimeError as error:
            raises(RuntimeError, str(error), lambda f=f, x=x, there=there: f.rsqrt(cuda(x), out=there))
            assert same_bits(there, out)
        else:
            assert f.rsqrt(cuda(x), out=there) is there
            assert same_bits(there, gorsqrt.rsqrt(x, out=out)), (dtype, target)


@pytest.mark.spec("2.2", "7.11")
@on_doubles()
def test_integers_go_by_torchs_default_dtype():
    for f, default, dtype in itertools.product(DOORS, FLOATS, INTEGERS):
        torch.set_default_dtype(default)
        try:
            x = values(40, dtype=dtype)
            assert same_bits(f.rsqrt(cuda(x)), gorsqrt.rsqrt(x))
        finally:
            torch.set_default_dtype(torch.float32)


def layouts(dtype):
    """Views: permuted, channels_last, expanded, sliced, with holes and steps, of length 1."""
    x = values(4, 5, 6, 2, dtype=dtype)
    yield from (x, x.permute(3, 1, 0, 2), x.contiguous(memory_format=torch.channels_last), x[1:, ::2, 1:5:3], x[:, :1], x[2, 3])
    yield from (x.transpose(0, 1)[:, :, 0], x[..., None, :, :], x[:, :0], x[:1].expand(3, 5, 6, 2), x[0, 0, 0, 0])
    yield from (x[:, 0, :1, :].expand(4, 6, 2), x.reshape(-1)[1:-1], x.as_strided((3, 2), (7, 30), 5))
    rng = np.random.default_rng(7)
    for _ in range(30):
        shape = rng.integers(1, 4, rng.integers(0, 6))
        strides = rng.integers(0, 12, len(shape))
        if int((strides * (shape - 1)).sum()) < x.numel() - 9:
            yield x.as_strided(shape.tolist(), strides.tolist(), int(rng.integers(0, 9)))


@pytest.mark.spec("4.1", "3.1", "7.1", "7.11", "6.8")
@on_doubles()
def test_layouts():
    """The strides are torch's, the bits the CPU's, and beside out's elements not a byte changes."""
    for dtype in (torch.float32, torch.float16, torch.complex128, torch.uint8):
        for x in layouts(dtype):
            want = gorsqrt.rsqrt(x)
            for f in DOORS:
                a = cuda(x)
                y = f.rsqrt(a)
                assert y.stride() == torchs_strides(x), (x.size(), x.stride())
                assert same_bits(y, want)
                out = poisoned(torch.empty(tuple(2 * n + 1 for n in x.shape), dtype=want.dtype))
                inside = out[(..., *(slice(1, None, 2) for _ in x.shape))]
                there = cuda(inside)
                f.rsqrt(a, out=there)
                inside.copy_(want)
                assert torch.equal(storage_bytes(there), storage_bytes(out))


@pytest.mark.spec("4.1")
@on_doubles()
def test_64_dimensions():
    x = values(2, 3).reshape(*[1] * 62, 2, 3)
    assert same_bits(gorsqrt.rsqrt(cuda(x)), gorsqrt.rsqrt(x))
    for f in DOORS:
        raises(RuntimeError, "", lambda f=f: f.rsqrt(cuda(x)[None]))


# 3: out=.


def seen(f, x, out):
    """What becomes of out, and what is said."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            assert f.rsqrt(x, out=out) is out
            error = None
        except RuntimeError as raised:
            error = str(raised)
    said = {(w.category, str(w.message)) for w in caught}  # torch says it twice on the CPU where it casts, and there alone
    return error, said, out.shape, out.stride(), out.storage_offset(), out._version


@pytest.mark.spec("3.2", "3.6", "7.5")
@on_doubles()
def test_resize():
    """As torch on the CPU: warnings, strides, offset, version, and the size of the storage."""
    torch.set_warn_always(True)
    x = values(4, 5, 2, 3)
    inputs = [x, x.permute(3, 1, 0, 2), x[:0], x[0, 0, 0, 0], x.contiguous(memory_format=torch.channels_last)]
    outs = [
        lambda: torch.ones(7), lambda: torch.empty(0), lambda: torch.ones(500), lambda: torch.ones(3, 200)[1:, ::2],
        lambda: torch.ones(4, 5, 2), lambda: torch.empty(0, dtype=torch.float64), lambda: torch.ones(3, dtype=torch.int32),
        lambda: torch.ones(6)[2:], lambda: torch.ones(2, dtype=torch.complex64),
    ]  # fmt: skip
    for f, a, make in itertools.product(DOORS, inputs, outs):
        ours, theirs = cuda(make()), make()
        said = seen(f, cuda(a), ours)
        assert said == seen(torch, a, theirs), (said, seen(torch, a, make()))
        assert ours.untyped_storage().nbytes() == theirs.untyped_storage().nbytes()
        if said[0] is None:
            assert same_bits(ours, gorsqrt.rsqrt(a, out=theirs))
    with torch.no_grad():
        a, out = cuda(x).requires_grad_(), cuda(torch.ones(7)).requires_grad_()
        with pytest.warns(UserWarning, match="was resized"):
            assert gorsqrt.rsqrt(a, out=out) is out
    assert same_bits(out, gorsqrt.rsqrt(x))
    # Memory of somebody else's can't grow.
    block = double.Array(np.ones(3, "f4"))
    out = torch.as_tensor(block, device="cuda")
    with pytest.warns(UserWarning, match="was resized"):
        raises(RuntimeError, "Trying to resize storage that is not resizable", lambda out=out: gorsqrt.rsqrt(cuda(x), out=out))
    assert out.shape == (3,)
    with pytest.warns(UserWarning, match="was resized"):
        gorsqrt.rsqrt(cuda(x)[0, 0, 0, :2], out=out)
    assert same_bits(out, gorsqrt.rsqrt(x[0, 0, 0, :2]))
    torch.set_warn_always(False)
    del out
    with double.On(0):
        double.call("cuMemFree_v2", block.memory.address)


@pytest.mark.spec("5.1", "5.2", "5.3", "5.4", "3.6")
@on_doubles()
def test_overlap():
    """The CPU's answers, and nothing is enqueued where that is a refusal."""
    base = torch.arange(1.0, 17)
    slices = [slice(0, 8), slice(4, 12), slice(8, 16), slice(0, 16, 2), slice(1, 16, 2)]
    parts = [lambda t, s=s: t[s] for s in slices] + [lambda t: t[:1].expand(8), lambda t: t.as_strided((8,), (1,), 3)]
    for f, x, y in itertools.product(DOORS, parts, parts):
        host, there = base.clone(), cuda(base)
        try:
            gorsqrt.rsqrt(x(host), out=y(host))
        except RuntimeError as error:
            double.log()
            raises(RuntimeError, str(error), lambda f=f, x=x, y=y, t=there: f.rsqrt(x(t), out=y(t)))
            assert not any("Launch" in line for line in double.log())
        else:
            f.rsqrt(x(there), out=y(there))
        assert same_bits(there, host)
    z = torch.ones(6, dtype=torch.complex64)
    there = cuda(z)
    gorsqrt.rsqrt(torch.view_as_real(there)[:, 0], out=there)  # through a temporary
    gorsqrt.rsqrt(torch.view_as_real(z)[:, 0].clone(), out=z)
    assert same_bits(there, z)


# 3.5, 7.11: devices and streams.


@pytest.mark.spec("3.5", "3.6", "7.11")
@on_doubles()
def test_devices():
    x = values(100)
    zero, one = cuda(x), to("cuda:1", x)
    text = "Expected all tensors to be on the same device, but found at least two devices, {} and {}!"
    for f in DOORS:
        for shape in (100, 7):  # nothing is resized first
            out = torch.ones(shape)
            for a, b, first, second in (
                (zero, to("cuda:1", out), "cuda:1", "cuda:0"), (one, cuda(out), "cuda:0", "cuda:1"),
                (one, out, "cuda:1", "cpu"), (x, to("cuda:1", out), "cuda:1", "cpu"), (x[0], cuda(out), "cuda:0", "cpu"),
            ):  # fmt: skip
                double.log()
                raises(RuntimeError, text.format(first, second), lambda f=f, a=a, b=b: f.rsqrt(a, out=b))
                assert not any("Launch" in line for line in double.log())
                assert same_bits(b, out)
        assert torch.cuda.current_device() == 0
        double.log()
        y = f.rsqrt(one)
        assert y.device == one.device
        assert "device 1," in next(line for line in double.log() if "threads on" in line)
        assert same_bits(y, gorsqrt.rsqrt(x))
        assert torch.cuda.current_device() == 0
        with torch.cuda.device(1):
            y = f.rsqrt(zero)
            assert torch.cuda.current_device() == 1
        assert y.device == zero.device
        assert same_bits(y, gorsqrt.rsqrt(x))
        copy = one.clone()
        assert same_bits(f.rsqrt_(copy), gorsqrt.rsqrt(x))


def launches():
    """The streams of kernels enqueued since the last look, by the double's log; and the whole
    log."""
    log = double.log()
    return [line.rpartition(" ")[2] for line in log if "threads on" in line], log


@pytest.mark.spec("7.11")
@on_doubles()
def test_streams():
    """On the current stream of the tensor's device, which is not waited for; nothing is copied."""
    x = values(1000)
    default = {"(nil)", "0x1"}
    for f in DOORS:
        a, b, out = cuda(x), to("cuda:1", x), cuda(torch.zeros(1000))
        here, there = torch.cuda.Stream(0), torch.cuda.Stream(1)
        f.rsqrt(a)
        torch.cuda.synchronize()
        with torch.cuda.stream(here):
            for call in (lambda f=f, a=a: f.rsqrt(a), lambda f=f, a=a, o=out: f.rsqrt(a, out=o), lambda f=f, a=a: f.rsqrt_(a)):
                double.log()
                call()
                streams, log = launches()
                assert streams == [hex(here.cuda_stream)]
                assert not any(word in line for line in log for word in ("Memcpy", "Synchronize", "Event", "cuMemAlloc_v2"))
        assert double.pending() >= 3
        here.synchronize()
        assert same_bits(out, gorsqrt.rsqrt(x))
        assert same_bits(a, gorsqrt.rsqrt(x))
        double.log()
        f.rsqrt_(b)  # the current stream of another device is another
        assert set(launches()[0]) <= default
        with torch.cuda.stream(there), torch.cuda.stream(here):
            f.rsqrt_(b)
        assert launches()[0] == [hex(there.cuda_stream)]
        torch.cuda.synchronize(1)
        assert same_bits(b, gorsqrt.rsqrt(gorsqrt.rsqrt(x)))


@pytest.mark.spec("7.11")
@on_doubles(caching=True)
def test_results_come_from_torchs_allocator():
    x = cuda(values(1000))
    for f in DOORS:
        y = f.rsqrt(x)
        address = y.data_ptr()
        del y
        double.log()
        allocated = torch.cuda.memory_allocated()
        y = f.rsqrt(x)
        assert not any("cuMem" in line for line in double.log())
        assert y.data_ptr() == address
        assert torch.cuda.memory_allocated() - allocated >= 4000
        torch.cuda.synchronize()
        del y


@pytest.mark.spec("7.11")
@on_doubles(caching=True)
def test_graphs():
    """Captured, in every form, dtype and layout; replayed, it computes what is there then."""
    for dtype in FLOATS + COMPLEX + [torch.int32]:
        for f in DOORS:
            x = cuda(values(6, 5, dtype=dtype).t())
            base = gorsqrt.rsqrt(cpu(x))
            out, inside = cuda(torch.zeros_like(base)), cuda(base)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                y = f.rsqrt(x)
                f.rsqrt(x, out=out)
                f.rsqrt_(inside)
            assert (cpu(out) == 0).all()
            new = values(6, 5, dtype=dtype, seed=5).t()
            x.copy_(to("cpu", new))
            graph.replay()
            assert same_bits(y, gorsqrt.rsqrt(new))
            assert same_bits(out, gorsqrt.rsqrt(new))
            assert same_bits(inside, gorsqrt.rsqrt(base))
            del graph, y


def in_a_process_of_its_own(code):
    """Where torch finds the doubles, and nothing has used them yet."""
    code = "import torch, gorsqrt\n" + textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-c", code], env=double.torch_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.spec("7.11")
def test_demo():
    done = subprocess.run([sys.executable, "-m", "gorsqrt"], env=double.torch_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^5\. CUDA\n +rsqrt\(tensor\(.*device=cuda\)\) +\[0\.5, 0\.25, 0\.2\]$", done.stdout, re.MULTILINE), (
        done.stdout
    )


@pytest.mark.spec("7.11")
@pytest.mark.parametrize("door", ["gorsqrt.rsqrt", "torch.ops.gorsqrt.rsqrt"])
def test_the_first_call_in_a_capture(door):
    in_a_process_of_its_own(f"""
        import ctypes, gorsqrt.torch, cuda_double as double
        x, stream, captured = torch.tensor([4.0, 16.0, 25.0]).cuda(), torch.cuda.Stream(), ctypes.c_uint64()
        torch.cuda.synchronize()
        with double.On(0), torch.cuda.stream(stream):
            double.call("cuStreamBeginCapture_v2", stream.cuda_stream, 0)
            y = {door}(x)
            double.call("cuStreamEndCapture", stream.cuda_stream, ctypes.byref(captured))
            graph = double.made("cuGraphInstantiateWithFlags", captured.value, 0)
            x.copy_(torch.tensor([1.0, 64.0, 100.0]))
            double.call("cuGraphLaunch", graph, stream.cuda_stream)
            assert torch.equal(y.cpu(), gorsqrt.rsqrt(torch.tensor([1.0, 64.0, 100.0])))
    """)


@pytest.mark.spec("7.11", "8.4")
def test_the_cpus_tensors_use_nothing_of_cuda():
    in_a_process_of_its_own("""
        x = torch.ones(3, requires_grad=True)
        gorsqrt.rsqrt(x).sum().backward()
        with torch.no_grad():
            gorsqrt.rsqrt_(x)
        gorsqrt.rsqrt(torch.ones(3), out=torch.empty(3))
        assert type(gorsqrt.rsqrt(torch.ones(3).as_subclass(type("Sub", (torch.Tensor,), {})))).__name__ == "Sub"
        with torch.autocast("cpu"):
            gorsqrt.rsqrt(torch.ones(3))
        assert not torch.cuda.is_initialized()
    """)


@pytest.mark.spec("7.11", "8.1")
@on_doubles()
def test_errors_of_the_driver():
    """Each call that fails once: CUDA's name and text, out as it was; the next call works."""
    x = values(9)
    a, out = cuda(x), cuda(torch.zeros(9))
    gorsqrt.rsqrt(a)
    torch.cuda.synchronize()
    for f, function in itertools.product(DOORS, ("cuInit", "cuCtxPushCurrent", "cuLaunchKernel")):
        fresh = [lambda f=f: f.rsqrt(a)] if function == "cuLaunchKernel" else []  # torch calls the others itself
        for call in (lambda f=f: f.rsqrt(a, out=out), lambda f=f: f.rsqrt_(a), *fresh):
            double.fail(function, 2)
            raises(RuntimeError, "CUDA error: CUDA_ERROR_OUT_OF_MEMORY: out of memory", call)
        assert same_bits(a, x)
        assert (out.cpu() == 0).all()
    raises(torch.OutOfMemoryError, "", lambda: gorsqrt.rsqrt(a.expand(1 << 32, 9)))
    assert same_bits(gorsqrt.rsqrt(a), gorsqrt.rsqrt(x))


# 7: what torch adds.


@pytest.mark.spec("7.2", "7.3", "7.4", "7.11")
@on_doubles()
def test_autograd():
    """A gradient is recorded by ours, whose bits torch's kernel does not have; torch's errors."""
    for dtype in FLOATS + COMPLEX:
        x = values(33, dtype=dtype)
        for f in DOORS:
            a = cuda(x).requires_grad_()
            y = f.rsqrt(a)
            assert y.requires_grad
            assert type(y.grad_fn).__name__ in ("RsqrtBackward", "RsqrtByOpBackward")
            assert same_bits(y, gorsqrt.rsqrt(x))
            leaf = "a leaf Variable that requires grad is being used in an in-place operation."
            raises(RuntimeError, leaf, lambda f=f, a=a: f.rsqrt_(a))
            raises(RuntimeError, "a view of a leaf Variable that requires grad", lambda f=f, a=a: f.rsqrt_(a[1:]))
            text = "rsqrt(): functions with out=... arguments don't support automatic differentiation, but one of the"
            b = cuda(x)
            raises(RuntimeError, text, lambda f=f, a=a, b=b: f.rsqrt(a, out=b))
            raises(RuntimeError, text, lambda f=f, a=a, b=b: f.rsqrt(b, out=a))
            assert same_bits(a, x)
            with torch.no_grad():
                out = cuda(torch.zeros_like(x)).requires_grad_()
                assert not f.rsqrt(a).requires_grad
                assert f.rsqrt(a, out=out) is out
                assert same_bits(out, gorsqrt.rsqrt(x))
                assert f.rsqrt_(a) is a
                assert same_bits(a, gorsqrt.rsqrt(x))
            assert a._version == out._version == 1
            assert (out.grad_fn, a.grad_fn) == (None, None)


@pytest.mark.spec("7.5", "7.6", "7.11")
@on_doubles()
def test_versions_and_inference_mode():
    for f in DOORS:
        for n in (5, 0):
            a, out = cuda(values(n)), cuda(torch.zeros(n))
            for version in (1, 2):
                f.rsqrt(a, out=out)
                f.rsqrt_(a)
                assert a._version == out._version == version
        x = values(5)
        with torch.inference_mode():
            a = cuda(x)
            y = f.rsqrt(a)
            assert y.is_inference()
            assert same_bits(y, gorsqrt.rsqrt(x))
            assert f.rsqrt(a, out=y) is y
            assert f.rsqrt_(a) is a
            assert same_bits(a, gorsqrt.rsqrt(x))
        assert not f.rsqrt(a).is_inference()
        text = "Inplace update to inference tensor outside InferenceMode is not allowed."
        raises(RuntimeError, text, lambda f=f, a=a: f.rsqrt_(a))
        raises(RuntimeError, text, lambda f=f, a=a, x=x: f.rsqrt(cuda(x), out=a))
        assert same_bits(a, gorsqrt.rsqrt(x))


@pytest.mark.spec("7.7", "7.11")
@on_doubles()
def test_modes_and_kinds_of_tensors():
    """What the fast door must leave to torch, and what the door takes."""
    x = values(12)
    a = cuda(x)
    gorsqrt.rsqrt(a)
    assert _gorsqrt.torch_is_plain(a)
    assert _gorsqrt.torch_is_plain(torch.nn.Parameter(a))
    assert _gorsqrt.torch_is_plain(to("cuda:1", x))
    z = cuda(values(6, dtype=torch.complex64))
    for other in (z.conj(), torch._neg_view(a), torch.empty(3, device="meta"), torch._efficientzerotensor(3, device="cuda")):
        assert not _gorsqrt.torch_is_plain(other)
    with torch.autocast("cuda"):
        assert not _gorsqrt.torch_is_plain(a)  # which changes nothing of float32 and more
        assert same_bits(gorsqrt.rsqrt(a), gorsqrt.rsqrt(x))
        assert gorsqrt.rsqrt(cuda(x.double())).dtype == torch.float64
        assert _gorsqrt.torch_is_plain(x)
    with torch.autocast("cpu"):
        assert _gorsqrt.torch_is_plain(a)
        assert gorsqrt.rsqrt(cuda(x.bfloat16())).dtype == torch.bfloat16

    class Sub(torch.Tensor):
        pass

    y = gorsqrt.rsqrt(a.as_subclass(Sub))
    assert type(y) is Sub
    assert same_bits(y.as_subclass(torch.Tensor), gorsqrt.rsqrt(x))
    assert type(gorsqrt.rsqrt(torch.nn.Parameter(a))) is torch.Tensor
    mapped = torch.func.vmap(gorsqrt.rsqrt)(cuda(values(3, 4)))
    assert same_bits(mapped, gorsqrt.rsqrt(values(3, 4)))
    with gorsqrt.torch.patch():
        assert same_bits(a.rsqrt(), gorsqrt.rsqrt(x))
        assert same_bits(torch.rsqrt(a), gorsqrt.rsqrt(x))
    with torch.sparse.check_sparse_tensor_invariants(False):
        sparse = torch.sparse_coo_tensor(torch.zeros(1, 1, dtype=torch.long), torch.ones(1), (3,), is_coalesced=True).cuda()
    for f, other in itertools.product(DOORS, (sparse, torch.ones(3).to(torch.float8_e4m3fn).cuda())):
        with pytest.raises((RuntimeError, NotImplementedError)) as theirs:
            torch.rsqrt(other)
        raises(type(theirs.value), str(theirs.value), lambda f=f, x=other: f.rsqrt(x))


@pytest.mark.spec("7.8", "7.11")
@on_doubles()
def test_compile():
    x = values(12)
    for backend in ("eager", "aot_eager"):
        torch._dynamo.reset()
        f = torch.compile(lambda a: (gorsqrt.rsqrt(a), gorsqrt.rsqrt_(a)), backend=backend, fullgraph=True)
        a = cuda(x)
        y, z = f(a)
        assert same_bits(y, gorsqrt.rsqrt(x))
        assert same_bits(a, gorsqrt.rsqrt(x))
        assert z.data_ptr() == a.data_ptr()
    program = torch.export.export(Module(), (cuda(x),))
    assert same_bits(program.module()(cuda(x)), gorsqrt.rsqrt(x))
    torch._dynamo.reset()


class Module(torch.nn.Module):
    def forward(self, x):
        return gorsqrt.rsqrt(x)


# 1.3, 3.5: beside other libraries' arrays.


@pytest.mark.spec("1.3", "3.2", "3.3", "3.5", "7.11")
@on_doubles()
def test_beside_other_arrays():
    """One memory and one order of work, whoever made the arrays."""
    x = values(50)
    want = gorsqrt.rsqrt(x)
    stream, side = double.stream(), torch.cuda.Stream()
    block = double.Array(np.zeros(50, "f4"), stream=stream)
    with torch.cuda.stream(side):
        a = cuda(x)
        assert gorsqrt.rsqrt(a, out=block) is block
        out = cuda(torch.zeros(50))
        assert gorsqrt.rsqrt(block, out=out) is out
        assert out._version == 1
        assert same_bits(out, gorsqrt.rsqrt(want))
    torch.cuda.synchronize()
    # A tensor that is not ordinary, in either place, and one of another shape.
    kept = cuda(x).requires_grad_()
    with torch.no_grad():
        gorsqrt.rsqrt(kept.as_subclass(torch.nn.Parameter), out=block)
        torch.cuda.synchronize()
        assert block.peek().tobytes() == want.numpy().tobytes()
        small = cuda(torch.ones(3))
        with pytest.warns(UserWarning, match=r"was resized since it had shape \[3\]"):
            gorsqrt.rsqrt(block, out=small)
        torch.cuda.synchronize()
        assert same_bits(small, gorsqrt.rsqrt(want))
    text = "argument 'out' has shape [50], which does not match the required output shape [3]; this container cannot be resized"
    raises(RuntimeError, text, lambda: gorsqrt.rsqrt(cuda(torch.ones(3)), out=block))
    raises(RuntimeError, "functions with out=... arguments don't support", lambda: gorsqrt.rsqrt(kept, out=block))
    two = "Expected all tensors to be on the same device, but found at least two devices, {} and {}!"
    host = np.zeros(50, "f4")
    for a in (cuda(x), torch.nn.Parameter(cuda(x))):
        with torch.no_grad():
            raises(RuntimeError, two.format("cuda:0", "cpu"), lambda a=a: gorsqrt.rsqrt(a, out=host))
            raises(RuntimeError, two.format("cuda:0", "cpu"), lambda a=a: gorsqrt.rsqrt(host, out=a))
    raises(RuntimeError, two.format("cuda:1", "cuda:0"), lambda: gorsqrt.rsqrt(block, out=to("cuda:1", x)))
    assert (host == 0).all()
    # A result that is no library's, as torch takes it.
    want_of_block = gorsqrt.rsqrt(torch.from_numpy(block.peek().copy()))
    with torch.cuda.stream(side):
        y = torch.from_dlpack(gorsqrt.rsqrt(block))
        copy = y.clone()
    side.synchronize()
    assert same_bits(copy, want_of_block)
    y = torch.as_tensor(gorsqrt.rsqrt(block), device="cuda")  # by the interface, whose stream torch does not read
    assert same_bits(y, want_of_block)
    del y, copy
    # By DLPack: asked for the stream that torch uses now.
    with torch.cuda.stream(side):
        producer = Producer(host, device=(2, 0), device_type=2, device_id=0, data=block.memory.address)
        out = cuda(torch.zeros(50))
        gorsqrt.rsqrt(producer, out=out)
        assert producer.asked == [{"stream": side.cuda_stream, "max_version": (1, 3)}]
        assert len(OUT) == 1
        side.synchronize()
        gorsqrt.rsqrt(cuda(x), out=producer)
        side.synchronize()
        gorsqrt.rsqrt(cuda(x), out=producer)
        assert len(BACK) >= 1
        side.synchronize()
    with double.On(0):
        double.call("cuMemFree_v2", block.memory.address)


# 8: a good guest.


@pytest.mark.spec("8.1", "7.11")
@on_doubles()
def test_threads():
    """Each with a stream of its own."""
    x = values(1000)
    want, wrong = gorsqrt.rsqrt(x), []

    def work(f):
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for _ in range(20):
                a = cuda(x)
                y = f.rsqrt(a)
                if not same_bits(y, want):
                    wrong.append(f)

    threads = [threading.Thread(target=work, args=(f,)) for f in DOORS * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.spec("8.2", "7.11")
@on_doubles()
def test_fork():
    a = cuda(values(3))
    gorsqrt.rsqrt(a)
    torch.cuda.synchronize()
    if (child := os.fork()) == 0:
        try:
            for f in DOORS:
                for call in (lambda f=f: f.rsqrt(a), lambda f=f: f.rsqrt_(a), lambda f=f: f.rsqrt(a, out=a)):
                    raises(RuntimeError, "Cannot re-initialize CUDA in forked subprocess.", call)
            assert gorsqrt.rsqrt(torch.tensor([4.0])).item() == 0.5
            os._exit(7)
        except BaseException as error:
            print(error, flush=True)
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    gc.collect()
