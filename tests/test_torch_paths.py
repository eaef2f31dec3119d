"""Contract 7.2 and 7.7: gradients, subclasses, conjugates and transforms, on every way of a call.

A call goes by torch's own node with our bits, by our autograd.Function or by the ops. The way
depends on dtype and size, the result does not."""

import copy
import subprocess
import sys

import pytest
import torch
from torch.utils.checkpoint import checkpoint

import gorsqrt
import gorsqrt.torch

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # torch's own, within its transforms
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
REAL = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
COMPLEX = [torch.complex64, torch.complex128]
# On both sides of where the way changes: 256 complex numbers, 8192 items of 16 bits.
SIZES = [0, 1, 64, 255, 256, 257, 4095, 4096, 4097, 8191, 8192, 8193]
HALF = torch.bfloat16
# What torch's kernel rounds to a neighbour if it is the last of an odd number of items.
DIFFERENT = {torch.float16: 4.649162292480469e-06, torch.bfloat16: 0.53125}


def values(n, dtype, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, dtype=torch.float64, generator=generator) * 9 + 0.1
    if dtype.is_complex:
        x = torch.complex(x, torch.randn(n, dtype=torch.float64, generator=generator))
    if n % 2:
        x[-1] = DIFFERENT.get(dtype, x[-1])
    return x.to(dtype)


def expected(x):
    """Our bits, by memory that torch knows nothing of."""
    return gorsqrt.rsqrt(x.detach().resolve_conj().clone())


def gradient(x, grad):
    """torch's formula, of our bits."""
    return -0.5 * grad * expected(x).pow(3).conj()


def same_bits(a, b):
    assert a.dtype == b.dtype
    assert a.stride() == b.stride()
    torch.testing.assert_close(a.detach(), b.detach(), rtol=0, atol=0, equal_nan=True)


@pytest.mark.spec("7.2")
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("dtype", REAL + COMPLEX, ids=str)
def test_gradients_on_both_sides_of_every_size(dtype, n):
    x, grad = values(n, dtype), values(n, dtype, 1)
    leaf = x.clone().requires_grad_()
    y = gorsqrt.rsqrt(leaf)
    same_bits(y, expected(x))
    assert (y._version, y.is_leaf, y.requires_grad, y._is_view()) == (0, False, True, False)
    y.backward(grad)
    same_bits(leaf.grad, gradient(x, grad))

    leaf.grad = None
    z = leaf * 1
    w = gorsqrt.rsqrt_(z)
    assert w is z
    assert w._version == 1
    same_bits(w, expected(x))
    w.backward(grad)
    same_bits(leaf.grad, gradient(x, grad))


@pytest.mark.spec("7.2")
@pytest.mark.parametrize("dtype", [HALF, torch.float32, torch.complex64], ids=str)
def test_the_saved_result_is_the_result(dtype):
    """One memory, whose later change backward notices."""
    leaf = values(65, dtype).requires_grad_()
    y = gorsqrt.rsqrt(leaf)
    (saved,) = y.grad_fn.saved_tensors if hasattr(y.grad_fn, "saved_tensors") else (y.grad_fn._saved_result,)
    assert saved.data_ptr() == y.data_ptr()
    same_bits(saved, expected(leaf))
    y.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.abs().sum().backward()


@pytest.mark.spec("7.2")
@pytest.mark.parametrize("dtype", [HALF, torch.complex64], ids=str)
@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.reshape(8, 8).t(),
        lambda x: x[::2],
        lambda x: x[:1].expand(5, 1),
        lambda x: x.reshape(2, 2, 4, 4).contiguous(memory_format=torch.channels_last),
        lambda x: x.reshape(4, 16)[:, 3:9],
    ],
)
def test_layouts_with_a_gradient(dtype, view):
    x = values(64, dtype)
    y = gorsqrt.rsqrt(view(x).requires_grad_())
    theirs = torch.rsqrt(view(x).requires_grad_())
    assert y.stride() == theirs.stride()
    torch.testing.assert_close(y.detach(), gorsqrt.rsqrt(view(x)), rtol=0, atol=0)
    base = x.clone().requires_grad_()
    gorsqrt.rsqrt_(view(base * 1)[:1]).abs().sum().backward()
    assert base.grad.isfinite().all()


