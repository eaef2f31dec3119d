"""Torch tensors that the fast door does not take: the registered ops, and torch.rsqrt itself for what they can't do.

``gorsqrt.rsqrt`` and ``gorsqrt.rsqrt_`` come here by themselves; of this module only ``patch`` is called by a user:

>>> import torch, gorsqrt
>>> with gorsqrt.torch.patch():
...     torch.tensor([4.0, 16.0]).rsqrt()
tensor([0.5000, 0.2500])

The ops are ``torch.ops.gorsqrt.rsqrt``, ``rsqrt_`` and ``rsqrt.out``. Two principles keep torch's rules and errors torch's:
what the ops can't do as torch does goes to torch.rsqrt itself; and where a transform stands between the caller and the memory,
writing is ``out.copy_(gorsqrt.rsqrt(x))``, so that copy_ brings its rules along.
"""

import functools
import threading

import torch
from torch import _C
from torch._functorch.utils import enable_single_level_autograd_function
from torch.autograd import forward_ad
from torch.autograd.function import _SingleLevelFunction
from torch.utils._python_dispatch import _disable_current_modes

import gorsqrt

from ._gorsqrt import torch_fresh, torch_into, torch_is_plain

__all__ = ["patch"]

# torch's own functions: torch.rsqrt may be ours while patched.
_TORCH_RSQRT, _TORCH_RSQRT_ = _C._VariableFunctions.rsqrt, _C._VariableFunctions.rsqrt_

_COMPUTED = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128})
_DTYPES = _COMPUTED | {torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}
_DTYPES |= {torch.uint16, torch.uint32, torch.uint64}

# What torch's kernel gives other bits for: on CUDA devices all. Of the others torch records a gradient sooner than Python can
# (float32, n=1: 2 us and 9); from 2^16 elements on our kernel makes up for that, but the backward step, torch's formula called
# from Python, loses it again.
_OWN_BITS = {"cpu": _COMPUTED - {torch.float32, torch.float64}, "cuda": _COMPUTED}


# The ops.


def _tags(kind):
    """The tags of torch's own op of this kind, as far as this torch has them."""
    known = (getattr(torch.Tag, name, None) for name in ("pointwise", "pt2_compliant_tag", kind))
    return [tag for tag in known if tag is not None]


_library = torch.library.Library("gorsqrt", "DEF")
_library.define("rsqrt(Tensor self) -> Tensor", tags=_tags("core"))
_library.define("rsqrt_(Tensor(a!) self) -> Tensor(a!)", tags=_tags("inplace"))
_library.define("rsqrt.out(Tensor self, *, Tensor(a!) out) -> Tensor(a!)", tags=_tags("out"))
_FRESH, _IN_PLACE, _OUT = torch.ops.gorsqrt.rsqrt.default, torch.ops.gorsqrt.rsqrt_.default, torch.ops.gorsqrt.rsqrt.out


# The kernels, below autograd: plain strided tensors on the CPU and on CUDA devices.


def _ours(x):
    return torch_fresh(x) if x.dtype in _DTYPES else _TORCH_RSQRT(x)


def _ours_in_place(x):
    if x.dtype not in _DTYPES:
        return _TORCH_RSQRT_(x)
    torch_into(x, x)
    return x


def _ours_out(x, *, out):
    if x.dtype not in _DTYPES or out.dtype not in _DTYPES:
        return _TORCH_RSQRT(x, out=out)
    if torch_into(out, x) is None:
        _resize(out, x)
        torch_into(out, x)
    return out


def _resize(out, x):
    """Gives out x's shape by torch's rule and with torch's warning. Where torch fails half-way (memory that can't grow: the new
    shape over the old memory) or crashes (memory shared between processes), it fails before, and out keeps its shape."""
    storage = out.untyped_storage()
    needed = (out.storage_offset() + x.numel()) * out.element_size() if x.numel() else 0
    grows = needed > storage.nbytes()
    # torch's kernel need not run: on CUDA devices it is another one, and in x's memory it would write before overlap is judged.
    if out.is_cuda or (storage.data_ptr() == x.untyped_storage().data_ptr() and not (grows and out.is_shared())):
        model, meta = torch_fresh(x), torch.device("meta")
        torch._resize_output_(torch.empty(out.shape, device=meta), x.shape, meta)  # warns
        if not (grows and not storage.resizable()):
            with _C._AutoDispatchBelowAutograd():
                out.resize_(x.shape).as_strided_(x.shape, model.stride())
            return
    elif not (grows and (not storage.resizable() or out.is_shared())):
        _TORCH_RSQRT(x, out=out)
        return
    else:
        _TORCH_RSQRT(x, out=torch.empty(out.shape, dtype=out.dtype))  # warns, or raises that it can't be cast
    raise RuntimeError("Trying to resize storage that is not resizable")


