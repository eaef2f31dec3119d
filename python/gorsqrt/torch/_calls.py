"""gorsqrt.rsqrt and gorsqrt.rsqrt_ of a tensor that the fast door does not take."""

import torch
from torch import _C
from torch.utils._python_dispatch import _disable_current_modes

from gorsqrt._gorsqrt import torch_fresh, torch_into, torch_is_plain

from ._ops import COMPUTED, FRESH, IN_PLACE, OUT, TORCH_RSQRT, TORCH_RSQRT_, Rsqrt, counted, is_recorded, resize

# What torch's kernel gives other bits for: on CUDA devices all. Of the others torch records a gradient sooner than Python can
# (float32, n=1: 2 us and 9); from 2^16 elements on our kernel makes up for that, but the backward step, torch's formula called
# from Python, loses it again.
_OWN_BITS = {"cpu": COMPUTED - {torch.float32, torch.float64}, "cuda": COMPUTED}


def rsqrt(input, out=None):
    """gorsqrt.rsqrt where an argument is a tensor that is not ordinary, or a mode, a transform or a tracer is active."""
    if out is None and torch_is_plain(input):  # a gradient is to be recorded, or the dtype has no kernel
        return Rsqrt.apply(torch_fresh, True, False, input) if _has_own_bits(input) else TORCH_RSQRT(input)
    if _is_foreign(input) or _is_foreign(out):
        return TORCH_RSQRT(input) if out is None else TORCH_RSQRT(input, out=out)
    if not isinstance(input, torch.Tensor) or not (out is None or isinstance(out, torch.Tensor)):
        return _mixed(input, out)
    return FRESH(input) if out is None else OUT(input, out=out)


def rsqrt_(input):
    """gorsqrt.rsqrt_ where input is a tensor that is not ordinary, or a mode, a transform or a tracer is active."""
    if _is_foreign(input) or (torch_is_plain(input) and input.requires_grad and not _has_own_bits(input)):
        return TORCH_RSQRT_(input)
    return IN_PLACE(input)


def _has_own_bits(x):
    return x.dtype in _OWN_BITS[x.device.type]


_HAS_NAMES = hasattr(torch.Tensor, "has_names")


def _is_named(x):
    with _C.DisableTorchFunction():
        return x.has_names()


def _is_foreign(x):
    """Whether x answers for torch functions itself, in ways that may know torch.rsqrt but not our ops. torch's own classes
    (fake, functional, jagged, DTensor) take any pointwise op; masked tensors only those of a list. Named tensors, which torch
    had up to 2.14, are refused by all but its own ops."""
    cls = type(x)
    if cls is torch.Tensor or cls is torch.nn.Parameter:
        return _HAS_NAMES and _is_named(x)
    if not hasattr(cls, "__torch_function__"):
        return False
    if cls.__module__.startswith("torch."):
        return cls.__module__.startswith("torch.masked.")
    function = getattr(cls.__torch_function__, "__func__", cls.__torch_function__)
    if function not in (torch.Tensor.__torch_function__.__func__, _C._disabled_torch_function_impl):
        return True
    return getattr(cls, "__torch_dispatch__", _C._disabled_torch_dispatch_impl) is not _C._disabled_torch_dispatch_impl


def _mixed(input, out):
    """One of the two is a tensor and the other another container."""
    tensor, other = (input, out) if isinstance(input, torch.Tensor) else (out, input)
    if is_recorded(tensor):
        return TORCH_RSQRT(tensor, out=torch.empty(0))  # raises: no derivative is recorded with out=
    if tensor.device.type not in ("cpu", "cuda"):
        where = f"{input.device} and cpu" if tensor is input else f"cpu and {out.device}"
        raise RuntimeError(f"Expected all tensors to be on the same device, but found at least two devices, {where}!")
    strided = tensor.layout is torch.strided and not tensor.is_nested
    if not strided or _C._are_functorch_transforms_active() or _C._dispatch_keys(tensor).has(_C.DispatchKey.Python):
        which, kind = ("input", "out") if tensor is input else ("out", "input")
        raise TypeError(
            f"rsqrt(): argument '{which}' is a tensor without strided memory of its own (under a transform, a wrapper, or of "
            f"another layout); argument '{kind}' must then be a tensor, not {type(other).__module__}.{type(other).__qualname__}"
        )
    with torch.no_grad(), _disable_current_modes(), _C.DisableTorchFunction():
        if tensor is input:
            torch_into(other, input.clone() if input._is_zerotensor() else input.resolve_conj().resolve_neg())
            return other
        shape = torch.Size(_shape(other))
        if shape == out.shape and not (out.is_conj() or out.is_neg() or out._is_zerotensor()):
            return counted(out, lambda: torch_into(out, other))
        result = torch.empty(shape, dtype=out.dtype, device=out.device)
        torch_into(result, other)
        if shape != out.shape:
            resize(out, result)
        return out.copy_(result)


def _shape(array):
    if hasattr(array, "shape"):
        return array.shape
    if hasattr(array, "__cuda_array_interface__"):
        return array.__cuda_array_interface__["shape"]
    return memoryview(array).shape
