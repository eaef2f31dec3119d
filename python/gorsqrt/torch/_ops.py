"""The ops torch.ops.gorsqrt.rsqrt, rsqrt_ and rsqrt.out: kernels, derivatives and transforms.

Two principles keep torch's rules and errors torch's:

- torch.rsqrt itself does what the ops can't do in torch's way;
- a write through a transform is ``out.copy_(gorsqrt.rsqrt(x))``: copy_ has the rules.
"""

import functools

import torch
from torch import _C
from torch._functorch.utils import enable_single_level_autograd_function
from torch.autograd import forward_ad
from torch.autograd.function import _SingleLevelFunction

from gorsqrt._gorsqrt import torch_directly, torch_fresh, torch_into

# torch's own functions: torch.rsqrt may be ours while patched.
TORCH_RSQRT, TORCH_RSQRT_ = _C._VariableFunctions.rsqrt, _C._VariableFunctions.rsqrt_

COMPUTED = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128})
DTYPES = COMPUTED | {torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}
DTYPES |= {torch.uint16, torch.uint32, torch.uint64}

# The ops.


def _tags(kind):
    """The tags of torch's own op of this kind, as far as this torch has them."""
    known = (getattr(torch.Tag, name, None) for name in ("pointwise", "pt2_compliant_tag", kind))
    return [tag for tag in known if tag is not None]


_library = torch.library.Library("gorsqrt", "DEF")
_library.define("rsqrt(Tensor self) -> Tensor", tags=_tags("core"))
_library.define("rsqrt_(Tensor(a!) self) -> Tensor(a!)", tags=_tags("inplace"))
_library.define("rsqrt.out(Tensor self, *, Tensor(a!) out) -> Tensor(a!)", tags=_tags("out"))
FRESH, IN_PLACE, OUT = torch.ops.gorsqrt.rsqrt.default, torch.ops.gorsqrt.rsqrt_.default, torch.ops.gorsqrt.rsqrt.out

# torch's own op of each kind.
_aten = torch.ops.aten
TWINS = {FRESH: _aten.rsqrt.default, IN_PLACE: _aten.rsqrt_.default, OUT: _aten.rsqrt.out}


# The kernels, below autograd: plain strided tensors on the CPU and on CUDA devices.


def _ours(x):
    return torch_fresh(x) if x.dtype in DTYPES else TORCH_RSQRT(x)


def _ours_in_place(x):
    if x.dtype not in DTYPES:
        return TORCH_RSQRT_(x)
    torch_into(x, x)
    return x


def _ours_out(x, *, out):
    if x.dtype not in DTYPES or out.dtype not in DTYPES:
        return TORCH_RSQRT(x, out=out)
    if torch_into(out, x) is None:
        resize(out, x)
        torch_into(out, x)
    return out


def resize(out, x):
    """Gives out x's shape by torch's rule and with torch's warning.

    If memory can't grow, torch fails with the new shape over the old memory, and it crashes if the
    memory is shared between processes. This fails before, and out keeps its shape.
    """
    storage = out.untyped_storage()
    needed = (out.storage_offset() + x.numel()) * out.element_size() if x.numel() else 0
    grows = needed > storage.nbytes()
    # torch's kernel need not run: on CUDA devices it is another one, and in x's memory it would
    # write before overlap is judged.
    if out.is_cuda or (storage.data_ptr() == x.untyped_storage().data_ptr() and not (grows and out.is_shared())):
        model, meta = torch_fresh(x), torch.device("meta")
        torch._resize_output_(torch.empty(out.shape, device=meta), x.shape, meta)  # warns
        if not (grows and not storage.resizable()):
            with _C._AutoDispatchBelowAutograd():
                out.resize_(x.shape).as_strided_(x.shape, model.stride())
            return
    elif not (grows and (not storage.resizable() or out.is_shared())):
        TORCH_RSQRT(x, out=out)
        return
    else:
        TORCH_RSQRT(x, out=torch.empty(out.shape, dtype=out.dtype))  # warns, or raises that it can't be cast
    raise RuntimeError("Trying to resize storage that is not resizable")


