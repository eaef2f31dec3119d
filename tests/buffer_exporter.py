"""Types whose buffers C gives, by functions made with ctypes: their views may claim anything."""

import ctypes


class View(ctypes.Structure):
    """Py_buffer."""

    _fields_ = [
        ("buf", ctypes.c_void_p), ("obj", ctypes.c_void_p), ("len", ctypes.c_ssize_t), ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int), ("ndim", ctypes.c_int), ("format", ctypes.c_char_p), ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p), ("suboffsets", ctypes.c_void_p), ("internal", ctypes.c_void_p),
    ]  # fmt: skip


class Slot(ctypes.Structure):
    _fields_ = [("slot", ctypes.c_int), ("function", ctypes.c_void_p)]


class Spec(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p), ("basicsize", ctypes.c_int), ("itemsize", ctypes.c_int), ("flags", ctypes.c_uint),
        ("slots", ctypes.POINTER(Slot)),
    ]  # fmt: skip


# The slots bf_getbuffer and bf_releasebuffer as Python functions of (exporter, view, flags) and
# (exporter, view).
getbuffer = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.POINTER(View), ctypes.c_int)
releasebuffer = ctypes.PYFUNCTYPE(None, ctypes.py_object, ctypes.POINTER(View))

KEPT = []  # what types point to, for as long as the process lives


def exporter_type(name, get, release):
    """A type with these slots, which may have subclasses."""
    slots = (Slot * 3)((1, ctypes.cast(get, ctypes.c_void_p)), (2, ctypes.cast(release, ctypes.c_void_p)), (0, None))
    spec = Spec(name, 0, 0, 1 << 10, slots)
    KEPT.append((get, release, slots, spec))
    from_spec = ctypes.pythonapi.PyType_FromSpec
    from_spec.restype = ctypes.py_object
    return from_spec(ctypes.byref(spec))
