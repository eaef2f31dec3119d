"""Every form of a call, for tests of what a call leaves behind, whatever happens in it.

    PLAIN    containers that need nothing but Python
    NUMPY    numpy's and those that stand on it: bfloat16, interfaces, DLPack, namespaces
    TORCH    tensors

A form is a name and a function. The function makes nothing but the result, so a failure in it is
gorsqrt's or the container's. It gives the same bits each time, or raises the same exception.
"""

import array
import ctypes
import functools
import mmap
import sys

import gorsqrt

rsqrt, rsqrt_ = gorsqrt.rsqrt, gorsqrt.rsqrt_
POOLED = 1 << 25  # bytes from which on results come from the pool


class Attributes:
    """An object with these attributes, of a type of its own: special methods are looked up on the
    type."""

    def __new__(cls, **attributes):
        return type("Attributes", (), attributes)()


def raising(error):
    def ask(*_, **__):
        raise error("asked")

    return ask


def lending(owner):
    """A producer of DLPack that has its owner's memory, and nothing else."""
    return Attributes(
        __dlpack__=lambda _, **wishes: owner.__dlpack__(**wishes), __dlpack_device__=lambda _: owner.__dlpack_device__()
    )


def settings_kept(change):
    """A change of a setting, which the next call takes back."""

    def call():
        dtype, threads = gorsqrt.get_default_dtype(), gorsqrt.get_num_threads()
        try:
            change()
        finally:
            gorsqrt.set_default_dtype(dtype)
            gorsqrt.set_num_threads(threads)

    return call