def _result_dtype(x):
    return x.dtype if x.dtype in _COMPUTED else torch.get_default_dtype()


# Where torch is built for AMD's devices it calls them CUDA's too.
for _key in ("CPU", "CUDA") if torch.version.cuda else ("CPU",):
    _library.impl("rsqrt", _ours, _key)
    _library.impl("rsqrt_", _ours_in_place, _key)
    _library.impl("rsqrt.out", _ours_out, _key)


# Every other backend (meta, sparse, quantized, nested, mkldnn, devices without a kernel of ours): torch's kernel or its error.


def _theirs(x):
    return _TORCH_RSQRT(x)


def _theirs_in_place(x):
    return _TORCH_RSQRT_(x)


def _theirs_out(x, *, out):
    return _TORCH_RSQRT(x, out=out)


for _name, _op, _kernel in (
    ("rsqrt", _FRESH, _theirs),
    ("rsqrt_", _IN_PLACE, _theirs_in_place),
    ("rsqrt.out", _OUT, _theirs_out),
):
    for _key in ("CompositeExplicitAutograd", "NestedTensorCPU", "NestedTensorCUDA"):
        _library.impl(_name, _kernel, _key)
    torch.library.register_fake(_op, _kernel, lib=_library)


# Derivatives.


def _below_autograd(op, keyset, *args, **kwargs):
    with _C._AutoDispatchBelowAutograd():
        return op.redispatch(keyset & _C._after_autograd_keyset, *args, **kwargs)


class Rsqrt(_SingleLevelFunction):
    """y = x^(-1/2), dy = -1/2 y^3 dx: torch's formula, in torch's order of operations. compute gives y from x, unrecorded.

    One level only: the dispatcher has taken functorch's levels apart before it calls the Autograd kernel. apply switches both
    modes of recording off, and the levels below need them as they were.
    """

    @staticmethod
    def forward(compute, backward_mode, forward_mode, x):
        with torch.set_grad_enabled(backward_mode), forward_ad._set_fwd_grad_enabled(forward_mode):
            return compute(x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.forward_mode = inputs[2]
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)

    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return None, None, None, -0.5 * grad * y.pow(3).conj()

    @staticmethod
    def jvp(ctx, _compute, _backward_mode, _forward_mode, tangent):
        (y,) = ctx.saved_tensors
        with forward_ad._set_fwd_grad_enabled(ctx.forward_mode):
            return (-0.5 * tangent.conj() * y.pow(3).conj()).conj()


def _is_dual(x):
    return forward_ad._current_level >= 0 and forward_ad.unpack_dual(x).tangent is not None


def _recorded(*tensors):
    """Whether a derivative of a function of these is asked for."""
    return (torch.is_grad_enabled() and any(x.requires_grad for x in tensors)) or any(map(_is_dual, tensors))


def _autograd(keyset, x):
    if _recorded(x):
        compute = functools.partial(_below_autograd, _FRESH, keyset)
        with enable_single_level_autograd_function():
            return Rsqrt.apply(compute, torch.is_grad_enabled(), _C._is_fwd_grad_enabled(), x)
    return _ours(x) if torch_is_plain(x) else _below_autograd(_FRESH, keyset, x)  # the same, some microseconds sooner


def _autograd_in_place(keyset, x):
    if _recorded(x):
        return _by_copy(x)
    return _below_autograd(_IN_PLACE, keyset, x)


def _autograd_out(keyset, x, *, out):
    if _recorded(x, out):
        return _TORCH_RSQRT(x, out=out)
    return _below_autograd(_OUT, keyset, x, out=out)


_library.impl("rsqrt", _autograd, "Autograd", with_keyset=True)
_library.impl("rsqrt_", _autograd_in_place, "Autograd", with_keyset=True)
_library.impl("rsqrt.out", _autograd_out, "Autograd", with_keyset=True)


# Version counters. A tensor of inference mode has none and is refused, before it is written.


