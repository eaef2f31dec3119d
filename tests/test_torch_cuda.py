"""torch's CUDA tensors without a GPU, on test doubles of the driver and the runtime (tests/cuda).

torch's own kernels don't run there, so values are made and compared on the CPU.
"""

import contextlib
import ctypes
import functools
import os
import re
import subprocess
import sys
import tempfile
import warnings
from random import Random

import cuda_double as double
import numpy as np
import pytest
import torch
from cuda_double import on_doubles
from torch_oracle import COMPLEX, FLOATS, INTEGERS, RELEASE

import gorsqrt


@contextlib.contextmanager
def said():
    """What is written to stderr meanwhile, in a list, once that is over."""
    lines = []
    with tempfile.TemporaryFile("w+") as file:
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield lines
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            lines += file.read().splitlines()


@contextlib.contextmanager
def raises(kind, text):
    """The block ends in an error of this kind whose text begins so."""
    with pytest.raises(kind, match="^" + re.escape(text)):
        yield


def bits(x):
    """A CPU tensor's bits, whatever its strides."""
    return torch.empty(x.numel(), dtype=x.dtype).copy_(x.reshape(-1)).view(torch.uint8).numpy().tobytes()


class Interface:
    """An array at a device's address, as other libraries show theirs."""

    def __init__(self, address, shape, typestr="<f4", **entries):
        data = (address, False)
        self.__cuda_array_interface__ = {"shape": shape, "typestr": typestr, "data": data, "version": 3, **entries}

    __cuda_array_interface__ = None  # instances have their own


@on_doubles()
def test_devices():
    assert torch.cuda.is_available()
    assert torch.cuda.device_count() == 2
    assert [torch.cuda.get_device_name(i) for i in range(2)] == ["Test double 0", "Test double 1"]
    assert torch.cuda.get_device_capability() == (9, 0)
    assert torch.cuda.mem_get_info()[1] == torch.cuda.get_device_properties(1).total_memory == 1 << 34
    assert not torch.cuda.can_device_access_peer(0, 1)
    assert torch.cuda.current_device() == 0
    with torch.cuda.device(1):
        assert torch.cuda.current_device() == 1
        assert torch.empty(3, device="cuda").device == torch.device("cuda:1")
    assert torch.cuda.current_device() == 0
    torch.cuda.set_device(1)
    assert torch.empty(3, device="cuda").device == torch.device("cuda:1")
    torch.cuda.set_device(0)
    with pytest.raises((RuntimeError, AssertionError), match=r"[iI]nvalid device"):
        torch.empty(3, device="cuda:2")


@on_doubles()
def test_tensors():
    for dtype in [*FLOATS, *COMPLEX, torch.bool, torch.uint8, torch.int64]:
        x = torch.arange(24).to(dtype).reshape(2, 3, 4)
        y = x.cuda()
        assert y.is_cuda
        assert y.dtype == dtype
        assert torch.equal(y.cpu(), x)
        z = y.to("cuda:1")
        assert z.device.index == 1
        assert torch.equal(z.cpu(), x)
        assert torch.equal(z.to("cuda:0").cpu(), x)
        assert torch.equal(y.clone().cpu(), x)
        assert torch.equal(y[1].cpu(), x[1])
        assert torch.equal(y.view(4, 6).cpu(), x.view(4, 6))
        assert torch.equal(y.permute(2, 0, 1).cpu(), x.permute(2, 0, 1))
        y[0].copy_(x[1])
        assert torch.equal(y.cpu(), x[[1, 1]])
    assert bits(torch.empty(5, device="cuda").cpu()) == b"\xa5" * 20
    x = torch.ones(3).cuda()
    assert bits(x.resize_(5).cpu()) == bits(torch.ones(3)) + b"\xa5" * 8
    assert torch.empty(0, device="cuda").data_ptr() == 0