def plain():
    f, d, i = array.array("f", [4, 16, 25]), array.array("d", [4, 16, 25]), array.array("i", [4, 16, 25])
    ones, out_f, out_d = array.array("d", [1, 1]), array.array("f", [0] * 3), array.array("d", [0] * 3)
    view = memoryview(array.array("d", [4.0] * 24)).cast("B").cast("d", (2, 3, 4))
    view_out = memoryview(bytearray(192)).cast("d", (2, 3, 4))
    strided, read_only = memoryview(d)[::2], memoryview(bytes(24)).cast("d")
    backward, none, frozen = memoryview(out_f)[::-1], f[:0], memoryview(bytes(12)).cast("f")
    shifted, numbers = (memoryview(d)[1:], memoryview(d)[:-1]), (ctypes.c_double * 3)(4, 16, 25)
    large = memoryview(bytes(POOLED)).cast("f")
    released, mapped = memoryview(d)[:], mmap.mmap(-1, 4096)
    released.release()
    written, memory = array.array("d", [1, 1, 1]), rsqrt(memoryview(array.array("d", [1] * 3))).obj
    look = memoryview(memory)
    pointer = (ctypes.addressof(ctypes.c_double.from_buffer(written)), False)
    interface = {"version": 3, "shape": (3,), "typestr": "<f8", "data": pointer}
    pointer = (ctypes.addressof(ctypes.c_double.from_buffer(out_d)), False)
    other = Attributes(__array_interface__={**interface, "data": pointer})
    deep = ctypes.c_double
    for _ in range(65):
        deep = deep * 1
    objects = {
        "interface": Attributes(__array_interface__=interface),
        "interface, strided": Attributes(__array_interface__={**interface, "strides": (8,)}),
        "interface, buffer": Attributes(__array_interface__={**interface, "data": bytes(24)}),
        "interface raises": Attributes(__array_interface__=property(raising(ZeroDivisionError))),
        "interface without a shape": Attributes(__array_interface__={"typestr": "<f8"}),
        "interface of an unknown type": Attributes(__array_interface__={**interface, "typestr": "<f16"}),
        "interface beyond its buffer": Attributes(__array_interface__={**interface, "data": bytes(3)}),
        "interface of CUDA": Attributes(__cuda_array_interface__={**interface, "version": 3, "data": (4096, True)}),
        "DLPack raises": Attributes(__dlpack__=raising(ZeroDivisionError)),
        "DLPack is no capsule": Attributes(__dlpack__=lambda *_, **__: 1),
        "DLPack of CUDA": Attributes(__dlpack__=raising(KeyError), __dlpack_device__=lambda _: (2, 0)),
        "DLPack of another device": Attributes(__dlpack__=raising(KeyError), __dlpack_device__=lambda _: (7, 0)),
        "DLPack device raises": Attributes(__dlpack__=raising(KeyError), __dlpack_device__=raising(ZeroDivisionError)),
        "DLPack": lending(memory),
        "65 dimensions": deep(),
        "released memoryview": released,
        "format without a kernel": memoryview(b"abc").cast("c"),
    }
    return {
        "array": lambda: rsqrt(f),
        "array of float64": lambda: rsqrt(d),
        "array of integers": lambda: rsqrt(i),
        "array, keyword": lambda: rsqrt(input=f),
        "array, out": lambda: rsqrt(f, out=out_f),
        "array, keyword, out": lambda: rsqrt(out=out_f, input=f),
        "array, out None": lambda: rsqrt(f, out=None),
        "array, out of another dtype": lambda: rsqrt(f, out=out_d),
        "array, out is a memoryview": lambda: rsqrt(f, out=backward),
        "array, in place": lambda: rsqrt_(ones),
        "array, in place, keyword": lambda: rsqrt_(input=ones),
        "array without items": lambda: rsqrt(none),
        "memoryview": lambda: rsqrt(view),
        "memoryview, strided": lambda: rsqrt(strided),
        "memoryview, out": lambda: rsqrt(view, out=view_out),
        "memoryview, large": lambda: rsqrt(large),
        "bytes": lambda: rsqrt(b"abc"),
        "mmap": lambda: rsqrt(mapped),
        "ctypes": lambda: rsqrt(numbers),
        "interface, in place": lambda: rsqrt_(objects["interface"]) and written,
        "interface, out": lambda: rsqrt(d, out=other) and out_d,
        "DLPack, in place": lambda: rsqrt_(objects["DLPack"]) and look,
        "DLPack, out": lambda: rsqrt(written, out=objects["DLPack"]) and look,
        "DLPack, from a result": lambda: rsqrt(view).obj.__dlpack__(max_version=(1, 0)) is None,
        "DLPack, old, from a result": lambda: rsqrt(view).obj.__dlpack__() is None,
        "DLPack, copy of a result": lambda: rsqrt(view).obj.__dlpack__(max_version=(1, 0), copy=True) is None,
        "DLPack, device of a result": lambda: rsqrt(view).obj.__dlpack_device__(),
        "set_default_dtype": settings_kept(lambda: gorsqrt.set_default_dtype("float64")),
        "set_num_threads": settings_kept(lambda: gorsqrt.set_num_threads(3)),
        "show_config": lambda: gorsqrt.show_config("dicts") and None,
        "empty_cache": gorsqrt.empty_cache,
        # Those that raise.
        "no argument": lambda: rsqrt(),
        "two arguments": lambda: rsqrt(f, f),
        "unknown keyword": lambda: rsqrt(f, foo=1),
        "input twice": lambda: rsqrt(f, input=f),
        "out of rsqrt_": lambda: rsqrt_(f, out=f),
        "float": lambda: rsqrt(1.5),
        "list": lambda: rsqrt([4.0]),
        "out is a list": lambda: rsqrt(f, out=[4.0]),
        "integers in place": lambda: rsqrt_(i),
        "integers as out": lambda: rsqrt(f, out=i),
        "another shape": lambda: rsqrt(f, out=ones),
        "overlap": lambda: rsqrt(shifted[0], out=shifted[1]),
        "read-only, in place": lambda: rsqrt_(read_only),
        "read-only out": lambda: rsqrt(f, out=frozen),
        "DLPack, wrong wishes to a result": lambda: memory.__dlpack__(max_version=1),
        "set_default_dtype refuses": lambda: gorsqrt.set_default_dtype("int8"),
        "set_num_threads refuses": lambda: gorsqrt.set_num_threads(0),
    } | {name: functools.partial(rsqrt, x) for name, x in objects.items()}