def _counted(written, write):
    if written.is_inference():
        written.as_strided((0,), (1,)).zero_()  # raises what torch raises, and writes nothing
    try:
        with _C._AutoDispatchBelowADInplaceOrView():
            write()
    except Warning:  # where warnings are errors, torch's comes when it has resized and written
        torch.autograd.graph.increment_version(written)
        raise
    if not written.is_inference():
        torch.autograd.graph.increment_version(written)
    return written


def _counted_in_place(keyset, x):
    return _counted(x, lambda: _IN_PLACE.redispatch(keyset & _C._after_ADInplaceOrView_keyset, x))


def _counted_out(keyset, x, *, out):
    return _counted(out, lambda: _OUT.redispatch(keyset & _C._after_ADInplaceOrView_keyset, x, out=out))


_library.impl("rsqrt_", _counted_in_place, "ADInplaceOrView", with_keyset=True)
_library.impl("rsqrt.out", _counted_out, "ADInplaceOrView", with_keyset=True)


# Transforms: in place and out= are a copy of the fresh result.


def _by_copy(x):
    return x.copy_(_FRESH(x)) if x.dtype in _COMPUTED else _TORCH_RSQRT_(x)


def _functional_in_place(x):
    """Not by copy_, which becomes an aten::copy here that has no derivative."""
    if not torch._is_functional_tensor(x) or x.dtype not in _COMPUTED:
        return _TORCH_RSQRT_(x)
    torch._functionalize_replace(x, torch._from_functional_tensor(_FRESH(x)))
    torch._functionalize_commit_update(x)
    torch._functionalize_sync(x)
    return x


def _functional_out(x, *, out):
    if x.shape == out.shape and x.dtype in _DTYPES and out.dtype in _DTYPES and torch.can_cast(_result_dtype(x), out.dtype):
        return out.copy_(_FRESH(x))
    return _TORCH_RSQRT(x, out=out)


torch.library.register_vmap(_FRESH, lambda info, in_dims, x: (_FRESH(x), in_dims[0]), lib=_library)
_library.impl("rsqrt_", _by_copy, "FuncTorchBatched")
_library.impl("rsqrt.out", _theirs_out, "FuncTorchBatched")
_library.impl("rsqrt_", _functional_in_place, "Functionalize")
_library.impl("rsqrt.out", _functional_out, "Functionalize")


def _autocast(x):
    with torch.autocast(x.device.type, enabled=False):
        return _FRESH(x.float() if x.dtype in (torch.float16, torch.bfloat16) else x)


for _key in (
    "AutocastCUDA",
    "AutocastXPU",
    "AutocastMPS",
    "AutocastMTIA",
    "AutocastMAIA",
):  # torch's list for rsqrt: not the CPU
    if hasattr(_C.DispatchKey, _key) and _C._dispatch_has_kernel_for_dispatch_key("aten::rsqrt", _key):
        _library.impl("rsqrt", _autocast, _key)


# The functions behind gorsqrt.rsqrt and gorsqrt.rsqrt_.


def rsqrt(input, out=None):
    """gorsqrt.rsqrt where an argument is a tensor that is not ordinary, or a mode, a transform or a tracer is active."""
    if out is None and torch_is_plain(input):  # a gradient is to be recorded, or the dtype has no kernel
        return Rsqrt.apply(torch_fresh, True, False, input) if _has_own_bits(input) else _TORCH_RSQRT(input)
    if _is_foreign(input) or _is_foreign(out):
        return _TORCH_RSQRT(input) if out is None else _TORCH_RSQRT(input, out=out)
    if not isinstance(input, torch.Tensor) or not (out is None or isinstance(out, torch.Tensor)):
        return _mixed(input, out)
    return _FRESH(input) if out is None else _OUT(input, out=out)


def rsqrt_(input):
    """gorsqrt.rsqrt_ where input is a tensor that is not ordinary, or a mode, a transform or a tracer is active."""
    if _is_foreign(input) or (torch_is_plain(input) and input.requires_grad and not _has_own_bits(input)):
        return _TORCH_RSQRT_(input)
    return _IN_PLACE(input)


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
    if _recorded(tensor):
        return _TORCH_RSQRT(tensor, out=torch.empty(0))  # raises: no derivative is recorded with out=
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
            return _counted(out, lambda: torch_into(out, other))
        result = torch.empty(shape, dtype=out.dtype, device=out.device)
        torch_into(result, other)
        if shape != out.shape:
            _resize(out, result)
        return out.copy_(result)


