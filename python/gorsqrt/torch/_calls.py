"""gorsqrt.rsqrt and gorsqrt.rsqrt_ for tensors that C does not read directly."""

import torch
from torch import _C
from torch._C import _functorch as functorch
from torch.fx import Proxy
from torch.overrides import handle_torch_function, is_tensor_like
from torch.utils._python_dispatch import _disable_current_modes

import gorsqrt
from gorsqrt._gorsqrt import torch_into, torch_is_plain

from ._ops import (
    COMPUTED,
    FRESH,
    IN_PLACE,
    OUT,
    TORCH_RSQRT,
    TORCH_RSQRT_,
    Rsqrt,
    counted,
    is_recorded,
    recorded_in_place,
    resize,
)

# torch's own function has our bits of these on the CPU, whatever stands between the call and its
# kernel.
_TORCHS_BITS = frozenset({torch.float32, torch.float64})
# Up to so many items torch's function and our kernel after it take less time than Python needs to
# record within transforms.
_FEW, _FEW_COMPLEX = 1 << 18, 1 << 11


def rsqrt(input, out=None):
    """gorsqrt.rsqrt of a tensor that is not ordinary, or within a mode, transform or tracer."""
    if out is None and torch_is_plain(input):  # a gradient is to be recorded, or the dtype has no kernel
        return Rsqrt.apply(input) if input.dtype in COMPUTED else TORCH_RSQRT(input)
    if _is_foreign(input) or _is_foreign(out):
        return _overridden(gorsqrt.rsqrt, TORCH_RSQRT, input, **({} if out is None else {"out": out}))
    if not isinstance(input, torch.Tensor) or not (out is None or isinstance(out, torch.Tensor)):
        return _mixed(input, out)
    if out is not None:
        return OUT(input, out=out)
    transform = _innermost_transform()
    if transform is None:
        return FRESH(input)
    return _in_vmap(gorsqrt.rsqrt, input, transform) if _is_vmap(transform) else _in_derivative(input)


def rsqrt_(input):
    """gorsqrt.rsqrt_ of a tensor that is not ordinary, or within a mode, transform or tracer."""
    if _is_foreign(input):
        return _overridden(gorsqrt.rsqrt_, TORCH_RSQRT_, input)
    if torch_is_plain(input) and is_recorded(input):
        return recorded_in_place(input) if input.dtype in COMPUTED else TORCH_RSQRT_(input)
    transform = _innermost_transform()
    if transform is not None and _is_vmap(transform):
        _in_vmap(gorsqrt.rsqrt_, input, transform)
        return input
    return IN_PLACE(input)


# functorch's transforms. What they do to a call takes Python tens of microseconds by the ops.


def _innermost_transform():
    """The transform that takes the next operation; None without one, or if a mode or tracer sees
    the op."""
    if _C._len_torch_dispatch_stack() or _C._len_torch_function_stack() or _C._get_tracing_state():
        return None
    return functorch.peek_interpreter_stack()


def _is_vmap(transform):
    return transform.key() == functorch.TransformType.Vmap


def _in_vmap(function, x, transform):
    """Within vmap: the rows are one array of independent items, so compute it outside of vmap."""
    level = transform.level()
    rows, dim = functorch._unwrap_batched(x, level)
    outside = functorch.pop_dynamic_layer_stack()
    try:
        y = function(rows)
    finally:
        functorch.push_dynamic_layer_stack(outside)
    return y if dim is None else functorch._add_batch_dim(y, dim, level)


def _in_derivative(x):
    """Within grad, vjp or jvp: torch records its own function if that has our bits.

    It also does so for few items. Our bits are then written over its result's before anybody sees
    them, as record() of torch.c does.
    """
    if x.device.type == "cpu" and x.dtype in _TORCHS_BITS:
        return TORCH_RSQRT(x)
    if x.dtype not in COMPUTED or not {t.key() for t in functorch.get_interpreter_stack()} <= _SAVING:
        return FRESH(x)
    x_inside = _unwrapped(x)
    if x_inside is None or x_inside.numel() > (_FEW_COMPLEX if x.is_complex() else _FEW):
        return FRESH(x)
    y = TORCH_RSQRT(x)
    torch_into(_unwrapped(y), x_inside)
    return y


_SAVING = {functorch.TransformType.Grad, functorch.TransformType.Vmap}


def _unwrapped(x):
    """The ordinary tensor on the CPU whose memory a transform's tensor has; None if there is
    none."""
    while functorch.is_functorch_wrapped_tensor(x):
        x = functorch.get_unwrapped(x)
    ordinary = type(x) in (torch.Tensor, torch.nn.Parameter) and x.device.type == "cpu" and x.layout is torch.strided
    return x if ordinary and not (x.is_conj() or x.is_neg() or x._is_zerotensor()) else None


_HAS_NAMES = hasattr(torch.Tensor, "has_names")


def _is_named(x):
    with _C.DisableTorchFunction():
        return x.has_names()


def _is_foreign(x):
    """Whether x answers torch functions itself, and may know torch.rsqrt but not our ops.

    A class that is no tensor does. Of tensors, torch's own classes (fake, functional, jagged,
    DTensor) take any pointwise op; masked tensors take those of a list. Named tensors, which torch
    had up to 2.14, take torch's own ops only.
    """
    cls = type(x)
    if cls is torch.Tensor or cls is torch.nn.Parameter:
        return _HAS_NAMES and _is_named(x)
    if not hasattr(cls, "__torch_function__"):
        return False
    if not issubclass(cls, torch.Tensor):
        return True
    if cls.__module__.startswith("torch."):
        return cls.__module__.startswith("torch.masked.")
    function = getattr(cls.__torch_function__, "__func__", cls.__torch_function__)
    if function not in (torch.Tensor.__torch_function__.__func__, _C._disabled_torch_function_impl):
        return True
    return getattr(cls, "__torch_dispatch__", _C._disabled_torch_dispatch_impl) is not _C._disabled_torch_dispatch_impl


def _overridden(ours, theirs, input, **out):
    """The answer of a foreign class to torch's function: it may know no other.

    Proxies of torch.fx are asked for gorsqrt's function. They record any function, and a graph with
    gorsqrt.rsqrt gives our bits wherever it runs.
    """
    arguments = (input, *out.values())
    if any(isinstance(x, Proxy) for x in arguments) and all(map(is_tensor_like, arguments)):
        return handle_torch_function(ours, arguments, input, **out)
    return theirs(input, **out)


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