def _result_dtype(x):
    return x.dtype if x.dtype in COMPUTED else torch.get_default_dtype()


# Where torch is built for AMD's devices it calls them CUDA's too.
for _key in ("CPU", "CUDA") if torch.version.cuda else ("CPU",):
    _library.impl("rsqrt", _ours, _key)
    _library.impl("rsqrt_", _ours_in_place, _key)
    _library.impl("rsqrt.out", _ours_out, _key)


# Every other backend (meta, sparse, quantized, nested, mkldnn, devices without a kernel of ours):
# torch's kernel or its error.


def _theirs(x):
    return TORCH_RSQRT(x)


def _theirs_in_place(x):
    return TORCH_RSQRT_(x)


def _theirs_out(x, *, out):
    return TORCH_RSQRT(x, out=out)


for _name, _op, _kernel in (
    ("rsqrt", FRESH, _theirs),
    ("rsqrt_", IN_PLACE, _theirs_in_place),
    ("rsqrt.out", OUT, _theirs_out),
):
    for _key in ("CompositeExplicitAutograd", "NestedTensorCPU", "NestedTensorCUDA"):
        _library.impl(_name, _kernel, _key)
    torch.library.register_fake(_op, _kernel, lib=_library)


# Derivatives.


def _below_autograd(op, keyset, *args, **kwargs):
    with _C._AutoDispatchBelowAutograd():
        return op.redispatch(keyset & _C._after_autograd_keyset, *args, **kwargs)


class Rsqrt(_SingleLevelFunction):
    """y = x^(-1/2), dy = -1/2 y^3 dx: torch's formula, in torch's order of operations. x is an
    ordinary tensor.

    One level only: the dispatcher has taken functorch's levels apart before it calls the Autograd
    kernel.
    """

    @staticmethod
    def forward(x):
        return torch_fresh(x)

    @staticmethod
    def setup_context(ctx, _inputs, output):
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)

    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return -0.5 * grad * y.pow(3).conj()

    @staticmethod
    def jvp(ctx, tangent):
        (y,) = ctx.saved_tensors
        return (-0.5 * tangent.conj() * y.pow(3).conj()).conj()


class RsqrtInPlace(Rsqrt):
    """Rsqrt in x's memory. x is no leaf, no view and no dual tensor, so torch has no objection."""

    @staticmethod
    def forward(x):
        torch_into(x, x)
        return x

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.mark_dirty(output)  # which counts the version
        Rsqrt.setup_context(ctx, inputs, output)