def _shape(array):
    if hasattr(array, "shape"):
        return array.shape
    if hasattr(array, "__cuda_array_interface__"):
        return array.__cuda_array_interface__["shape"]
    return memoryview(array).shape


# torch.rsqrt through gorsqrt.


class patch:  # noqa: N801
    """Let torch.rsqrt, torch.rsqrt_, torch.Tensor.rsqrt and torch.Tensor.rsqrt_ go through gorsqrt, in all threads.

    As a function it holds until ``undo`` is called on what it returns; as a context manager until the block ends. Uses may be
    nested and may overlap: the last to end puts back what the first has found.

    Examples
    --------
    >>> import torch, gorsqrt
    >>> with gorsqrt.torch.patch():
    ...     torch.rsqrt(torch.tensor([4.0, 16.0]))
    tensor([0.5000, 0.2500])
    >>> patched = gorsqrt.torch.patch()
    >>> torch.tensor([4.0, 16.0]).rsqrt_()
    tensor([0.5000, 0.2500])
    >>> patched.undo()
    """

    _lock = threading.Lock()
    _active = 0
    _found: list = []  # noqa: RUF012

    def __init__(self):
        self._on = True
        with patch._lock:
            patch._active += 1
            if patch._active == 1:
                patch._found = [(owner, name, vars(owner).get(name, _ABSENT)) for owner, name in _PATCHED]
                for (owner, name), function in _PATCHED.items():
                    setattr(owner, name, function)

    def undo(self):
        """Undo this use of patch; a second call does nothing."""
        with patch._lock:
            if not self._on:
                return
            self._on = False
            patch._active -= 1
            if patch._active == 0:
                for owner, name, function in patch._found:
                    if function is _ABSENT:
                        delattr(owner, name)
                    else:
                        setattr(owner, name, function)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.undo()


def _method(self):
    return gorsqrt.rsqrt(self)


def _method_(self):
    return gorsqrt.rsqrt_(self)


_ABSENT = object()
_PATCHED = {
    (torch, "rsqrt"): gorsqrt.rsqrt,
    (torch, "rsqrt_"): gorsqrt.rsqrt_,
    (torch.Tensor, "rsqrt"): _method,
    (torch.Tensor, "rsqrt_"): _method_,
}
for (_owner, _name), _function in _PATCHED.items():
    if _owner is torch.Tensor:
        _function.__name__, _function.__qualname__ = _name, f"Tensor.{_name}"
        _function.__doc__ = getattr(torch.Tensor, _name).__doc__


# torch.compile and DTensor, registered where and when they are imported.


def register_dynamo():
    """Have torch.compile and torch.export trace the two functions to the ops."""

    @torch.compiler.substitute_in_graph(gorsqrt.rsqrt)
    def traced_rsqrt(input, *, out=None):
        array = None
        if not isinstance(input, torch.Tensor):
            input, array = torch.from_numpy(input), input
        if out is None:
            result = torch.ops.gorsqrt.rsqrt(input)
            return result if array is None else result.numpy()
        to = out if isinstance(out, torch.Tensor) else torch.from_numpy(out)
        can_cast = to.is_complex() or (to.is_floating_point() and not input.is_complex())
        if to.is_contiguous() or to.shape != input.shape or not can_cast:
            torch.ops.gorsqrt.rsqrt.out(input, out=to)
        else:  # Dynamo refuses an out= that is not contiguous
            to.copy_(torch.ops.gorsqrt.rsqrt(input))
        return out

    @torch.compiler.substitute_in_graph(gorsqrt.rsqrt_)
    def traced_rsqrt_(input):
        if isinstance(input, torch.Tensor):
            return torch.ops.gorsqrt.rsqrt_(input)
        torch.ops.gorsqrt.rsqrt_(torch.from_numpy(input))
        return input


def register_dtensor():
    """Give the ops the sharding rules that torch has for its own."""
    from torch.distributed.tensor import DTensor

    aten = torch.ops.aten
    twins = {aten.rsqrt.default: _FRESH, aten.rsqrt_.default: _IN_PLACE, aten.rsqrt.out: _OUT}
    tables = [t for t in vars(DTensor._op_dispatcher.sharding_propagator).values() if isinstance(t, dict)]
    for theirs, ours in twins.items():
        holding = [table for table in tables if theirs in table]
        if not holding:
            raise LookupError(f"this version of torch keeps the sharding rule of {theirs} elsewhere")
        for table in holding:
            table[ours] = table[theirs]