@on_doubles()
def test_work_waits_and_streams_keep_apart():
    x = torch.arange(4.0).pin_memory()
    side, other = torch.cuda.Stream(), torch.cuda.Stream(priority=-1)
    assert torch.cuda.current_stream() == torch.cuda.default_stream() != side
    y = torch.zeros(4).cuda()
    with torch.cuda.stream(side):
        assert torch.cuda.current_stream() == side
        y.copy_(x, non_blocking=True)
    assert double.pending() == 1
    torch.cuda.current_stream().synchronize()
    assert y.cpu().tolist() == [0, 0, 0, 0]  # nobody has waited for the other stream
    assert not side.query()
    assert side.query()
    assert y.cpu().tolist() == [0, 1, 2, 3]
    # One stream after the other, and after one of the other device.
    z = torch.zeros(4).to("cuda:1")
    far = torch.cuda.Stream(1)
    with torch.cuda.stream(side):
        y.copy_(x + 1 if x.is_cuda else (x + 1).pin_memory(), non_blocking=True)
    other.wait_stream(side)
    far.wait_stream(other)
    with torch.cuda.stream(far):
        z.copy_(y, non_blocking=True)
    assert (double.pending(0) > 1, double.pending(1) > 1) == (True, True)
    far.synchronize()
    assert z.cpu().tolist() == [1, 2, 3, 4]
    assert other.priority == -1
    torch.cuda.synchronize()


@on_doubles()
def test_events():
    start, end, plain = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True), torch.cuda.Event()
    x = torch.arange(4.0).pin_memory()
    assert plain.query()  # never recorded
    start.record()
    y = x.to("cuda", non_blocking=True)
    end.record()
    plain.record()
    assert not end.query()
    assert end.query()
    assert start.elapsed_time(end) == 2
    with pytest.raises((ValueError, RuntimeError), match=r"timing|invalid resource handle"):
        start.elapsed_time(plain)
    plain.synchronize()
    assert double.pending() == 0
    assert y.cpu().tolist() == x.tolist()
    side = torch.cuda.Stream()
    side.wait_event(plain)
    with torch.cuda.stream(side):
        y.copy_(torch.zeros(4))
    torch.cuda.current_stream().wait_event(side.record_event())
    assert y.cpu().tolist() == [0, 0, 0, 0]


@on_doubles()
def test_unpinned_memory_is_free_to_use_after_the_call():
    x = torch.ones(3)
    y = x.to("cuda", non_blocking=True)
    assert double.pending() == 1
    x.zero_()
    assert y.cpu().tolist() == [1, 1, 1]
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        y.copy_(torch.full((3,), 2.0).pin_memory(), non_blocking=True)
        x.copy_(y, non_blocking=True)
    assert x.tolist() == [2, 2, 2]


@on_doubles()
def test_exchange():
    """DLPack and the array interface, both ways: one memory."""
    x = torch.arange(6.0).reshape(2, 3).cuda()
    assert tuple(map(int, x.__dlpack_device__())) == (2, 0)
    assert torch.from_dlpack(x).data_ptr() == x.data_ptr()
    interface = x.t().__cuda_array_interface__
    assert (interface["shape"], interface["strides"], interface["data"]) == ((3, 2), (4, 12), (x.data_ptr(), False))
    far = double.Array(np.arange(6, dtype="f4"), device=1)
    y = torch.as_tensor(far, device="cuda:1")
    assert (y.data_ptr(), y.device.index) == (far.memory.address, 1)
    y[:3].copy_(x[1])
    assert far.get().tolist() == [3, 4, 5, 3, 4, 5]
    with double.On(1):
        double.call("cuMemFree_v2", far.memory.address)


def graph_of(work):
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph


@on_doubles(caching=True)
def test_graphs():
    """Copies and fills are captured, and run at each replay on the data of that time."""
    x = torch.arange(3.0).cuda()
    y, z = torch.full((3,), 7.0).cuda(), torch.full((3,), 7.0).cuda()
    kept = []

    def work():
        made = torch.empty(3, device="cuda")
        made.copy_(x)
        y.copy_(made)
        z.zero_()
        kept.append(made)

    graph = graph_of(work)
    assert y.cpu().tolist() == z.cpu().tolist() == [7, 7, 7]
    for values in ([0.0, 1, 2], [5.0, 6, 7]):
        x.copy_(torch.tensor(values))
        graph.replay()
        assert double.pending() >= 3
        assert y.cpu().tolist() == kept[0].cpu().tolist() == values
        assert z.cpu().tolist() == [0, 0, 0]


