"""NVIDIA's driver by ctypes: device memory, streams, events, captures, and arrays on them.

It uses documented functions only, so the same tests run on a GPU and on the driver's test double.
"""

import ctypes
import functools

import numpy as np
from dlpack_producer import Producer


@functools.cache
def library():
    return ctypes.CDLL("libcuda.so.1")


def call(name, *arguments):
    """Calls the driver, which must not refuse. Whole numbers are words."""
    words = [ctypes.c_uint64(a) if isinstance(a, int) else a for a in arguments]
    code = getattr(library(), name)(*words)
    assert code == 0, (name, code)


def made(name, *arguments):
    word = ctypes.c_uint64()
    call(name, ctypes.byref(word), *arguments)
    return word.value


@functools.cache
def devices():
    """How many devices there are; a RuntimeError says why there are none."""
    try:
        driver = library()
    except OSError as error:
        raise RuntimeError(f"NVIDIA's driver could not be loaded ({error})") from None
    if code := driver.cuInit(0):
        raise RuntimeError(f"NVIDIA's driver answers error {code} to cuInit")
    if count := made("cuDeviceGetCount"):
        return count
    raise RuntimeError("NVIDIA's driver has no device")


def name(device):
    text = ctypes.create_string_buffer(100)
    call("cuDeviceGetName", text, len(text), made("cuDeviceGet", device))
    return text.value.decode()


@functools.cache
def context(device):
    call("cuInit", 0)
    return made("cuDevicePrimaryCtxRetain", device)


class On:
    """With a device's primary context as the current one."""

    def __init__(self, device):
        self.device = device

    def __enter__(self):
        call("cuCtxPushCurrent_v2", context(self.device))

    def __exit__(self, *_):
        call("cuCtxPopCurrent_v2", None)


def stream(device=0, blocking=False):
    with On(device):
        return made("cuStreamCreate", 0 if blocking else 1)


def synchronize(stream=0, device=0):
    with On(device):
        call("cuStreamSynchronize", stream)


def record(stream=0, device=0):
    """An event after all that is enqueued on the stream now."""
    with On(device):
        event = made("cuEventCreate", 0)
        call("cuEventRecord", event, stream)
    return event


def milliseconds(begin, end):
    """Between two events, for the second of which it waits; they are gone then."""
    found = ctypes.c_float()
    call("cuEventSynchronize", end)
    call("cuEventElapsedTime", ctypes.byref(found), begin, end)
    for event in (begin, end):
        call("cuEventDestroy_v2", event)
    return found.value


def captured(stream, work, device=0, mode=0):
    """Captures work(), and returns a function that enqueues it. Modes: 0 global, 1 thread, 2
    relaxed."""
    with On(device):
        call("cuStreamBeginCapture_v2", stream, mode)
    work()
    graph = ctypes.c_uint64()
    with On(device):
        call("cuStreamEndCapture", stream, ctypes.byref(graph))
        executable = made("cuGraphInstantiateWithFlags", graph.value, 0)

    def replay():
        with On(device):
            call("cuGraphLaunch", executable, stream)

    return replay


class Memory:
    """A block on a device with these bytes, until it is freed or the process ends."""

    def __init__(self, data, device=0):
        self.device, self.size = device, len(data)
        with On(device):
            self.address = made("cuMemAlloc_v2", max(1, len(data)))
        self.write(data)

    def write(self, data):
        with On(self.device):
            call("cuMemcpyHtoD_v2", self.address, data, len(data))

    def read(self, stream=0):
        """The bytes, once what is enqueued on the stream has run."""
        synchronize(stream, self.device)
        data = ctypes.create_string_buffer(max(1, self.size))
        with On(self.device):
            call("cuMemcpyDtoH_v2", data, self.address, self.size)
        return data.raw[: self.size]

    def free(self):
        with On(self.device):
            call("cuMemFree_v2", self.address)


class Array:
    """Device memory with __cuda_array_interface__, with the layout that `view` has within
    `base`."""

    memory_type = Memory

    def __init__(self, view, base=None, device=0, memory=None, **entries):
        base = view if base is None else base
        assert base.flags.c_contiguous
        self.memory = memory or self.memory_type(base.tobytes(), device)
        self.base, self.view = base, view
        self.offset = view.__array_interface__["data"][0] - base.__array_interface__["data"][0]
        address = self.memory.address + self.offset if view.size else 0
        self.__dict__["interface"] = {
            "shape": view.shape, "typestr": view.dtype.str, "strides": view.strides, "data": (address, False), "version": 3,
            **entries,
        }  # fmt: skip

    @property
    def __cuda_array_interface__(self):
        return self.interface

    def on_cpu(self, data):
        """What a block of these bytes holds where the array lies."""
        whole = np.frombuffer(data, np.uint8)
        return np.ndarray(self.view.shape, self.view.dtype, whole, self.offset, self.view.strides)

    def get(self, stream=0):
        return self.on_cpu(self.memory.read(stream))


class Tensor(Producer):
    """The same by nothing but DLPack, which has a bfloat16."""

    def __init__(self, view, base=None, device=0, memory=None):
        self.array = Array(view, base, device, memory)
        address = self.array.memory.address + self.array.offset if view.size else 0
        super().__init__(view, device=(2, device), device_type=2, device_id=device, data=address)
        self.memory, self.get = self.array.memory, self.array.get


def array(view, base=None, device=0, memory=None):
    """On a device, by the interface if that has the dtype."""
    return (Tensor if view.dtype.name == "bfloat16" else Array)(view, base, device, memory)
