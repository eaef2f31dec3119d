"""Contract 7 and 3.2, tensors that are not ordinary: the public functions and the registered ops
give what torch.rsqrt gives in the same test."""

import re
import warnings

import numpy as np
import pytest
import torch
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.func import functionalize, grad, hessian, jacfwd, jacrev, jvp, vjp, vmap
from torch.library import opcheck
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import gorsqrt
import gorsqrt.torch._calls

# torch's own, at its first use of forward AD.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")

OPS = torch.ops.gorsqrt
THEIRS, OURS, OP = (torch.rsqrt, torch.rsqrt_), (gorsqrt.rsqrt, gorsqrt.rsqrt_), (OPS.rsqrt, OPS.rsqrt_)
BOTH = pytest.mark.parametrize("ours", [OURS, OP], ids=["function", "op"])
FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
COMPLEX = [torch.complex64, torch.complex128]
OUT_WITH_GRAD = (
    "rsqrt(): functions with out=... arguments don't support automatic differentiation, but one of the arguments requires grad."
)
INTEGERS = [torch.bool, torch.uint8, torch.int16, torch.int64]


def values(*shape, dtype=torch.float32, seed=0):
    """Values in [0.5, 4.5), complex ones in the right half-plane."""
    made = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 4 + 0.5
    if dtype.is_complex:
        return torch.complex(made, made.flip(0) - 2.5).to(dtype)
    return made.to(dtype)