@on_doubles()
def test_what_a_capture_does_not_allow():
    """The call is refused, and the capture fails; the next one doesn't."""
    x, y = torch.arange(3.0).cuda(), torch.zeros(3).cuda()
    side, other = torch.cuda.Stream(), torch.cuda.Stream()
    event = side.record_event()

    def captured(work, ends_in):
        graph = ctypes.c_uint64()
        with double.On(0), torch.cuda.stream(side):
            double.call("cuStreamBeginCapture_v2", side.cuda_stream, 0)
            work()
            assert double.library().cuStreamEndCapture(ctypes.c_uint64(side.cuda_stream), ctypes.byref(graph)) == ends_in
        return graph

    def refused(work):
        with raises(RuntimeError, "CUDA error: operation not permitted when stream is capturing"):
            work()

    for work in (side.synchronize, torch.cuda.synchronize, event.query, event.synchronize):
        captured(functools.partial(refused, work), 901)
    graph = captured(lambda: y.copy_(x), 0)

    def fork():
        with torch.cuda.stream(other):
            other.wait_stream(side)
            y.copy_(x)

    def fork_and_join():
        fork()
        side.wait_stream(other)

    captured(fork, 904)  # unjoined
    captured(fork_and_join, 0)
    exec_graph = double.made("cuGraphInstantiateWithFlags", graph.value, 0)
    with double.On(0):
        double.call("cuGraphLaunch", exec_graph, side.cuda_stream)
    side.synchronize()
    assert y.cpu().tolist() == [0, 1, 2]


@on_doubles()
def test_torchs_kernels_are_refused_by_name():
    x = torch.arange(3.0).cuda()
    for work in (lambda: x + 1, lambda: x.sum(), lambda: torch.rsqrt(x), lambda: torch.randn(3, device="cuda")):
        with said() as lines, raises(RuntimeError, "CUDA error: no kernel image is available for execution on the device"):
            work()
        assert any(re.match(r"The double of libcudart.so has no _ZN2at.*, as kernels of machine code", line) for line in lines)
    assert x.cpu().tolist() == [0, 1, 2]


@on_doubles(caching=True)
def test_functions_that_are_not_there_are_refused_by_name():
    x = torch.arange(3.0).cuda()
    with said() as lines, raises(RuntimeError, "CUDA error: operation not supported"):
        x.untyped_storage()._share_cuda_()
    assert "The double of libcudart.so has no cudaIpcGetMemHandle." in lines
    assert x.cpu().tolist() == [0, 1, 2]


@on_doubles(caching=True)
def test_out_of_memory():
    with raises(torch.OutOfMemoryError, "CUDA out of memory."):
        torch.empty(1 << 34, device="cuda")
    x = torch.ones(3).cuda()
    double.fail("cuMemAlloc", 2, after=-1)  # torch gives back what it keeps, and tries again
    with raises(torch.OutOfMemoryError, "CUDA out of memory."):
        torch.empty(1 << 23, device="cuda")
    double.fail("", 0)
    assert torch.cuda.memory_allocated() == 512
    assert x.cpu().tolist() == [1, 1, 1]


@on_doubles()
def test_errors_of_the_driver():
    """What the driver answers, torch says."""
    x = torch.arange(3.0).cuda()
    event = torch.cuda.Event()
    event.record()
    for function, work in (
        ("cuMemAllocAsync", lambda: torch.empty(3, device="cuda")),
        ("cuMemcpyAsync", x.cpu),
        ("cuMemcpyAsync", lambda: x.copy_(torch.ones(3))),
        *([("cuMemsetD8Async", lambda: torch.zeros(3, device="cuda"))] if RELEASE >= (2, 15) else []),
        ("cuStreamSynchronize", x.cpu),
        ("cuCtxSynchronize", torch.cuda.synchronize),
        ("cuEventCreate", lambda: torch.cuda.Event().record()),
        ("cuEventRecord", event.record),
        ("cuEventSynchronize", event.synchronize),
        ("cuStreamWaitEvent", event.wait),
    ):
        for code, text in ((719, "unspecified launch failure"), (400, "invalid resource handle")):
            double.fail(function, code)
            with raises(RuntimeError, f"CUDA error: {text}"):
                work()
    torch.cuda.synchronize()


