"""What the installed torch looks like from C: found out once, before python/binding/torch.c reads the first tensor directly."""

import ctypes

import torch

from . import _gorsqrt

_WORD = ctypes.sizeof(ctypes.c_uint64)


def _words(address, size):
    """The words of a block of memory, which the caller keeps alive."""
    return ctypes.cast(address, ctypes.POINTER(ctypes.c_uint64))[: size // _WORD]


def _keys(tensor):
    return torch._C._dispatch_keys(tensor).raw_repr()


def _impl(tensor):
    """The words of a tensor's TensorImpl, as long as its block on the heap."""
    libc = ctypes.CDLL(None)
    libc.malloc_usable_size.argtypes, libc.malloc_usable_size.restype = [ctypes.c_void_p], ctypes.c_size_t
    return _words(tensor._cdata, libc.malloc_usable_size(tensor._cdata))


def _places(tensors, words, wanted):
    """Where, in bytes, each tensor's words have what is wanted of it: one place, the same in all."""
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
    """Tell torch.c what an ordinary tensor is. Nothing happens while modes or transforms are active."""
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
            torch._C._autograd._top_saved_tensors_default_hooks,
            torch.Tensor.__torch_function__.__func__,
            torch._C._disabled_torch_function_impl,
        )


def open_cuda(tensor):
    """Tell torch.c what an ordinary tensor on a CUDA device is, now that there is one: this initialises nothing."""
    with torch.inference_mode(False):
        plain = torch.empty(0, dtype=torch.float32, device=tensor.device)
        with torch.inference_mode():
            inference = torch.empty(0, dtype=torch.float32, device=tensor.device)
    _gorsqrt.torch_open_cuda(_keys(plain), _keys(inference))