def outcome(call, functions):
    """What a call gives: the error's type and text, or the result, and the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = call(*functions)
        except Exception as error:
            result = (type(error), str(error))
    return result, [str(w.message).split("(Triggered")[0] for w in caught]


def same(a, b):
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.stride() == b.stride() and torch.equal(a.nan_to_num(9e9), b.nan_to_num(9e9))
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def check(call, ours):
    theirs, mine = outcome(call, THEIRS), outcome(call, ours)
    assert same(theirs, mine), (theirs, mine)
    return mine[0]


# 7.7: the ops by torch's own checks.


@pytest.mark.spec("7.7")
@pytest.mark.parametrize("dtype", FLOATS + COMPLEX + INTEGERS, ids=str)
@pytest.mark.parametrize("layout", ["contiguous", "transposed", "strided", "expanded", "empty", "0-d"])
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # of opcheck itself
def test_opcheck(dtype, layout):
    x = values(4, 6).to(dtype)
    views = {"transposed": x.t(), "strided": x[:, ::2], "expanded": x[:1].expand(4, 6), "empty": x[:0], "0-d": x[0, 0]}
    x = views.get(layout, x)
    result = dtype if dtype.is_floating_point or dtype.is_complex else torch.float32
    opcheck(OPS.rsqrt.default, (x,))
    opcheck(OPS.rsqrt.out, (x,), {"out": torch.empty(x.shape, dtype=result)})
    if result is dtype:
        opcheck(OPS.rsqrt_.default, (x.clone(),))
        opcheck(OPS.rsqrt.default, (x.detach().requires_grad_(),))
        opcheck(OPS.rsqrt_.default, (x.detach().clone().requires_grad_().clone(),))


@pytest.mark.spec("7.7")
def test_tags_are_torchs_own():
    for ours, theirs in (("rsqrt", "default"), ("rsqrt_", "default"), ("rsqrt", "out")):
        op, aten = (getattr(getattr(ops, ours), theirs) for ops in (OPS, torch.ops.aten))
        assert set(op.tags) == set(aten.tags)
        assert str(op._schema).partition("(")[2] == str(aten._schema).partition("(")[2]


# 7.2: derivatives.


def in_place(rsqrt_):
    return lambda x: rsqrt_(x.clone())


@pytest.mark.spec("7.2")
@BOTH
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
@pytest.mark.parametrize("form", ["fresh", "in place"])
@pytest.mark.filterwarnings("ignore:Please use .torch.vmap. instead of:FutureWarning")  # older torch of itself
def test_gradcheck(ours, dtype, form):
    f = ours[0] if form == "fresh" else in_place(ours[1])
    for x in (
        values(3, 2, dtype=dtype),
        values(2, 3, dtype=dtype).t(),
        values(dtype=dtype) if dtype.is_floating_point else None,
    ):
        if x is None:
            continue
        x.requires_grad_()
        assert gradcheck(
            f, (x,), check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True, check_undefined_grad=True
        )
        assert gradgradcheck(f, (x,), check_fwd_over_rev=True, check_rev_over_rev=True, check_batched_grad=True)


def total(f):
    return lambda x: f(x).sum()


TRANSFORMS = {
    "grad": lambda f, x: grad(total(f))(x),
    "vjp": lambda f, x: vjp(f, x)[1](x),
    "jvp": lambda f, x: jvp(f, (x,), (x * 3,)),
    "jacrev": lambda f, x: jacrev(f)(x),
    "jacfwd": lambda f, x: jacfwd(f)(x),
    "hessian": lambda f, x: hessian(total(f))(x),
    "jvp of jvp": lambda f, x: jvp(lambda y: jvp(f, (y,), (x * 3,))[1], (x,), (x * 5,)),
    "jvp of grad": lambda f, x: jvp(grad(total(f)), (x,), (x * 3,)),
    "grad of jvp": lambda f, x: grad(lambda y: jvp(f, (y,), (x * 3,))[1].sum())(x),
    "grad of grad of grad": lambda f, x: grad(total(grad(total(grad(total(f))))))(x),
    "vmap": lambda f, x: vmap(f)(x),
    "vmap of vmap": lambda f, x: vmap(vmap(f, 1, 1), 2, 2)(x.expand(4, 3, 5)),
    "vmap of grad": lambda f, x: vmap(grad(total(f)))(x.expand(3, 5).contiguous()),
    "vmap of hessian": lambda f, x: vmap(hessian(total(f)))(x.expand(3, 5).contiguous()),
    "grad of vmap": lambda f, x: grad(lambda y: vmap(f)(y).sum())(x),
    "jacfwd of jacrev of vmap": lambda f, x: jacfwd(jacrev(vmap(f)))(x),
    "functionalize": lambda f, x: functionalize(f)(x),
    "grad of functionalize": lambda f, x: grad(total(functionalize(f)))(x),
}


@pytest.mark.spec("7.2", "7.7")
@BOTH
@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("form", ["fresh", "in place"])
def test_transforms(ours, name, dtype, form):
    x = values(5, dtype=dtype)
    results = [TRANSFORMS[name](f[0] if form == "fresh" else in_place(f[1]), x) for f in (THEIRS, ours)]
    assert same(*results)


@pytest.mark.spec("7.2")
@BOTH
@pytest.mark.parametrize("dtype", FLOATS + COMPLEX, ids=str)
@pytest.mark.parametrize("form", ["fresh", "in place"])
def test_gradients_are_torchs_formula_bit_for_bit(ours, dtype, form):
    x = values(1000, dtype=dtype)
    f = ours[0] if form == "fresh" else in_place(ours[1])
    leaf, g = x.clone().requires_grad_(), values(1000, dtype=dtype, seed=1)
    y = f(leaf)
    assert torch.equal(y, gorsqrt.rsqrt(x))
    (ours_grad,) = torch.autograd.grad(y, leaf, g)
    by_hand = -0.5 * g * gorsqrt.rsqrt(x).pow(3).conj()
    assert torch.equal(ours_grad, by_hand)
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(f(forward_ad.make_dual(x.clone(), g))).tangent
    assert torch.equal(tangent, (-0.5 * g.conj() * gorsqrt.rsqrt(x).pow(3).conj()).conj())
    if dtype in (torch.float32, torch.float64):
        (theirs,) = torch.autograd.grad(torch.rsqrt(leaf), leaf, g)
        assert torch.equal(ours_grad, theirs)


@pytest.mark.spec("7.2")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.complex64], ids=str)
def test_only_the_result_is_saved(dtype):
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        y = gorsqrt.rsqrt(values(8, dtype=dtype).requires_grad_())
    assert [t.data_ptr() for t in saved] == [y.data_ptr()]


@pytest.mark.spec("7.2")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_stale_results_are_noticed(dtype):
    def stale(rsqrt, _):
        x = values(3, dtype=dtype).requires_grad_()
        y = rsqrt(x)
        y.mul_(2)
        y.sum().backward()

    theirs, mine = outcome(stale, THEIRS)[0], outcome(stale, OURS)[0]
    assert mine[0] is theirs[0] is RuntimeError
    assert re.sub(r"Backward\d?", "", mine[1]) == re.sub(r"Backward\d?", "", theirs[1])


@pytest.mark.spec("7.2")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_checkpoint_and_parameters(dtype):
    from torch.utils.checkpoint import checkpoint

    weight = torch.nn.Parameter(values(4, dtype=dtype))
    checkpoint(gorsqrt.rsqrt, weight, use_reentrant=False).sum().backward()
    assert torch.equal(weight.grad, -0.5 * torch.ones(4, dtype=dtype) * gorsqrt.rsqrt(weight.detach()).pow(3))


# 7.3 to 7.6: texts and counters.


def leaf():
    return values(4).requires_grad_()


def no_grad_view(_, rsqrt_):
    x = leaf()
    with torch.no_grad():
        view = x[1:]
    rsqrt_(view)


def wanted(_, rsqrt_):
    x = leaf()
    y = x.sin()
    z = y.pow(2)
    rsqrt_(y)
    z.sum().backward()


REFUSED = {
    "leaf": lambda _, rsqrt_: rsqrt_(leaf()),
    "view of a leaf": lambda _, rsqrt_: rsqrt_(leaf()[1:]),
    "no_grad view": no_grad_view,
    "unbind": lambda _, rsqrt_: rsqrt_((leaf() * 1).unbind()[0]),
    "split": lambda _, rsqrt_: rsqrt_((leaf() * 1).split(2)[0]),
}


@pytest.mark.spec("7.3")
@BOTH
@pytest.mark.parametrize("name", REFUSED)
def test_in_place_refusals(ours, name):
    error, _ = check(REFUSED[name], ours)
    assert error is RuntimeError


@pytest.mark.spec("7.3")
def test_in_place_over_what_a_gradient_needs():
    check(wanted, OURS)


@pytest.mark.spec("7.3")
@BOTH
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_refused_in_place_writes_nothing(ours, dtype):
    x = values(4, dtype=dtype).requires_grad_()
    before = x.detach().clone()
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
        ours[1](x)
    assert torch.equal(x.detach(), before)
    assert x._version == 0


@pytest.mark.spec("7.3", "7.5")
@BOTH
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_in_place_through_views(ours, dtype):
    def call(_, rsqrt_):
        x = values(4, dtype=dtype).requires_grad_()
        y = x * 1
        view = y[1:]
        result = rsqrt_(view)
        y.sum().backward()
        return result is view, x.grad, y.detach(), y._version, view._version

    check(call, ours)


@pytest.mark.spec("7.4")
@BOTH
def test_out_with_grad(ours):
    for call in (
        lambda f, _: f(leaf(), out=values(4)),
        lambda f, _: f(values(4), out=leaf()),
        lambda f, _: f(leaf(), out=leaf()),
    ):
        assert check(call, ours) == (RuntimeError, OUT_WITH_GRAD)

    def unrecorded(rsqrt, rsqrt_):
        x, out = leaf(), leaf()
        with torch.no_grad():
            rsqrt(x, out=out)
            rsqrt_(x)
        return x, out, x._version, out._version

    check(unrecorded, ours)


@pytest.mark.spec("7.4")
@BOTH
def test_out_with_forward_ad(ours):
    def dual():
        return forward_ad.make_dual(values(4), torch.ones(4))

    with forward_ad.dual_level():
        text = "Trying to use forward AD with rsqrt_out that does not support it because it is an out= function"
        assert check(lambda f, _: f(dual(), out=values(4)), ours) == (NotImplementedError, text)
        assert check(lambda f, _: f(values(4), out=dual()), ours) == (NotImplementedError, text)
        check(lambda f, _: f(values(4), out=torch.empty(4)), ours)
        check(lambda f, _: f(torch.tensor([4, 16])), ours)


@pytest.mark.spec("7.5")
@BOTH
@pytest.mark.parametrize("shape", [(4,), (0,), ()], ids=str)
def test_version_counters(ours, shape):
    def call(rsqrt, rsqrt_):
        x, out = values(*shape), torch.empty(shape)
        versions = []
        for write in (lambda: rsqrt_(x), lambda: rsqrt(x, out=out), lambda: rsqrt(x, out=x), lambda: rsqrt_(x.view(shape))):
            write()
            versions.append((x._version, out._version))
        rsqrt(x)
        return [*versions, x._version]

    assert check(call, ours) == [(1, 0), (1, 1), (2, 1), (3, 1), 3]


@pytest.mark.spec("7.5", "3.6")
@BOTH
def test_refused_writes_are_not_counted(ours):
    x, out = torch.tensor([4, 16]), torch.tensor([4, 16])
    for call in (lambda: ours[1](x), lambda: ours[0](x, out=out)):
        with pytest.raises(RuntimeError, match="can't be cast to the desired output type Long"):
            call()
    assert (x._version, out._version) == (0, 0)


@pytest.mark.spec("7.6")
@BOTH
def test_inference_tensors_outside(ours):
    def made():
        with torch.inference_mode():
            return values(4)

    text = "Inplace update to inference tensor outside InferenceMode is not allowed.You can make a clone"
    for call in (lambda _, f: f(made()), lambda f, _: f(values(4), out=made())):
        error, said = check(call, ours)
        assert error is RuntimeError
        assert said.startswith(text)
    x = made()
    before = x.clone()
    with pytest.raises(RuntimeError, match=text):
        ours[1](x)
    assert torch.equal(x, before)
    assert not check(lambda f, _: f(made()), ours).is_inference()


@pytest.mark.spec("7.6")
@BOTH
def test_inside_inference_mode(ours):
    def call(rsqrt, rsqrt_):
        ordinary = values(4)
        with torch.inference_mode():
            made = rsqrt(values(4))
            rsqrt_(ordinary)
            version = ordinary._version
            rsqrt(values(4), out=ordinary)
            return made.is_inference(), made, rsqrt_(values(4)), rsqrt(values(4), out=values(4)), version, ordinary._version

    check(call, ours)


# 7.7: bits, modes, subclasses.


def on(make, after):
    """Calls fresh, in place and out= on what make gives, and shows what after tells of each."""

    def call(rsqrt, rsqrt_):
        x, y, z = make(), make(), make()
        written = rsqrt_(y), rsqrt(x, out=z)
        return [after(rsqrt(x)), written[0] is y, after(y), written[1] is z, after(z)]

    return call


@pytest.mark.spec("7.7")
@BOTH
@pytest.mark.parametrize("dtype", COMPLEX, ids=str)
def test_conjugate_views(ours, dtype):
    """The values and flags: each view's memory holds the conjugate of what it shows."""
    z = values(5, dtype=dtype)
    expected = gorsqrt.rsqrt(z.conj().resolve_conj())
    x, out = z.clone().conj(), torch.zeros_like(z).conj()
    assert torch.equal(ours[0](x), expected)
    assert not ours[0](x).is_conj()
    assert ours[0](x, out=out) is out
    assert torch.equal(out, expected)
    assert torch.equal(out.conj(), gorsqrt.rsqrt(z))
    assert ours[1](x) is x
    assert torch.equal(x, expected)
    assert (x.is_conj(), out.is_conj()) == (True, True)
    assert (x._version, out._version) == (1, 1)