@on_doubles()
def test_overruns_show():
    """A kernel that touches a byte beside a tensor fails, and so do later calls until it is
    forgotten."""
    for lengths in ((3, 4), (4, 3)):
        source, destination = (torch.full((n,), 4.0).cuda() for n in lengths)
        gorsqrt.rsqrt(Interface(source.data_ptr(), (4,)), out=Interface(destination.data_ptr(), (4,)))
        with raises(RuntimeError, "CUDA error: an illegal memory access was encountered"):
            torch.cuda.synchronize()
        with raises(RuntimeError, "CUDA error: an illegal memory access was encountered"):
            torch.empty(3, device="cuda")
        double.library().double_reset()
        assert source.cpu().tolist() == [4] * lengths[0]


@on_doubles()
def test_memory_that_is_freed_too_early_shows():
    """Its stream's work is done then, another's may not be."""
    side = torch.cuda.Stream()
    for stream, good in ((torch.cuda.current_stream(), True), (side, False)):
        x = torch.full((3,), 4.0).cuda()
        gorsqrt.rsqrt_(Interface(x.data_ptr(), (3,), stream=stream.cuda_stream or 1))
        del x
        torch.cuda.current_stream().synchronize()
        if good:
            stream.synchronize()
        else:
            with raises(RuntimeError, "CUDA error: an illegal memory access was encountered"):
                stream.synchronize()
            double.library().double_reset()


# gorsqrt on them.

LENGTH = 1024  # of a storage, in bytes


def any_storage(random):
    """Any bytes, with the special values of every dtype among them."""
    data = bytearray(random.randbytes(LENGTH))
    specials = [b"", b"\0" * 16, b"\0\x80" * 8, b"\0\0\x80\x7f" * 4, b"\0\x7c" * 8, b"\0\0\xc0\x7f" * 4, b"\1" + b"\0" * 7]
    for at in range(0, LENGTH, 16):
        special = random.choice(specials)
        data[at : at + len(special)] = special
    return torch.frombuffer(data, dtype=torch.uint8).clone().untyped_storage()


def any_view(random, storage, dtype, shape):
    """A view of this shape, mostly dense in some order; None if the storage is too small."""
    order = random.sample(range(len(shape)), len(shape)) if random.random() < 0.7 else range(len(shape))[::-1]
    strides, step = [0] * len(shape), random.choice([1, 1, 1, 2, 3])
    for d in order:
        strides[d] = random.choice([0, 1, 2, 5]) if random.random() < 0.1 else step
        step *= max(1, shape[d])
    reach = sum(stride * (length - 1) for stride, length in zip(strides, shape, strict=True)) if 0 not in shape else 0
    room = LENGTH // dtype.itemsize - reach
    return torch.empty(0, dtype=dtype).set_(storage, random.randrange(room), shape, strides) if room > 0 else None


def whole(x):
    """A tensor's whole storage, on the CPU."""
    return torch.empty(0, dtype=torch.uint8, device=x.device).set_(x.untyped_storage()).cpu()


def like(x, storage):
    """The same view of another storage."""
    return torch.empty(0, dtype=x.dtype, device=storage.device).set_(storage, x.storage_offset(), x.shape, x.stride())


def elements(x):
    return bits(like(x, whole(x).untyped_storage()))