def numpy():
    import array_api_strict
    import ml_dtypes
    import numpy as np
    from dlpack_producer import BACK, Producer

    class Sub(np.ndarray):
        pass

    class Unfinished(np.ndarray):
        def __array_finalize__(self, _):
            if hasattr(Unfinished, "raises"):
                raise ZeroDivisionError

    x, f, i = np.full((3, 4), 4.0), np.full(9, 4, np.float32), np.arange(1, 10)
    out, narrow, ones = np.empty((3, 4)), np.empty((3, 4), np.float32), np.ones(5)
    c, bf16 = np.full(3, 4 + 3j), np.full(5, 4, ml_dtypes.bfloat16)
    line, masked, sub = np.full(20000, 4.0), np.ma.masked_array([4.0, 16.0], [0, 1]), x.view(Sub)
    large, scalar, zero_d = np.full(POOLED // 4, 4, np.float32), np.float32(4), np.array(4.0)
    strict, lent, lent_out = array_api_strict.asarray(line[:9]), lending(x), lending(out)
    swapped, objects, times = x.astype(">f8"), np.zeros(3, "O"), np.zeros(3, "M8[s]")
    frozen = np.ones(3)
    frozen.flags.writeable = False
    interface = Attributes(__array_interface__=out.__array_interface__)
    unfinished = np.ones(3).view(Unfinished)
    Unfinished.raises = True
    parts, half, places = np.ones(3, complex), np.empty(9, np.float16), np.zeros(10, np.float32)[::2]
    reals, every_second, lent_strided = parts.view("d")[::2], ones[::2], lending(x[::2, ::-1])
    transposed, strided, backward, blocks = x.T, f[::2], f[::-1], line.reshape(100, 200).T
    broadcast, expanded = np.broadcast_to(f, (2, 9)), np.lib.stride_tricks.as_strided(f, (2,), (0,))
    pair, three, shifted = f[:2].copy(), np.empty(3), (line[:-1], line[1:])

    def by_hand(producer, function=rsqrt):
        BACK.clear()
        return function(producer)

    return {
        "numpy": lambda: rsqrt(x),
        "numpy, transposed": lambda: rsqrt(transposed),
        "numpy, strided": lambda: rsqrt(strided),
        "numpy, broadcast": lambda: rsqrt(broadcast),
        "numpy, reversed": lambda: rsqrt(backward),
        "numpy, blocks": lambda: rsqrt(blocks),
        "numpy, integers": lambda: rsqrt(i),
        "numpy, complex": lambda: rsqrt(c),
        "numpy, bfloat16": lambda: rsqrt(bf16),
        "numpy, large": lambda: rsqrt(large),
        "numpy, out": lambda: rsqrt(x, out=out),
        "numpy, strided out": lambda: rsqrt(strided, out=places),
        "numpy, cast": lambda: rsqrt(x, out=narrow),
        "numpy, cast of integers": lambda: rsqrt(i, out=half),
        "numpy, a temporary": lambda: rsqrt(reals, out=parts),
        "numpy, in place": lambda: rsqrt_(ones),
        "numpy, strided in place": lambda: rsqrt_(every_second),
        "numpy scalar": lambda: rsqrt(scalar),
        "numpy, 0-d": lambda: rsqrt(zero_d),
        "numpy, subclass": lambda: rsqrt(sub),
        "numpy, masked": lambda: rsqrt(masked),
        "numpy's interface": lambda: rsqrt(interface),
        "numpy by DLPack": lambda: rsqrt(lent),
        "numpy by DLPack, strided": lambda: rsqrt(lent_strided),
        "numpy, out by DLPack": lambda: rsqrt(x, out=lent_out) and out,
        "DLPack to an interface": lambda: rsqrt(lent, out=interface) and out,
        "DLPack by hand": lambda: by_hand(Producer(f)),
        "DLPack by hand, old": lambda: by_hand(Producer(f, versioned=False, old=True)),
        "namespace": lambda: np.asarray(rsqrt(strict)),
        # Those that raise.
        "numpy, objects": lambda: rsqrt(objects),
        "numpy, times": lambda: rsqrt(times),
        "numpy, other byte order, in place": lambda: rsqrt_(swapped) and None,
        "numpy, another shape": lambda: rsqrt(x, out=ones),
        "numpy, overlap": lambda: rsqrt(shifted[0], out=shifted[1]),
        "numpy, overlap with itself": lambda: rsqrt(pair, out=expanded),
        "numpy, read-only": lambda: rsqrt_(frozen),
        "numpy, complex to real": lambda: rsqrt(c, out=three),
        "subclass raises": lambda: rsqrt(unfinished),
        "DLPack by hand, negative length": lambda: by_hand(Producer(f, shape=(-1,))),
        "DLPack by hand, without data": lambda: by_hand(Producer(f, data=None)),
        "DLPack by hand, another version": lambda: by_hand(Producer(f, major=2)),
        "DLPack by hand, another name": lambda: by_hand(Producer(f, name=b"dltensors")),
        "DLPack by hand, unknown type": lambda: by_hand(Producer(f, bits=80)),
        "DLPack by hand, in place, old": lambda: by_hand(Producer(f, versioned=False), rsqrt_),
    }


def torch():
    import torch

    x, out, ones = torch.full((3, 4), 4.0), torch.empty(3, 4), torch.ones(3)
    i, half, leaf = torch.tensor([4, 16]), torch.tensor([4.0]).bfloat16(), torch.ones(2, requires_grad=True)
    transposed, strided, every_second, expanded = x.T, x[:, ::2], ones[::2], torch.ones(1).expand(3)
    meta = torch.empty(3, device="meta")

    class Sub(torch.Tensor):
        pass

    rows, columns = torch.full((5,), 4.0).bfloat16().requires_grad_(), torch.full((4, 3), 4.0).bfloat16().requires_grad_().T
    sub, written, conjugate = torch.ones(3).as_subclass(Sub), torch.ones(3).as_subclass(Sub), torch.full((3,), 4 + 3j).conj()
    recorded = torch.full((3,), 4 + 3j, requires_grad=True).conj()
    return {
        "tensor": lambda: rsqrt(x),
        "by torch: bfloat16 with a gradient": lambda: rsqrt(rows),
        "by torch: bfloat16 with a gradient, transposed": lambda: rsqrt(columns),
        "by torch: bfloat16 with a gradient, in place": lambda: rsqrt_(rows * 1),
        "by torch: subclass": lambda: rsqrt(sub).as_subclass(torch.Tensor),
        "by torch: subclass, in place": lambda: rsqrt_(written).as_subclass(torch.Tensor),
        "by torch: conjugate": lambda: rsqrt(conjugate),
        "by torch: conjugate with a gradient": lambda: rsqrt(recorded),
        "tensor, transposed": lambda: rsqrt(transposed),
        "tensor, strided": lambda: rsqrt(strided),
        "tensor, integers": lambda: rsqrt(i),
        "tensor, bfloat16": lambda: rsqrt(half),
        "tensor, out": lambda: rsqrt(x, out=out),
        "tensor, in place": lambda: rsqrt_(ones),
        "tensor, strided in place": lambda: rsqrt_(every_second),
        "by torch: a gradient": lambda: rsqrt(leaf),
        "by torch: on meta": lambda: rsqrt(meta) is None,
        # Those that raise.
        "by torch: a leaf in place": lambda: rsqrt_(leaf),
        "tensor, integers in place": lambda: rsqrt_(i),
        "tensor, overlap with itself": lambda: rsqrt_(expanded),
    }


GROUPS = {"plain": plain, "numpy": numpy, "torch": torch}


def bits(value):
    """The bits of a result; itself where it has none."""
    if type(value).__module__ == "torch":
        return value.detach().contiguous().view(-1).view(sys.modules["torch"].uint8).numpy().tobytes()
    return value.tobytes() if hasattr(value, "tobytes") else value


def outcome(call):
    """What a call ends in: a result's bits, or an exception's type."""
    try:
        return bits(call())
    except Exception as error:
        return type(error)