class RsqrtByOp(Rsqrt):
    """Rsqrt with y = compute(x), which runs with both modes of recording as they were.

    apply switches them off, and the levels below need them.
    """

    @staticmethod
    def forward(x, compute, backward_mode, forward_mode):
        with torch.set_grad_enabled(backward_mode), forward_ad._set_fwd_grad_enabled(forward_mode):
            return compute(x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.forward_mode = inputs[3]
        Rsqrt.setup_context(ctx, inputs, output)

    @staticmethod
    def backward(ctx, grad):
        return Rsqrt.backward(ctx, grad), None, None, None

    @staticmethod
    def jvp(ctx, tangent, *_):
        with forward_ad._set_fwd_grad_enabled(ctx.forward_mode):
            return Rsqrt.jvp(ctx, tangent)


def _is_dual(x):
    return forward_ad._current_level >= 0 and forward_ad.unpack_dual(x).tangent is not None


def is_recorded(*tensors):
    """Whether a derivative of a function of these is asked for."""
    return (torch.is_grad_enabled() and any(x.requires_grad for x in tensors)) or any(map(_is_dual, tensors))


MANY = 8192  # items; of fewer, a copy costs less than a Function in place does


def recorded_in_place(x):
    """In place on an ordinary tensor of a computed dtype, with its derivative."""
    if x.numel() < MANY or x.is_leaf or x._is_view() or _is_dual(x):
        return x.copy_(Rsqrt.apply(x))
    return RsqrtInPlace.apply(x)


def _autograd(keyset, x):
    y = torch_directly(x)  # some microseconds sooner
    if y is not None:
        return y
    if is_recorded(x):
        compute = functools.partial(_below_autograd, FRESH, keyset)
        with enable_single_level_autograd_function():
            return RsqrtByOp.apply(x, compute, torch.is_grad_enabled(), _C._is_fwd_grad_enabled())
    return _below_autograd(FRESH, keyset, x)


def _autograd_in_place(keyset, x):
    if is_recorded(x):
        return _by_copy(x)
    return _below_autograd(IN_PLACE, keyset, x)


def _autograd_out(keyset, x, *, out):
    if is_recorded(x, out):
        return TORCH_RSQRT(x, out=out)
    return _below_autograd(OUT, keyset, x, out=out)


_library.impl("rsqrt", _autograd, "Autograd", with_keyset=True)
_library.impl("rsqrt_", _autograd_in_place, "Autograd", with_keyset=True)
_library.impl("rsqrt.out", _autograd_out, "Autograd", with_keyset=True)


# Version counters. A tensor of inference mode has none and is refused, before it is written.


def counted(written, write):
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
    return counted(x, lambda: IN_PLACE.redispatch(keyset & _C._after_ADInplaceOrView_keyset, x))


def _counted_out(keyset, x, *, out):
    return counted(out, lambda: OUT.redispatch(keyset & _C._after_ADInplaceOrView_keyset, x, out=out))


_library.impl("rsqrt_", _counted_in_place, "ADInplaceOrView", with_keyset=True)
_library.impl("rsqrt.out", _counted_out, "ADInplaceOrView", with_keyset=True)


# Transforms: in place and out= are a copy of the fresh result.


def _by_copy(x):
    return x.copy_(FRESH(x)) if x.dtype in COMPUTED else TORCH_RSQRT_(x)


def _functional_in_place(x):
    """Not by copy_, which becomes an aten::copy here that has no derivative."""
    if not torch._is_functional_tensor(x) or x.dtype not in COMPUTED:
        return TORCH_RSQRT_(x)
    torch._functionalize_replace(x, torch._from_functional_tensor(FRESH(x)))
    torch._functionalize_commit_update(x)
    torch._functionalize_sync(x)
    return x


def _functional_out(x, *, out):
    if x.shape == out.shape and x.dtype in DTYPES and out.dtype in DTYPES and torch.can_cast(_result_dtype(x), out.dtype):
        return out.copy_(FRESH(x))
    return TORCH_RSQRT(x, out=out)


torch.library.register_vmap(FRESH, lambda info, in_dims, x: (FRESH(x), in_dims[0]), lib=_library)
_library.impl("rsqrt_", _by_copy, "FuncTorchBatched")
_library.impl("rsqrt.out", _theirs_out, "FuncTorchBatched")
_library.impl("rsqrt_", _functional_in_place, "Functionalize")
_library.impl("rsqrt.out", _functional_out, "Functionalize")


def _autocast(x):
    with torch.autocast(x.device.type, enabled=False):
        return FRESH(x.float() if x.dtype in (torch.float16, torch.bfloat16) else x)


for _key in (
    "AutocastCUDA",
    "AutocastXPU",
    "AutocastMPS",
    "AutocastMTIA",
    "AutocastMAIA",
):  # torch's list for rsqrt: not the CPU
    if hasattr(_C.DispatchKey, _key) and _C._dispatch_has_kernel_for_dispatch_key("aten::rsqrt", _key):
        _library.impl("rsqrt", _autocast, _key)