def outcome(function, *arguments, **keywords):
    """The result or exception of a call, and its warnings. On the CPU torch may repeat a
    warning."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result, error = function(*arguments, **keywords), None
        except Exception as raised:
            result, error = None, (type(raised), str(raised))
    return result, (error, {str(w.message) for w in caught})


@pytest.mark.spec("7.1", "7.11", "6.8")
@on_doubles()
def test_random_calls_are_the_cpus():
    """Views of one storage or two: errors, bits, strides, versions and bytes around are the
    CPU's."""
    random = Random(1)
    seen = dict.fromkeys(["fresh", "out", "in place", "refused"], 0)
    dtypes = [*FLOATS, *COMPLEX, *INTEGERS]
    while min(seen.values()) < 200:
        shape = [random.choice([1, 2, 3, 5, 8, 40]) for _ in range(random.randrange(4))] + [0] * (random.random() < 0.05)
        here = any_storage(random), any_storage(random)
        x = any_view(random, here[0], random.choice(dtypes), shape)
        apart = random.random() < 0.6
        other = random.choice([shape[1:], [1, *shape], [2, 2]]) if apart and random.random() < 0.1 else shape
        same = x is not None and random.random() < 0.5
        out = any_view(random, here[apart], x.dtype if same else random.choice(dtypes), other)
        if x is None or out is None:
            continue
        a = like(x, whole(x).cuda().untyped_storage())
        b = like(out, whole(out).cuda().untyped_storage() if apart else a.untyped_storage())
        how = random.choice(["fresh", "out", "out", "in place"])
        function = gorsqrt.rsqrt_ if how == "in place" else gorsqrt.rsqrt
        case = f"{how}: {x.dtype} {x.shape} {x.stride()}, out {out.dtype} {out.shape} {out.stride()}"
        want, said = outcome(function, x, **({"out": out} if how == "out" else {}))
        got, said_there = outcome(function, a, **({"out": b} if how == "out" else {}))
        assert said_there == said, case
        if want is not None:
            assert (got is a, got is b) == (want is x, want is out), case
            assert (got.dtype, got.shape, got._version) == (want.dtype, want.shape, want._version), case
            long = [d for d in range(want.ndim) if want.shape[d] > 1]  # of an integer's copy the CPU chooses the others
            assert [got.stride(d) for d in long] == [want.stride(d) for d in long] or want.numel() == 0, case
            assert elements(got) == elements(want), case
        seen["refused" if want is None else how] += 1
        for t, c in ((a, x), (b, out)):  # beyond, where out has grown, are no values
            assert torch.equal(whole(t)[:LENGTH], whole(c)[:LENGTH]), case
            assert t._version == c._version, case


@pytest.mark.spec("7.11")
@on_doubles()
def test_memory_in_a_streams_order():
    """Tensors are dropped before their work has run. It still finds them, on their stream."""
    x = torch.rand(1000)
    want = gorsqrt.rsqrt(gorsqrt.rsqrt(gorsqrt.rsqrt(x)), out=torch.empty(1000, dtype=torch.float64))
    for stream in (torch.cuda.default_stream(), torch.cuda.Stream()):
        with torch.cuda.stream(stream):
            y, z = torch.empty(1000, dtype=torch.float64, device="cuda"), x.cuda()
            gorsqrt.rsqrt(gorsqrt.rsqrt(gorsqrt.rsqrt_(x.cuda())), out=y)
            gorsqrt.rsqrt(z[::2].view(torch.int32), out=z[:500])  # by a temporary
            assert double.pending() > 5
            stream.synchronize()
            assert bits(y.cpu()) == bits(want)
            assert bits(z[:500].cpu()) == bits(gorsqrt.rsqrt(x[::2].view(torch.int32)))


def stroll(random, waits):
    """Calls and copies on tensors of both devices, each on some stream.

    If `waits`, a stream waits for earlier uses of its tensors. Returns the tensors and their
    expected values.
    """
    tensors = [torch.rand(40).to(f"cuda:{i % 2}") for i in range(8)]
    wanted = [x.cpu() for x in tensors]
    streams = [[torch.cuda.Stream(device) for _ in range(3)] for device in range(2)]
    used = [[] for _ in tensors]  # events
    for _ in range(60):
        i, j = random.randrange(8), random.randrange(8)
        if i == j:
            continue
        source, target = tensors[i], tensors[j]
        stream = random.choice(streams[source.device.index])
        for event in (used[i] + used[j]) if waits else []:
            stream.wait_event(event)
        with torch.cuda.stream(stream):
            how = random.randrange(4)
            if how == 0:
                gorsqrt.rsqrt_(source)
                gorsqrt.rsqrt_(wanted[i])
            elif source.device != target.device:
                target.copy_(source, non_blocking=True)
                wanted[j].copy_(wanted[i])
            elif how == 1:
                target.copy_(gorsqrt.rsqrt(source), non_blocking=True)
                wanted[j].copy_(gorsqrt.rsqrt(wanted[i]))
            else:
                gorsqrt.rsqrt(source, out=target)
                gorsqrt.rsqrt(wanted[i], out=wanted[j])
            used[i].append(stream.record_event())
            used[j].append(used[i][-1])
    for device in range(2):
        torch.cuda.synchronize(device)
    return tensors, wanted