@pytest.mark.spec("7.7")
@BOTH
def test_negative_views(ours):
    def make():
        return (-values(6, dtype=torch.complex128).imag).to(torch.complex128).mul(1j).conj().imag

    assert make().is_neg()
    check(on(make, lambda t: (t, t.is_neg(), t._version)), ours)


@pytest.mark.spec("7.7")
@BOTH
def test_zero_tensors(ours):
    def zero():
        return torch._efficientzerotensor(3)

    assert torch.equal(check(lambda f, _: f(zero()), ours), torch.full((3,), torch.inf))
    check(lambda _, f: f(zero()), ours)
    check(lambda f, _: f(values(3), out=zero()), ours)
    check(lambda f, _: f(zero(), out=values(3)), ours)


@pytest.mark.spec("7.7")
@BOTH
@pytest.mark.parametrize("dtype", FLOATS + COMPLEX + INTEGERS, ids=str)
def test_meta_tensors(ours, dtype):
    def shown(t):
        return t.device.type, t.dtype, t.shape, t.stride()

    def made():
        return torch.empty((4, 1, 3), dtype=dtype, device="meta").permute(2, 0, 1)

    check(lambda f, _: shown(f(made())), ours)
    check(lambda _, f: shown(f(made())), ours)
    check(lambda f, _: shown(f(made(), out=torch.empty((3, 4, 1), device="meta"))), ours)
    check(lambda f, _: f(made(), out=torch.empty(3, 4, 1)), ours)
    check(lambda f, _: shown(f(made(), out=torch.empty((2,), device="meta"))), ours)


