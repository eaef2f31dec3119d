"""The test doubles of NVIDIA's driver and runtime in Python: device memory, streams and arrays.

tests/cuda/libcuda is the driver's double, tests/cuda/libcudart the runtime's, which torch needs. A
process finds the first by LD_LIBRARY_PATH. It needs LD_PRELOAD for the second, since torch's
libraries name the folder of theirs. `build` and `torch_environment` make such environments.
"""

import contextlib
import ctypes
import gc
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import threading
import traceback
import types
from pathlib import Path

import cuda_driver
import numpy as np
from cuda_driver import On, call, context, library, made, stream, synchronize

__all__ = ["On", "call", "context", "library", "made", "stream", "synchronize"]
HERE = Path(__file__).resolve().parent
DRIVER = HERE / "cuda/libcuda/build/libcuda.so.1"
RUNTIME = HERE / "cuda/libcudart/build"


def make(library, *variables):
    """Builds a double where it is older than its sources."""
    folder = library.parents[1]
    files = [*folder.glob("*.[ch]"), folder / "Makefile", HERE.parent / "cuda/include/cuda.h"]
    if not library.exists() or max(f.stat().st_mtime for f in files) > library.stat().st_mtime:
        library.parent.mkdir(exist_ok=True)
        fresh = f"{library}.{os.getpid()}"  # two test programs may build at once
        subprocess.run(["make", "--silent", "-C", folder, f"OUTPUT={fresh}", *variables], check=True)
        os.replace(fresh, library)


def build():
    """Builds the driver's double; an environment in which processes load it."""
    make(DRIVER)
    path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "LD_LIBRARY_PATH": str(DRIVER.parent), "PYTHONPATH": path}


def torch_runtime():
    """The runtime that torch uses, and the folders of its headers."""
    site = Path(importlib.util.find_spec("torch").origin).parents[1]
    (theirs,) = (site / "nvidia").glob("*/lib/libcudart.so.*")
    return theirs, [theirs.parents[1] / "include", site / "triton/backends/nvidia/include"]


def torch_environment(caching=False):
    """Builds both doubles; an environment in which `import torch` finds two devices.

    Every tensor is then a block of the double's, made and freed in its stream's order, so that
    overruns and late accesses show. With torch's own caching allocator many lie in one block, and
    are used again where nothing shows.
    """
    environment = build()
    theirs, headers = torch_runtime()
    runtime = RUNTIME / theirs.name
    make(runtime, f"SONAME={theirs.name}", f"HEADERS={' '.join(map(str, headers))}")
    (RUNTIME / "libnvidia-ml.so.1").touch()  # found before the machine's, which would count its own devices
    environment["LD_LIBRARY_PATH"] += f"{os.pathsep}{RUNTIME}"
    environment["LD_PRELOAD"] = str(runtime)
    environment["PYTORCH_CUDA_ALLOC_CONF"] = f"backend:{'native' if caching else 'cudaMallocAsync'}"
    return environment


def on_doubles(caching=False):
    """Runs a test in a process in which torch finds the doubles and has this allocator.

    An import of torch takes seconds, so all tests with the same demands run in one process, one
    after the other. After each test as much memory is allocated as before.
    """

    def decorator(test):
        def in_child(torch_processes):
            if caching not in torch_processes:
                torch_processes[caching] = TorchProcess(caching)
            torch_processes[caching].run(test)

        in_child.test = test
        in_child.__name__, in_child.__doc__, in_child.__module__ = test.__name__, test.__doc__, test.__module__
        return in_child

    return decorator


class TorchProcess:
    """Runs tests by their names."""

    def __init__(self, caching):
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.errors, "text": True}
        command = [sys.executable, "-c", "import cuda_double; cuda_double.serve_tests()"]
        self.child = subprocess.Popen(command, env=torch_environment(caching), **pipes)

    def run(self, test):
        before = self.errors.seek(0, os.SEEK_END)
        watch = threading.Timer(300, self.child.kill)
        watch.start()
        with contextlib.suppress(BrokenPipeError):
            print(test.__module__, test.__name__, file=self.child.stdin, flush=True)
        answer = self.child.stdout.readline()
        watch.cancel()
        self.errors.seek(before)
        said = self.errors.read()
        assert answer == "null\n", (json.loads(answer) if answer else "the process has ended\n") + said

    def end(self):
        with self.child, contextlib.suppress(BrokenPipeError):
            self.child.stdin.close()
        self.errors.seek(0)
        said = self.errors.read()
        self.errors.close()
        assert self.child.returncode == 0, said