@pytest.mark.spec("7.11")
@on_doubles()
def test_any_order_that_the_streams_allow():
    """If streams of both devices wait as they should, results do not depend on the devices' order.

    If they don't wait, that shows.
    """
    wrong = 0
    for seed in range(1, 31):
        double.schedule(seed if seed > 1 else 0)
        tensors, wanted = stroll(Random(seed), True)
        assert [bits(x.cpu()) for x in tensors] == [bits(x) for x in wanted], seed
        tensors, wanted = stroll(Random(seed), False)
        wrong += [bits(x.cpu()) for x in tensors] != [bits(x) for x in wanted]
    double.schedule(0)
    assert wrong > 15


@pytest.mark.spec("7.11")
def test_a_program():
    """Whichever is imported first; it ends as others do, though work waits."""
    imports = ["import torch", "from gorsqrt import rsqrt, rsqrt_"]
    code = """
x = torch.tensor([4., 16., 25.], device='cuda')
print([round(y, 4) for y in rsqrt(x).tolist()], flush=True)
rsqrt_(x)
"""
    for first, second in (imports, imports[::-1]):
        command = [sys.executable, "-c", f"{first}\n{second}\n{code}"]
        done = subprocess.run(command, env=double.torch_environment(caching=True), capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stdout, done.stderr) == (0, "[0.5, 0.25, 0.2]\n", "")


@pytest.mark.spec("7.1", "7.11")
@pytest.mark.parametrize(
    "setting",
    [
        "torch.set_default_tensor_type(torch.cuda.FloatTensor)",
        "torch.set_default_tensor_type(torch.cuda.HalfTensor)",
        "torch.set_default_tensor_type(torch.DoubleTensor)",
        "torch.set_default_device('cuda')",
        "torch.set_default_device('meta')",
        "torch.set_default_dtype(torch.float16)",
        "torch.device('cuda:1').__enter__()",
        "torch.device('meta').__enter__()",
        "torch.inference_mode().__enter__()",
        "torch.no_grad().__enter__()",
    ],
)
def test_defaults_before_the_first_call(setting):
    """Defaults and modes at the first call mislead nobody: each tensor is computed where it is."""
    code = f"""
import warnings; warnings.simplefilter("ignore")
import torch, gorsqrt
{setting}
x = torch.tensor([4.0, 16.0], dtype=torch.float32, device="cpu")
for _ in range(3):
    for device in ("cpu", "cuda:0", "cuda:1"):
        there = x.clone().to(device)
        y = gorsqrt.rsqrt(there)
        assert str(y.device) == device and y.dtype == torch.float32, (y.device, y.dtype)
        assert y.cpu().tolist() == [0.5, 0.25]
        assert gorsqrt.rsqrt_(there) is there
        assert there.cpu().tolist() == [0.5, 0.25]
    assert gorsqrt.rsqrt(torch.empty(2, device="meta")).device.type == "meta"
"""
    environment = double.torch_environment(caching=True)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@on_doubles()
def test_fork():
    x = torch.arange(3.0).cuda()
    if (pid := os.fork()) == 0:
        try:
            x.cpu()
        except RuntimeError as error:
            os._exit(
                "Cannot re-initialize CUDA in forked subprocess" not in str(error) and "initialization error" not in str(error)
            )
        os._exit(2)
    assert os.waitpid(pid, 0)[1] == 0
    assert x.cpu().tolist() == [0, 1, 2]
