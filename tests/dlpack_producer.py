"""A producer of DLPack, made by hand. It counts the tensors that it gives out and those that come
back, and makes mistakes on request."""

import ctypes


class Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32), ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16), ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p), ("byte_offset", ctypes.c_uint64),
    ]  # fmt: skip


class Unversioned(ctypes.Structure):
    _fields_ = [("tensor", Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]


class Versioned(ctypes.Structure):
    _fields_ = [
        ("major", ctypes.c_uint32), ("minor", ctypes.c_uint32), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64), ("tensor", Tensor),
    ]  # fmt: skip


DELETER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
capsule_new = ctypes.pythonapi.PyCapsule_New
capsule_new.restype, capsule_new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
capsule_is = ctypes.pythonapi.PyCapsule_IsValid
capsule_is.argtypes = ctypes.c_void_p, ctypes.c_char_p
capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
capsule_pointer.restype, capsule_pointer.argtypes = ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_char_p)

NAMES = [b"dltensor", b"dltensor_versioned"]
WRONG_NAMES = [b"used_dltensor", b"used_dltensor_versioned", b"dltensors", b"", b"numpy_array"]
OUT, BACK, TWICE = {}, [], []  # the tensors that are out, by address; the addresses that came back, and that should not have


@DELETER
def delete(address):
    (BACK if OUT.pop(address, None) else TWICE).append(address)


@DELETER
def end_of_capsule(capsule):
    """Nobody has taken the tensor out."""
    for name in NAMES + WRONG_NAMES[2:]:
        if capsule_is(capsule, name):
            delete(capsule_pointer(capsule, name))


def code_of(dtype):
    return 4 if dtype.name == "bfloat16" else {"i": 0, "u": 1, "f": 2, "c": 5, "b": 6}[dtype.kind]


class Producer:
    """A numpy array with DLPack only. `changes` go into the tensor, the others around it."""

    def __init__(self, x, versioned=True, old=False, device=(1, 0), raises=None, name=None, capsule=None, **changes):
        self.x, self.versioned, self.old, self.device, self.raises = x, versioned, old, device, raises
        self.name, self.capsule, self.changes = NAMES[versioned] if name is None else name, capsule, changes
        self.asked = []

    def __dlpack_device__(self):
        if self.raises == "device":
            raise ZeroDivisionError("device")
        return self.device

    def __dlpack__(self, **wishes):
        self.asked.append(wishes)
        if self.old and wishes:
            raise TypeError("unexpected keyword argument")
        if self.raises == "dlpack":
            raise ZeroDivisionError("dlpack")
        if self.capsule is not None:
            return self.capsule
        x = self.x
        managed = (Versioned if self.versioned else Unversioned)()
        managed.deleter = ctypes.cast(delete, ctypes.c_void_p)
        lengths = (ctypes.c_int64 * (x.ndim or 1))(*x.shape)
        steps = (ctypes.c_int64 * (x.ndim or 1))(*(s // x.itemsize for s in x.strides))
        kept = [managed, lengths, steps, x]
        fields = {
            "data": x.ctypes.data, "device_type": 1, "ndim": x.ndim, "code": code_of(x.dtype), "bits": 8 * x.itemsize,
            "lanes": 1, "shape": ctypes.addressof(lengths), "strides": ctypes.addressof(steps), "major": 1, "flags": 0,
            **self.changes,
        }  # fmt: skip
        for name, value in fields.items():
            if name in ("major", "flags", "deleter"):
                if self.versioned or name == "deleter":
                    setattr(managed, name, value)
            else:
                if isinstance(value, tuple):
                    kept.append((ctypes.c_int64 * len(value))(*value))
                    value = ctypes.addressof(kept[-1])
                setattr(managed.tensor, name, value)
        address = ctypes.addressof(managed)
        OUT[address] = kept
        capsule = capsule_new(address, self.name, ctypes.cast(end_of_capsule, ctypes.c_void_p))
        if self.raises == "late":
            raise ZeroDivisionError("late")
        return capsule