def serve_tests():
    """The other side: modules and tests a line from stdin, null or a traceback a line to stdout."""
    import torch
    from torch_oracle import RELEASE

    def blocks_there_are():
        gc.collect()
        for device in range(2):
            torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
        return [blocks(device) for device in range(2)]

    def fill(x, value):
        if value or x.numel() == 0:
            return x.copy_(torch.full(x.shape, value, dtype=x.dtype))
        with On(x.device.index):
            stream = torch.cuda.current_stream(x.device).cuda_stream
            call("cuMemsetD8Async", x.data_ptr(), 0, x.numel() * x.itemsize, stream)
        return x

    fills = torch.library.Library("aten", "IMPL")
    if RELEASE < (2, 15):  # whose fills, which begin a capture too, are kernels
        fills.impl("fill_.Scalar", fill, "CUDA")
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        module, test = line.split()
        problem = None
        try:
            before = blocks_there_are()
            getattr(importlib.import_module(module), test).test()
            assert blocks_there_are() == before, "blocks of memory on the devices, before and after"
        except BaseException:
            problem = f"{traceback.format_exc()}{why()}\n"
            library().double_reset()
        print(json.dumps(problem), file=answers, flush=True)


def pending(device=0):
    return library().double_pending(device)


def schedule(number):
    """Lets work run before something waits for it, in an order drawn by the number; 0 ends that."""
    library().double_schedule(ctypes.c_uint64(number))


def blocks(device=0):
    """How many blocks of memory a device has; -1: how many the CPU's memory has that are pinned."""
    return library().double_blocks(device)


def fail(function, code, after=0):
    """Lets the call after the next ones fail; all with after=-1, until fail("", 0)."""
    library().double_fail(function.encode(), after, code)


def why():
    """Where the last kernel went wrong."""
    text = library().double_why
    text.restype = ctypes.c_char_p
    return text().decode()


def log():
    """The calls since the last look."""
    text = library().double_log
    text.restype = ctypes.c_void_p
    return ctypes.string_at(text()).decode().split("\n")


class Memory(cuda_driver.Memory):
    """A block on a device with these bytes."""

    def peek(self):
        """The bytes as they are, whatever waits: the double's memory is the CPU's."""
        return ctypes.string_at(self.address, self.size)

    def read(self, stream=0):
        """The bytes, once what is enqueued on the stream has run."""
        synchronize(stream, self.device)
        return self.peek()


class Array(cuda_driver.Array):
    """A view of the double's memory."""

    memory_type = Memory

    def peek(self):
        return self.on_cpu(self.memory.peek())


def cupy():
    """A stand-in for cupy with what gorsqrt.cupy uses of it, in sys.modules."""
    module = types.ModuleType("cupy")
    current = {}

    class Device:
        def __init__(self, index):
            self.id = index

        def __enter__(self):
            current["device"] = self.id

        def __exit__(self, *_):
            current["device"] = 0

    class Stream:
        def __init__(self, ptr):
            self.ptr = ptr

    class Pointer:
        def __init__(self, size):
            self.memory = Memory(b"\x55" * size, current.get("device", 0))

    class ndarray(Array):  # noqa: N801
        def __init__(self, shape, dtype=float, memptr=None, strides=None, view=None, **more):
            if view is None:
                count = int(np.prod(shape))
                assert memptr.memory.size == count * np.dtype(dtype).itemsize
                whole = np.zeros(count, dtype)
                view = np.ndarray(shape, dtype, whole, 0, strides)
                super().__init__(view, whole, memptr.memory.device, memptr.memory)
            else:
                super().__init__(view, **more)
            self.interface["stream"] = module.cuda.get_current_stream(self.memory.device).ptr or 1

        shape = property(lambda self: self.view.shape)
        strides = property(lambda self: self.view.strides)
        dtype = property(lambda self: self.view.dtype)
        size = property(lambda self: self.view.size)
        device = property(lambda self: Device(self.memory.device))

        def __dlpack__(self, **_):
            raise AssertionError("not asked for a capsule")

        def __dlpack_device__(self):
            return (2, self.memory.device)

        def __array_namespace__(self):
            return module

    ndarray.__module__ = "cupy"
    module.ndarray = ndarray
    module.cuda = types.SimpleNamespace(
        alloc=Pointer,
        Device=Device,
        Stream=Stream,
        streams={},
        get_current_stream=lambda d=0: Stream(module.cuda.streams.get(d, 0)),
    )
    sys.modules["cupy"] = module
    return module