@pytest.mark.spec("7.2", "7.3")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.complex64, torch.complex128], ids=str)
def test_in_place_on_many_items(dtype):
    leaf = values(8192, dtype).requires_grad_()
    x = leaf * 1
    version = x._version
    assert gorsqrt.rsqrt_(x) is x
    assert x._version == version + 1
    torch.testing.assert_close(x.detach(), gorsqrt.rsqrt(leaf.detach()), rtol=0, atol=0)
    (grad,) = torch.autograd.grad(x.abs().sum(), leaf)
    (fresh,) = torch.autograd.grad(gorsqrt.rsqrt(leaf).abs().sum(), leaf)
    torch.testing.assert_close(grad, fresh, rtol=0, atol=0)
    if dtype == torch.complex128:
        twice = {"fast_mode": True}
        assert torch.autograd.gradcheck(lambda x: gorsqrt.rsqrt_(x * 1), leaf, **twice)
        assert torch.autograd.gradgradcheck(lambda x: gorsqrt.rsqrt_(x * 1), leaf, **twice)
    square = leaf * leaf
    needed = square.exp() * square  # saves square
    gorsqrt.rsqrt_(square)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        needed.abs().sum().backward()
    before = leaf.detach().clone()
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
        gorsqrt.rsqrt_(leaf)
    assert torch.equal(leaf.detach(), before)


@pytest.mark.spec("7.2", "7.5")
def test_hooks_on_saved_tensors_see_our_bits():
    leaf, seen = values(65, HALF).requires_grad_(), []
    assert not torch.equal(torch.rsqrt(leaf), expected(leaf))  # there is something to see
    with torch.autograd.graph.saved_tensors_hooks(lambda t: seen.append(t.clone()) or t, lambda t: t):
        gorsqrt.rsqrt(leaf).sum().backward()
        gorsqrt.rsqrt_(leaf * 1).sum().backward()
    assert len(seen) >= 2
    for saved in seen:
        if saved.shape == leaf.shape:
            torch.testing.assert_close(saved, expected(leaf), rtol=0, atol=0)
    with torch.autograd.graph.save_on_cpu():
        y = gorsqrt.rsqrt(leaf)
    y.backward(torch.ones_like(y))
    same_bits(y, expected(leaf))


@pytest.mark.spec("7.2")
@pytest.mark.parametrize("use_reentrant", [False, True])
@pytest.mark.parametrize("dtype", [HALF, torch.float32, torch.complex64], ids=str)
def test_checkpoint_hooks_and_anomaly(dtype, use_reentrant):
    leaf = values(65, dtype).requires_grad_()
    ones = torch.ones(65, dtype=dtype)
    checkpoint(lambda t: gorsqrt.rsqrt(t) * 2, leaf, use_reentrant=use_reentrant).backward(ones)
    same_bits(leaf.grad, gradient(leaf, 2 * ones))
    with torch.autograd.set_detect_anomaly(True, check_nan=True):
        leaf.grad, seen = None, []
        y = gorsqrt.rsqrt(leaf)
        y.retain_grad()
        y.register_hook(seen.append)
        y.backward(ones)
    assert len(seen) == 1
    same_bits(y.grad, ones)
    same_bits(leaf.grad, gradient(leaf, ones))


@pytest.mark.spec("7.2")
@pytest.mark.parametrize("n", [5, 300])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
def test_gradcheck(dtype, n):
    x = values(n, dtype).requires_grad_()
    fast = {"fast_mode": n > 5}
    assert torch.autograd.gradcheck(gorsqrt.rsqrt, x, check_forward_ad=True, **fast)
    assert torch.autograd.gradgradcheck(gorsqrt.rsqrt, x, check_fwd_over_rev=n == 5, **fast)
    assert torch.autograd.gradcheck(lambda x: gorsqrt.rsqrt_(x * 1), x, **fast)


@pytest.mark.spec("7.2")
@pytest.mark.parametrize("dtype", REAL + COMPLEX, ids=str)
def test_the_second_derivative(dtype):
    def second(f):
        leaf = values(65, dtype).requires_grad_()
        (first,) = torch.autograd.grad(f(leaf).abs().sum(), leaf, create_graph=True)
        return torch.autograd.grad(first.abs().sum(), leaf)[0]

    def by_formula(leaf):
        """With our bits for the value: what torch records of its own operations."""
        y = torch.rsqrt(leaf)
        with torch.no_grad():
            y.untyped_storage().copy_(expected(leaf).untyped_storage())
        return y

    same_bits(second(gorsqrt.rsqrt), second(by_formula))


@pytest.mark.spec("3.6", "7.3", "7.5")
@pytest.mark.parametrize("dtype", REAL + COMPLEX, ids=str)
def test_a_refused_write_writes_nothing(dtype):
    leaf = values(65, dtype).requires_grad_()
    before, version = leaf.detach().clone(), leaf._version
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
        gorsqrt.rsqrt_(leaf)
    same_bits(leaf, before)
    assert leaf._version == version


class Sub(torch.Tensor):
    def __init__(self, *_):
        self.made = True


class Switched(torch.nn.Parameter):
    """Its __torch_function__ is switched off, as Parameter's is."""


