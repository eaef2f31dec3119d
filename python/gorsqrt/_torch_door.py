"""Finds out how the installed torch lays out tensors and storages in memory, for C.

It is called once before python/binding/torch.c reads the first tensor directly, and once before
torch_storage.c exchanges the memory of the first large result.
"""

import ctypes
import sys
from pathlib import Path

import torch

from . import _gorsqrt

_WORD = ctypes.sizeof(ctypes.c_uint64)


def _words(address, size):
    """The words of a block of memory, which the caller keeps alive."""
    return ctypes.cast(address, ctypes.POINTER(ctypes.c_uint64))[: size // _WORD]


def _keys(tensor):
    return torch._C._dispatch_keys(tensor).raw_repr()


def _block(address):
    """The words of a block on the heap."""
    libc = ctypes.CDLL(None)
    libc.malloc_usable_size.argtypes, libc.malloc_usable_size.restype = [ctypes.c_void_p], ctypes.c_size_t
    return _words(address, libc.malloc_usable_size(address))


def _impl(tensor):
    """The words of a tensor's TensorImpl."""
    return _block(tensor._cdata)


def _places(tensors, words, wanted):
    """The offset, in bytes, at which the words of every tensor have the value wanted of it."""
    places = [{_WORD * i for i, word in enumerate(words(x)) if word == wanted(x)} for x in tensors]
    (place,) = set.intersection(*places)
    return place


def _autocast_keys(device):
    """The excluded keys of this thread that autocast takes away, on devices of this kind."""
    torch.set_autocast_enabled(device, True)
    try:
        return _gorsqrt.torch_thread_keys()[1]
    finally:
        torch.set_autocast_enabled(device, False)


def open_door():
    """Tell torch.c how to know an ordinary tensor. Does nothing within a mode or transform."""
    with torch.inference_mode(False):
        if _gorsqrt.torch_thread_keys() != (0, 0) or torch._C._len_torch_function_stack():
            return
        # Named, since the defaults may be others.
        tensors = [
            torch.empty(3, dtype=torch.float32, device="cpu"),
            torch.empty(2, dtype=torch.complex64, device="cpu").conj(),
            torch.empty(2, 2, dtype=torch.float32, device="meta"),
        ]
        with torch.inference_mode():
            tensors.append(torch.empty(3, dtype=torch.float32, device="cpu"))
            inference_thread = _gorsqrt.torch_thread_keys()
        devices = [x.device.type for x in tensors]
        if devices != ["cpu", "cpu", "meta", "cpu"]:
            raise RuntimeError(f"torch makes tensors on {devices}, where others were asked for")
        size = torch.Tensor.__basicsize__
        _gorsqrt.torch_open(
            _places(tensors, lambda x: _words(id(x), size), lambda x: x._cdata),
            _places(tensors, _impl, _keys),
            _keys(tensors[0]),
            _keys(tensors[1]),
            _keys(tensors[-1]),
            inference_thread,
            _autocast_keys("cpu"),
            _autocast_keys("cuda"),
            vars(torch.autograd.forward_ad),
            (torch._C._VariableFunctions.rsqrt, torch._C._VariableFunctions.rsqrt_),
            getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None),
            torch.Tensor.__torch_function__.__func__,
            torch._C._disabled_torch_function_impl,
        )


def _is_code_of(library, address):
    """Whether there is code of a shared library at an address."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, permissions, *_, path = line.split(maxsplit=5)
        begin, end = (int(bound, 16) for bound in span.split("-"))
        if begin <= address < end:
            return "x" in permissions and Path(path).name == library
    return False


def open_storages():
    """Tell torch_storage.c where a storage keeps its memory. Does nothing within a mode."""
    with torch.inference_mode(False), torch._C.DisableTorchFunction():
        if _gorsqrt.torch_thread_keys()[0]:
            return
        tensors = [torch.empty(n, dtype=torch.uint8, device="cpu") for n in (1000, 4321, 70_000)]
        storage_at = _places(tensors, _impl, lambda x: x.untyped_storage()._cdata)
        # A DataPtr: the address, the deleter and its argument, which in torch's allocator is the
        # address.
        storages = [(x.data_ptr(), _block(x.untyped_storage()._cdata)) for x in tensors]
        (place,) = set.intersection(
            *({i for i in range(len(words) - 2) if words[i] == words[i + 2] == data} for data, words in storages)
        )
        (deleter,) = {words[place + 1] for _, words in storages}
        if not _is_code_of("libc10.so", deleter):
            raise RuntimeError("torch's memory is not of its own allocator")

        # Nobody has asked for the storages of these two, so that one tensor owns each.
        twin, trial = (torch.empty(n, dtype=torch.uint8, device="cpu") for n in (500, 5000))
        head = b"".join(word.to_bytes(_WORD, sys.byteorder) for word in _block(_impl(twin)[storage_at // _WORD])[:place])
        address = _gorsqrt.torch_try_storages(storage_at, head, deleter, trial._cdata, trial.data_ptr(), 5000)
        trial.fill_(7)
        storage = trial.untyped_storage()
        if not (
            trial.data_ptr() == storage.data_ptr() == address
            and storage.nbytes() == 5000
            and ctypes.string_at(address, 5000) == b"\7" * 5000
            and trial.resize_(6000).data_ptr() != address
            and trial[:5000].eq(7).all()
        ):
            raise RuntimeError("torch does not know of a storage's new memory")
        _gorsqrt.torch_open_storages(address)


def open_cuda(tensor):
    """Tell torch.c how to know an ordinary CUDA tensor, by the first one: initialises nothing."""
    with torch.inference_mode(False):
        plain = torch.empty(0, dtype=torch.float32, device=tensor.device)
        with torch.inference_mode():
            inference = torch.empty(0, dtype=torch.float32, device=tensor.device)
    _gorsqrt.torch_open_cuda(_keys(plain), _keys(inference))