@pytest.mark.spec("7.7")
@BOTH
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_fake_tensors(ours, device):
    from torch._subclasses import FakeTensor, FakeTensorMode

    def shown(t):
        assert type(t) is FakeTensor
        return t.device.type, t.dtype, t.shape, t.stride()

    with FakeTensorMode():
        x = torch.empty(3, 4, device=device, dtype=torch.bfloat16).t()
        fakes = [x, torch.empty(3, device=device, dtype=torch.int32)]
    for fake in fakes:
        check(lambda f, _, x=fake: shown(f(x)), ours)
    check(lambda _, f: shown(f(x)), ours)
    check(lambda f, _: shown(f(x, out=x.clone())), ours)


@pytest.mark.spec("7.7")
@BOTH
@pytest.mark.parametrize("dtype", FLOATS + COMPLEX, ids=str)
def test_autocast(ours, dtype):
    """CUDA's autocast computes in float32; the CPU's leaves rsqrt alone."""
    from torch._subclasses import FakeTensorMode

    enabled = torch.is_autocast_enabled("cuda")
    torch.set_autocast_enabled("cuda", True)
    try:
        with FakeTensorMode():
            check(lambda f, _: f(torch.empty(3, dtype=dtype, device="cuda")).dtype, ours)
    finally:
        torch.set_autocast_enabled("cuda", enabled)
        torch.clear_autocast_cache()
    with torch.autocast("cpu"):
        assert torch.equal(ours[0](values(8, dtype=dtype)), gorsqrt.rsqrt(values(8, dtype=dtype)))
        x = values(8, dtype=dtype).requires_grad_()
        assert ours[0](x).dtype is dtype