class Handled(torch.Tensor):
    """Its __torch_function__ is its own, and answers with no tensor."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return func.__name__ if "rsqrt" in func.__name__ else super().__torch_function__(func, types, args, kwargs or {})


@pytest.mark.spec("7.7")
@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("dtype", REAL + COMPLEX, ids=str)
def test_a_subclass_that_answers_itself(dtype, grad):
    x = values(65, dtype).as_subclass(Handled).requires_grad_(grad)
    assert (gorsqrt.rsqrt(x), gorsqrt.rsqrt_(x)) == (torch.rsqrt(x), torch.rsqrt_(x)) == ("rsqrt", "rsqrt_")


class Asked(type(torch.Tensor)):
    @property
    def __torch_function__(cls):
        raise ZeroDivisionError("asked")


@pytest.mark.spec("7.7")
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("dtype", [*REAL, *COMPLEX, torch.int32, torch.bool], ids=str)
def test_subclasses(dtype, n):
    plain = values(n, torch.float64).to(dtype)
    x = plain.as_subclass(Sub)
    for grad in (False, True) if dtype in REAL + COMPLEX else (False,):
        theirs, y = torch.rsqrt(x.requires_grad_(grad)), gorsqrt.rsqrt(x.requires_grad_(grad))
        assert type(y) is type(theirs) is Sub
        assert vars(y) == vars(theirs)
        assert (y.requires_grad, y.is_leaf) == (theirs.requires_grad, theirs.is_leaf)
        torch.testing.assert_close(y.as_subclass(torch.Tensor).detach(), gorsqrt.rsqrt(plain), rtol=0, atol=0)
    if dtype in REAL + COMPLEX:
        x = plain.clone().as_subclass(Sub)
        assert gorsqrt.rsqrt_(x) is x
        assert x._version == 1
        torch.testing.assert_close(x.as_subclass(torch.Tensor), gorsqrt.rsqrt(plain), rtol=0, atol=0)
        switched = Switched(plain.clone(), requires_grad=False)
        assert type(gorsqrt.rsqrt(switched)) is type(torch.rsqrt(switched)) is torch.Tensor


@pytest.mark.spec("7.7", "9.4")
def test_a_class_that_raises_when_asked():
    class Raising(torch.Tensor, metaclass=Asked):
        pass

    x = torch.ones(3).as_subclass(Raising)
    with pytest.raises(ZeroDivisionError, match="asked"):
        gorsqrt.rsqrt(x)
    with pytest.raises(ZeroDivisionError, match="asked"):
        gorsqrt.rsqrt_(x)


@pytest.mark.spec("7.7")
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("dtype", COMPLEX, ids=str)
def test_conjugates(dtype, n):
    x = values(n, dtype)
    y = gorsqrt.rsqrt(x.conj())
    assert not y.is_conj()
    assert (y._version, y.requires_grad) == (0, False)
    same_bits(y, gorsqrt.rsqrt(x.conj().resolve_conj()))
    square = values(64, dtype).reshape(8, 8)
    assert gorsqrt.rsqrt(square.t().conj()).stride() == torch.rsqrt(square.t().conj()).stride()
    leaf, grad = x.clone().requires_grad_(), values(n, dtype, 1)
    gorsqrt.rsqrt(leaf.conj()).backward(grad)
    same_bits(leaf.grad, gradient(x.conj(), grad).conj().resolve_conj())
    with torch.inference_mode():
        same_bits(gorsqrt.rsqrt(x.conj()), y)


@pytest.mark.spec("7.2", "7.7")
@pytest.mark.parametrize("n", [65, 8201])
@pytest.mark.parametrize("dtype", REAL + COMPLEX, ids=str)
def test_vmap(dtype, n):
    x = values(6 * n, dtype).reshape(2, n, 3)
    for in_dims in (0, 1, -1):
        torch.testing.assert_close(torch.vmap(gorsqrt.rsqrt, in_dims)(x), gorsqrt.rsqrt(x.movedim(in_dims, 0)), rtol=0, atol=0)
    twice = torch.vmap(torch.vmap(gorsqrt.rsqrt, 1, 1))
    torch.testing.assert_close(twice(x), gorsqrt.rsqrt(x), rtol=0, atol=0)
    other = values(4, dtype)
    alone = torch.vmap(lambda row: (gorsqrt.rsqrt(other), row))(x)[0]
    torch.testing.assert_close(alone, gorsqrt.rsqrt(other).expand(2, 4), rtol=0, atol=0)
    written = x.clone()
    torch.vmap(gorsqrt.rsqrt_)(written)
    torch.testing.assert_close(written, gorsqrt.rsqrt(x), rtol=0, atol=0)
    leaf = x.clone().requires_grad_()
    torch.vmap(gorsqrt.rsqrt)(leaf).backward(torch.ones_like(x))
    torch.testing.assert_close(leaf.grad, gradient(x, torch.ones_like(x)), rtol=0, atol=0)


@pytest.mark.spec("7.7")
def test_an_error_within_vmap_leaves_it_in_order():
    def refused(row):
        with pytest.raises(RuntimeError, match="result type Float can't be cast"):
            gorsqrt.rsqrt_(row)
        assert torch._C._functorch.peek_interpreter_stack().key() == torch._C._functorch.TransformType.Vmap
        return gorsqrt.rsqrt(row)

    assert torch.vmap(refused)(torch.full((2, 3), 4)).tolist() == [[0.5] * 3] * 2


@pytest.mark.spec("7.2", "7.7")
@pytest.mark.parametrize("n", [65, (1 << 11) + 1, (1 << 18) + 1])
@pytest.mark.parametrize("dtype", REAL + COMPLEX, ids=str)
def test_transforms_of_derivatives(dtype, n):
    """Values under grad, vjp and jvp are ours, and the derivatives are made of them."""
    x, grad = values(n, dtype), values(n, dtype, 1)
    y, pull = torch.func.vjp(gorsqrt.rsqrt, x)
    same_bits(y, expected(x))
    same_bits(pull(grad)[0], gradient(x, grad))
    y, tangent = torch.func.jvp(gorsqrt.rsqrt, (x,), (grad,))
    same_bits(y, expected(x))
    torch.testing.assert_close(tangent, (-0.5 * grad.conj() * y.pow(3).conj()).conj(), rtol=0, atol=0)
    rows = torch.stack([x, x])
    values_, pulled = torch.vmap(lambda row, g: (lambda y, f: (y, f(g)[0]))(*torch.func.vjp(gorsqrt.rsqrt, row)), (0, None))(
        rows, grad
    )
    same_bits(values_[1], expected(x))
    rounding = 4 * torch.finfo(dtype).eps * dtype.is_complex  # torch's own products of complex numbers depend on the position
    torch.testing.assert_close(pulled[1], gradient(x, grad), rtol=rounding, atol=0)
    nested = torch.func.vjp(lambda t: torch.vmap(gorsqrt.rsqrt)(t.reshape(1, n))[0], x)[1](grad)[0]
    torch.testing.assert_close(nested, gradient(x, grad), rtol=rounding, atol=0)


@pytest.mark.spec("7.7")
def test_modes_and_tracers_see_the_op_within_transforms():
    from torch.fx.experimental.proxy_tensor import make_fx

    x = values(6, torch.float32).reshape(2, 3)
    for f in (torch.vmap(gorsqrt.rsqrt), torch.func.grad(lambda t: gorsqrt.rsqrt(t).sum())):
        graph = make_fx(f)(x)
        assert any("gorsqrt.rsqrt" in str(node.target) for node in graph.graph.nodes), graph.code


@pytest.mark.spec("7.2")
def test_the_op_records_as_the_function_does():
    for dtype in REAL + COMPLEX:
        leaf, grad = values(65, dtype).requires_grad_(), values(65, dtype, 1)
        y = torch.ops.gorsqrt.rsqrt(leaf)
        same_bits(y, expected(leaf))
        y.backward(grad)
        same_bits(leaf.grad, gradient(leaf, grad))


def test_copies_of_a_recorded_result():
    leaf = values(64, HALF).requires_grad_()
    y = gorsqrt.rsqrt(leaf).detach()
    same_bits(copy.deepcopy(y), expected(leaf))


# Of 16 bits and complex numbers torch's own node is used only if torch tells of hooks on saved
# tensors.
HAS_HOOKS = hasattr(torch._C._autograd, "_top_saved_tensors_default_hooks")


@pytest.mark.spec("9.2")
def test_another_torch_rsqrt_is_noticed():
    """A kernel that returns its input in place of torch's: an error, and the input is untouched."""
    code = """
    import torch, gorsqrt
    library = torch.library.Library("aten", "IMPL")
    library.impl("rsqrt", lambda x: x[:1], "AutogradCPU")
    x = torch.full((8,), 4.0).bfloat16()
    gorsqrt.rsqrt(x)
    x.requires_grad_()
    try:
        gorsqrt.rsqrt(x)
    except RuntimeError as error:
        print(error)
    print(x.tolist() == [4.0] * 8)
    """
    lines = "\n".join(line[4:] for line in code.splitlines())
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", lines], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "rsqrt(): torch.rsqrt answers with a tensor of another kind\n" * HAS_HOOKS + "True\n"


@pytest.mark.spec("7.1")
def test_the_torch_here_is_known():
    """Ordinary tensors are read directly, of the oldest torch as of the newest."""
    assert gorsqrt.show_config("dicts")["torch"] == "fast"
    assert gorsqrt._gorsqrt.torch_is_plain(torch.ones(1))