class Plain(torch.Tensor):
    pass


class Logged(torch.Tensor):
    """A __torch_function__ that looks at what it is asked for, as torch's documentation has it."""

    seen: list = []  # noqa: RUF012

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        cls.seen.append(func)
        return super().__torch_function__(func, types, args, kwargs or {})


class Wrapper(torch.Tensor):
    """A wrapper that knows torch's ops by name."""

    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)

    def __init__(self, inner):
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        known = (torch.ops.aten.rsqrt.default, torch.ops.aten.rsqrt_.default, torch.ops.aten.detach.default)
        if func not in known:
            raise NotImplementedError(f"{func} is unknown here")
        return cls(func(*(a.inner for a in args)))


class Duck:
    """No tensor, but it has __torch_function__."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return func, args, kwargs


@pytest.mark.spec("7.7")
def test_subclasses():
    x = values(4)
    plain = x.as_subclass(Plain)
    assert type(gorsqrt.rsqrt(plain)) is Plain
    assert torch.equal(gorsqrt.rsqrt(plain).as_subclass(torch.Tensor), torch.rsqrt(x))
    half = values(64, dtype=torch.bfloat16)
    assert torch.equal(gorsqrt.rsqrt(half.as_subclass(Plain)).as_subclass(torch.Tensor), gorsqrt.rsqrt(half))
    out = torch.empty(4).as_subclass(Plain)
    assert gorsqrt.rsqrt(plain, out=out) is out
    assert torch.equal(out.as_subclass(torch.Tensor), torch.rsqrt(x))
    logged = x.clone().as_subclass(Logged)
    Logged.seen.clear()
    assert type(gorsqrt.rsqrt(logged)) is Logged
    assert gorsqrt.rsqrt_(logged) is logged
    assert [f for f in Logged.seen if "rsqrt" in f.__name__] == [torch.rsqrt, torch.rsqrt_]
    assert torch.equal(gorsqrt.rsqrt(Wrapper(x)).inner, torch.rsqrt(x))
    assert torch.equal(gorsqrt.rsqrt_(Wrapper(x)).inner, torch.rsqrt(values(4)))
    assert gorsqrt.torch._calls.rsqrt(Duck())[0] is torch.rsqrt


@pytest.mark.spec("7.7")
@pytest.mark.filterwarnings("ignore:The PyTorch API of MaskedTensors:UserWarning")
def test_masked_tensors():
    from torch.masked import masked_tensor

    made = masked_tensor(values(4), torch.tensor([True, False, True, True]))
    ours, theirs = gorsqrt.rsqrt(made), torch.rsqrt(made)
    assert type(ours) is type(theirs)
    assert torch.equal(ours.get_mask(), theirs.get_mask())
    assert torch.equal(ours.to_tensor(0), theirs.to_tensor(0))


@pytest.mark.spec("7.7")
@BOTH
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_jagged_nested_tensors(ours, dtype):
    def made():
        return torch.nested.nested_tensor([values(2, dtype=dtype), values(3, dtype=dtype, seed=1)], layout=torch.jagged)

    x = made().requires_grad_()
    y = ours[0](x)
    assert y.layout is torch.jagged
    assert y.shape == x.shape
    assert torch.equal(y.values(), gorsqrt.rsqrt(x.values().detach()))
    y.values().sum().backward()
    assert torch.equal(x.grad.values(), -0.5 * torch.ones(5, dtype=dtype) * y.values().detach().pow(3))
    check(lambda f, _: f(torch.ones(3), out=made()), ours)


class Seen(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.ops = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.ops.append(func)
        return func(*args, **(kwargs or {}))


class SeenFunctions(TorchFunctionMode):
    def __init__(self):
        super().__init__()
        self.functions = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.functions.append(func)
        return func(*args, **(kwargs or {}))


@pytest.mark.spec("7.7")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_modes_see_the_ops(dtype):
    x = values(64, dtype=dtype)
    with Seen() as seen:
        results = [gorsqrt.rsqrt(x), gorsqrt.rsqrt(x, out=torch.empty_like(x)), gorsqrt.rsqrt_(x.clone())]
    assert [op for op in seen.ops if "rsqrt" in str(op)] == [OPS.rsqrt.default, OPS.rsqrt.out, OPS.rsqrt_.default]
    with SeenFunctions() as functions:
        results += [gorsqrt.rsqrt(x), gorsqrt.rsqrt(x, out=torch.empty_like(x)), gorsqrt.rsqrt_(x.clone())]
    assert len([f for f in functions.functions if "rsqrt" in str(f)]) == 3
    with torch.device("cpu"):
        results.append(gorsqrt.rsqrt(x))
    assert all(torch.equal(y, gorsqrt.rsqrt(x)) for y in results)


@pytest.mark.spec("7.7")
def test_make_fx_and_jit_trace():
    from torch.fx.experimental.proxy_tensor import make_fx

    x = values(4, dtype=torch.bfloat16)
    graph = make_fx(lambda x: gorsqrt.rsqrt_(gorsqrt.rsqrt(x)))(x)
    assert [n.target for n in graph.graph.nodes if n.op == "call_function"] == [OPS.rsqrt.default, OPS.rsqrt_.default]
    assert torch.equal(graph(x), gorsqrt.rsqrt(gorsqrt.rsqrt(x)))


@pytest.mark.spec("7.7")
@pytest.mark.filterwarnings("ignore:.torch.jit:")
def test_jit_trace():
    x = values(4, dtype=torch.bfloat16)
    traced = torch.jit.trace(lambda x: gorsqrt.rsqrt(x) * 2, (x,))
    again = values(7, dtype=torch.bfloat16, seed=1)
    assert torch.equal(traced(again), gorsqrt.rsqrt(again) * 2)


@pytest.mark.spec("7.7")
def test_vmap_of_out_and_of_a_part():
    check(lambda f, _: vmap(lambda x: f(x, out=torch.empty(2)))(values(3, 2)), OURS)
    check(lambda f, f_: vmap(lambda x, y: f(x) + f_(y.clone()), (0, None))(values(3, 2), values(2)), OURS)
    half = values(3, 64, dtype=torch.bfloat16)
    assert torch.equal(vmap(gorsqrt.rsqrt, 1, 1)(half), gorsqrt.rsqrt(half))


@pytest.mark.spec("7.7")
@BOTH
def test_functionalize_writes(ours):
    def call(rsqrt, rsqrt_):
        def f(x):
            out = torch.empty_like(x)
            rsqrt(x, out=out)
            rsqrt_(x[1:])
            return x, out

        x = values(5)
        return functionalize(f)(x), x

    check(call, ours)
    check(lambda f, _: functionalize(lambda x: f(x, out=torch.empty(0)))(values(5)), ours)
    check(lambda f, _: functionalize(lambda x: f(x, out=torch.empty(5, dtype=torch.int32)))(values(5)), ours)
    check(lambda _, f: functionalize(lambda x: f(x))(torch.tensor([4, 16])), ours)


# 7.9: what torch refuses.

ODD = {
    "coo": lambda: torch.ones(3).to_sparse(),
    "csr": lambda: torch.ones(3, 3).to_sparse_csr(),
    "quantized": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    "mkldnn": lambda: torch.ones(3).to_mkldnn(),
    "strided nested": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    "float8": lambda: torch.ones(3).to(torch.float8_e4m3fn),
    "complex32": lambda: torch.ones(3, dtype=torch.complex32),
    "int1": lambda: torch.empty(3, dtype=torch.int1),
}


@pytest.mark.spec("7.9", "2.7")
@BOTH
@pytest.mark.parametrize("name", ODD)
@pytest.mark.filterwarnings("ignore")
def test_unsupported_tensors_get_torchs_error(ours, name):
    make = ODD[name]
    for call in (
        lambda f, _: f(make()),
        lambda _, f: f(make()),
        lambda f, _: f(make(), out=torch.ones(3)),
        lambda f, _: f(torch.ones(3), out=make()),
    ):
        theirs, mine = outcome(call, THEIRS)[0], outcome(call, ours)[0]
        if isinstance(theirs, torch.Tensor):  # float8 and complex32 as out
            assert torch.equal(theirs.to(torch.complex64), mine.to(torch.complex64))
        else:
            assert mine == theirs


# 3.2: out of another shape.

X3 = torch.tensor([4.0, 16.0, 64.0])
OTHER_SHAPES = {
    "larger": lambda: torch.ones(5),
    "smaller": lambda: torch.ones(1),
    "empty": lambda: torch.ones(0),
    "float64": lambda: torch.ones(5, 2, dtype=torch.float64),
    "complex": lambda: torch.ones(2, dtype=torch.complex64),
    "slice": lambda: torch.ones(8)[2:4],
    "strided": lambda: torch.ones(8, 8)[::2, ::2],
    "numpy, larger": lambda: torch.from_numpy(np.ones(5, np.float32)),
    "shared, larger": lambda: torch.ones(5).share_memory_(),
    "integer": lambda: torch.ones(5, dtype=torch.int32),
    "integer of numpy": lambda: torch.from_numpy(np.ones(2, np.int32)),
}


@pytest.mark.spec("3.2")
@BOTH
@pytest.mark.parametrize("name", OTHER_SHAPES)
def test_out_is_resized(ours, name):
    def call(rsqrt, _):
        out = OTHER_SHAPES[name]()
        result = rsqrt(X3, out=out)
        return result is out, out, out.stride(), out.storage_offset(), out._version

    check(call, ours)


@pytest.mark.spec("3.2")
@pytest.mark.parametrize("dtype", FLOATS + COMPLEX, ids=str)
def test_resized_results_are_ours(dtype):
    x, out = values(37, dtype=dtype), torch.empty(0, dtype=dtype)
    assert torch.equal(gorsqrt.rsqrt(x, out=out), gorsqrt.rsqrt(x))
    turned = values(4, 6, dtype=dtype).t()
    check(lambda f, _: f(turned, out=torch.empty(0, dtype=dtype)).stride(), OURS)


@pytest.mark.spec("3.2", "3.6")
@BOTH
@pytest.mark.parametrize("shape", [(1,), (0,), (2, 1)], ids=str)
@pytest.mark.parametrize("kind", ["numpy", "shared"])
def test_memory_that_can_not_grow_keeps_its_shape(ours, shape, kind):
    out = torch.full(shape, 77.0)
    out = torch.from_numpy(out.numpy()) if kind == "numpy" else out.share_memory_()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(RuntimeError, match="Trying to resize storage that is not resizable"):
            ours[0](X3, out=out)
    warned = (
        f"An output with one or more elements was resized since it had shape {list(shape)}, which does not match the required"
    )
    assert [str(w.message).startswith(warned) for w in caught] == ([True] if out.numel() else [])
    assert out.shape == shape
    assert (out == 77).all()


# Tensors beside other containers.


@pytest.mark.spec("7.4", "1.2", "1.3")
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64])
def test_tensor_and_numpy(dtype):
    array = values(5, dtype=torch.from_numpy(np.empty(0, dtype)).dtype).numpy()
    expected = gorsqrt.rsqrt(array)
    tensor, out = torch.from_numpy(array.copy()).requires_grad_(), np.zeros_like(array)
    for call in (lambda: gorsqrt.rsqrt(tensor, out=out), lambda: gorsqrt.rsqrt(array, out=tensor)):
        with pytest.raises(RuntimeError) as caught:
            call()
        assert str(caught.value) == OUT_WITH_GRAD
    assert not out.any()
    with torch.no_grad():
        assert gorsqrt.rsqrt(tensor, out=out) is out
    np.testing.assert_array_equal(out, expected)
    for make in (lambda t: t, lambda t: t.conj(), lambda t: t.as_subclass(Plain)):
        out_tensor = make(torch.zeros(5, dtype=tensor.dtype))
        assert gorsqrt.rsqrt(array, out=out_tensor) is out_tensor
        np.testing.assert_array_equal(out_tensor.detach().resolve_conj().numpy(), expected)
        assert out_tensor._version == 1
        out = np.zeros_like(array)
        assert gorsqrt.rsqrt(make(torch.from_numpy(array)), out=out) is out
        np.testing.assert_array_equal(out, gorsqrt.rsqrt(make(torch.from_numpy(array)).resolve_conj().numpy()))
    with Seen(), SeenFunctions(), torch.autocast("cpu"):
        np.testing.assert_array_equal(gorsqrt.rsqrt(torch.from_numpy(array), out=np.zeros_like(array)), expected)
        assert torch.equal(gorsqrt.rsqrt(array, out=torch.zeros(5, dtype=tensor.dtype)), torch.from_numpy(expected))


@pytest.mark.spec("3.2", "3.3")
def test_numpy_input_and_a_tensor_of_another_shape():
    out = torch.ones(5)
    with pytest.warns(
        UserWarning, match=re.escape("was resized since it had shape [5], which does not match the required output shape [3]")
    ):
        assert gorsqrt.rsqrt(X3.numpy(), out=out) is out
    assert out.tolist() == [0.5, 0.25, 0.125]
    empty = torch.empty(0, dtype=torch.float64)
    assert gorsqrt.rsqrt(memoryview(X3.numpy()), out=empty).tolist() == [0.5, 0.25, 0.125]
    with pytest.raises(RuntimeError, match="result type Float can't be cast to the desired output type Int"):
        gorsqrt.rsqrt(X3.numpy(), out=torch.ones(5, dtype=torch.int32))
    with pytest.raises(RuntimeError, match="does not match the required output shape"):
        gorsqrt.rsqrt(X3.requires_grad_(False), out=np.ones(5, np.float32))


@pytest.mark.spec("3.4", "3.5", "7.7")
def test_tensors_that_can_not_meet_other_containers():
    array = X3.numpy()
    with pytest.raises(RuntimeError, match="found at least two devices, meta and cpu!"):
        gorsqrt.rsqrt(torch.empty(3, device="meta"), out=array.copy())
    with pytest.raises(RuntimeError, match="found at least two devices, cpu and meta!"):
        gorsqrt.rsqrt(array, out=torch.empty(3, device="meta"))
    with pytest.raises(TypeError, match=r"argument 'input' is a tensor without strided memory .* not numpy\.ndarray"):
        vmap(lambda x: gorsqrt.rsqrt(x, out=array.copy()))(torch.ones(3, 3))
    with pytest.raises(TypeError, match=r"argument 'out' is a tensor without strided memory .* not numpy\.ndarray"):
        gorsqrt.rsqrt(array, out=torch.ones(3).to_sparse())
    frozen = array.copy()
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="argument 'out' is read-only"):
        gorsqrt.rsqrt(torch.ones(3).as_subclass(Plain), out=frozen)


# 7.10: DTensor.


@pytest.fixture
def mesh():
    import torch.distributed
    from torch.distributed.device_mesh import init_device_mesh

    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()


@pytest.mark.spec("7.10")
@pytest.mark.filterwarnings("ignore")
@BOTH
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_dtensor_keeps_its_placement(mesh, ours, dtype):
    from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor

    x = values(4, 6, dtype=dtype)
    for placement in (Shard(0), Shard(1), Replicate()):
        made = distribute_tensor(x.clone(), mesh, [placement]).requires_grad_()
        y = ours[0](made)
        assert isinstance(y, DTensor)
        assert y.placements == torch.rsqrt(made).placements == (placement,)
        assert torch.equal(y.to_local(), gorsqrt.rsqrt(x))
        (ours_grad,), (theirs,) = (torch.autograd.grad(z.sum(), made) for z in (y, torch.rsqrt(made)))
        assert ours_grad.placements == theirs.placements
        assert torch.equal(ours_grad.to_local(), -0.5 * torch.ones_like(x) * gorsqrt.rsqrt(x).pow(3))
        with torch.no_grad():
            out = distribute_tensor(torch.zeros_like(x), mesh, [placement])
            assert ours[0](made, out=out).placements == (placement,)
            assert torch.equal(out.to_local(), gorsqrt.rsqrt(x))
            assert ours[1](made) is made
            assert torch.equal(made.to_local(), gorsqrt.rsqrt(x))
    partial = DTensor.from_local(x, mesh, [Partial()])
    assert ours[0](partial).placements == torch.rsqrt(partial).placements
