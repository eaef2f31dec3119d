"""Contract 7 on the CPU, and 2 to 5 for tensors: each case is put to torch and to gorsqrt, and both
must do and say the same.

If the contract is stricter or better than torch, the test says how. The values of the cases are
exact in every dtype; rounding has a test of its own.
"""

import array
import copy
import gc
import io
import pickle
import re
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode
from torch.testing._internal.two_tensor import TwoTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch_oracle import (
    COMPLEX,
    FLOATS,
    FORMS,
    INTEGERS,
    RELEASE,
    Seen,
    described,
    fours,
    fresh,
    in_place,
    into,
    into_itself,
    memory,
    reference,
    same,
    same_bits,
    seen,
)

import gorsqrt

OVERLAP = "some elements of the input tensor and the written-to tensor refer to a single memory location"
SELF_OVERLAP = "more than one element of the written-to tensor refers to a single memory location"


def id_of(value):
    return str(value).removeprefix("torch.") if isinstance(value, torch.dtype) else None


@pytest.fixture(autouse=True)
def every_warning():
    """torch repeats what it otherwise warns of once in a process."""
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(False)


@pytest.fixture
def default_dtype():
    yield torch.set_default_dtype
    torch.set_default_dtype(torch.float32)


# 7.1, 1.2, 4: ordinary tensors.


@pytest.mark.spec("7.1", "1.2", "2.1", "2.2", "2.5")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", FLOATS + COMPLEX + INTEGERS, ids=id_of)
@pytest.mark.parametrize("shape", [(), (1,), (7,), (0,), (2, 0, 3), (3, 4), (2, 3, 4, 5)], ids=str)
def test_every_dtype_and_form(form, dtype, shape):
    wanted = dtype if dtype.is_floating_point or dtype.is_complex else torch.float32
    refused = dtype in INTEGERS and form in (in_place, into_itself)
    name = {"bool": "Bool", "uint8": "Byte", "int8": "Char", "int16": "Short", "int32": "Int", "int64": "Long"}
    text = f"can't be cast to the desired output type {name.get(id_of(dtype), 'UInt')}" if refused else ""
    same(form, lambda: (fours(*shape, dtype=dtype), torch.zeros(shape, dtype=wanted)), RuntimeError if refused else None, text)


@pytest.mark.spec("7.1", "2.3", "2.4", "3.6")
@pytest.mark.parametrize("to", FLOATS + COMPLEX + INTEGERS, ids=id_of)
@pytest.mark.parametrize("dtype", FLOATS + COMPLEX + [torch.bool, torch.int64], ids=id_of)
def test_cast_to_out(dtype, to):
    refused = to in INTEGERS or (dtype.is_complex and not to.is_complex)
    text = "can't be cast to the desired output type" if refused else ""
    for shape in ((5,), (0,), ()):
        same(
            into,
            lambda shape=shape: (fours(*shape, dtype=dtype), torch.zeros(shape, dtype=to)),
            RuntimeError if refused else None,
            text,
        )


@pytest.mark.spec("7.1", "2.6")
def test_negative_into_complex():
    result = gorsqrt.rsqrt(torch.tensor([-4.0, 4.0]), out=torch.zeros(2, dtype=torch.complex64))
    theirs = torch.rsqrt(torch.tensor([-4.0, 4.0]), out=torch.zeros(2, dtype=torch.complex64))
    assert str(result) == str(theirs)
    assert result[0].real.isnan()
    assert result[0].imag == 0


@pytest.mark.spec("2.2", "7.1")
@pytest.mark.parametrize("default", FLOATS, ids=id_of)
@pytest.mark.parametrize("dtype", INTEGERS, ids=id_of)
def test_integers_go_by_torchs_default_dtype(default_dtype, default, dtype):
    """And not by gorsqrt's, which stays float32."""
    default_dtype(default)
    same(fresh, lambda: (fours(9, dtype=dtype),))
    assert gorsqrt.rsqrt(fours(9, dtype=dtype)).dtype is default
    assert gorsqrt.rsqrt(np.ones(3, np.int32)).dtype == np.float32


@pytest.fixture
def one_thread():
    """torch deals long tensors out to its threads, in pieces that need not be whole vectors."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.spec("7.1", "6.1", "6.2", "6.3", "6.4", "6.8")
@pytest.mark.parametrize("dtype", FLOATS + COMPLEX, ids=id_of)
def test_values(one_thread, dtype):
    """All 65,536 patterns of 16-bit dtypes, and random ones of others, special values among
    them."""
    if dtype.itemsize == 2:
        x = torch.arange(-(1 << 15), 1 << 15).to(torch.int16).view(dtype)
    else:
        x = torch.from_numpy(np.random.default_rng(1).integers(0, 256, 40_000 * dtype.itemsize, dtype=np.uint8)).view(dtype)
    want = reference(x)
    assert same_bits(gorsqrt.rsqrt(x), want)
    assert same_bits(gorsqrt.rsqrt(x, out=torch.zeros_like(x)), want)
    assert same_bits(gorsqrt.rsqrt(x.reshape(4, -1).T), want.reshape(4, -1).T)
    for n in (1, 2, 7, 33):
        assert same_bits(gorsqrt.rsqrt(x[-n:]), want[-n:])
    gaps = torch.zeros(2 * len(x), dtype=dtype)
    gorsqrt.rsqrt(x, out=gaps[1::2])
    assert same_bits(gaps[1::2], want)
    assert (gaps[::2] == 0).all()
    gorsqrt.rsqrt_(x)
    assert same_bits(x, want)


@st.composite
def strides_of(draw, shape):
    """Permuted, gapped, channels_last, expanded, and what no slicing gives."""
    if draw(st.integers(0, 3)) == 0:
        return draw(st.lists(st.integers(0, 12), min_size=len(shape), max_size=len(shape)))
    strides, step = [0] * len(shape), 1
    for d in [1, 3, 2, 0] if len(shape) == 4 and draw(st.booleans()) else draw(st.permutations(range(len(shape)))):
        strides[d] = 0 if draw(st.integers(0, 19)) == 0 else step
        step *= max(1, shape[d]) + draw(st.sampled_from([0, 0, 0, 1]))
    return strides


@st.composite
def layouts(draw):
    """A shape, 0-d and empty ones too, and twice strides for it."""
    shape = draw(st.lists(st.integers(0, 5), max_size=5))
    return shape, draw(strides_of(shape)), draw(strides_of(shape))


def laid(shape, strides, dtype):
    """Such a tensor over memory of its own, with some elements before and behind."""
    last = sum((n - 1) * s for n, s in zip(shape, strides, strict=True) if n)
    return torch.as_strided(fours(last + 6, dtype=dtype), shape, strides, 3)


def overlaps_itself(shape, strides):
    where = np.zeros(shape, int)
    for d, stride in enumerate(strides):
        where += stride * np.arange(shape[d]).reshape([-1 if i == d else 1 for i in range(len(shape))])
    return len(np.unique(where)) < where.size


@pytest.mark.spec("4.1", "7.1", "3.1", "5.1")
@given(layouts(), st.sampled_from(FLOATS + COMPLEX + INTEGERS))
@settings(max_examples=400, deadline=None)
def test_any_layout(layout, dtype):
    shape, strides, out_strides = layout
    same(fresh, lambda: (laid(shape, strides, dtype),))
    to = torch.float32 if dtype in INTEGERS else dtype
    if not overlaps_itself(shape, out_strides):
        same(into, lambda: (laid(shape, strides, dtype), laid(shape, out_strides, to)))
    if not overlaps_itself(shape, strides) and dtype not in INTEGERS:
        same(in_place, lambda: (laid(shape, strides, dtype),))
        same(into_itself, lambda: (laid(shape, strides, dtype),))


@pytest.mark.spec("5.1", "3.6", "7.5")
@given(st.lists(st.tuples(st.integers(2, 5), st.integers(0, 9)), min_size=1, max_size=4))
@settings(max_examples=200, deadline=None)
def test_destination_that_overlaps_itself(dims):
    """Stricter: decided exactly, where torch sees stride 0 alone."""
    shape, strides = [n for n, _ in dims], [s for _, s in dims]
    x = laid(shape, strides, torch.float32)
    before = described(x)
    for call in (lambda: gorsqrt.rsqrt(torch.ones(shape), out=x), lambda: gorsqrt.rsqrt_(x)):
        if overlaps_itself(shape, strides):
            with pytest.raises(RuntimeError, match=SELF_OVERLAP):
                call()
            assert described(x) == before
        else:
            assert call() is x


@pytest.mark.spec("5.1")
@pytest.mark.parametrize("form", [in_place, into])
def test_expanded_destination_in_torchs_words(form):
    same(form, lambda: (fours(1).expand(4), fours(1).expand(4)), RuntimeError, SELF_OVERLAP)


@pytest.mark.spec("7.1", "5.2", "5.3", "5.4")
def test_overlap_of_input_and_out():
    def views(first, second):
        def arguments():
            x = fours(12)
            return x[first], x[second], x

        return arguments

    same(into, views(slice(0, 5), slice(0, 5)))
    same(into, views(slice(0, 5), slice(5, 10)))
    same(into, views(slice(0, None, 2), slice(1, None, 2)))
    same(into, views(slice(0, 5), slice(1, 6)), RuntimeError, OVERLAP)
    x = fours(12)
    with pytest.raises(RuntimeError, match=OVERLAP):  # stricter: torch does not look at views with gaps
        gorsqrt.rsqrt(x[0:8:2], out=x[2:10:2])
    assert torch.equal(x, fours(12))
    assert x._version == 0
    z = torch.tensor([4 + 16j, 64 + 1j])
    gorsqrt.rsqrt(torch.view_as_real(z)[:, 0], out=z)  # other dtypes: through a temporary
    assert z.tolist() == [0.5, 0.125]


@pytest.mark.spec("7.1", "1.2")
@pytest.mark.parametrize("n", [0, 1, 2, 3, 16, 17, 4096, 100_000, 9_000_000])
def test_fresh_results_are_ordinary_tensors(n):
    x = torch.full((n,), 4.0)
    y = gorsqrt.rsqrt(x)
    assert type(y) is torch.Tensor
    assert y.data_ptr() % 64 == 0
    assert n == 0 or y.data_ptr() != x.data_ptr()
    assert y._base is None
    assert (y._version, y.is_leaf, y.requires_grad, y.is_inference(), y.grad_fn) == (0, True, False, False, None)
    assert y.untyped_storage().resizable()
    assert y.untyped_storage().nbytes() == 4 * n
    for other in (copy.deepcopy(y), pickle.loads(pickle.dumps(y)), torch.from_numpy(y.numpy().copy()), y.clone()):
        assert torch.equal(other, torch.rsqrt(x))
    saved = io.BytesIO()
    torch.save(y, saved)
    saved.seek(0)
    assert torch.equal(torch.load(saved), y)
    array_of_y = y.numpy()
    pointer = y.data_ptr()
    view = y[n // 2 :]
    del y
    gc.collect()
    assert (array_of_y == 0.5).all()  # numpy's array and a view hold the memory
    assert (view == 0.5).all()
    assert n == 0 or view.data_ptr() == pointer + 4 * (n // 2)


@pytest.mark.spec("7.1")
def test_fresh_results_can_be_resized_shared_set_and_given_gradients():
    y = gorsqrt.rsqrt(fours(4))
    y.resize_(1000).fill_(7)
    assert y.sum() == 7000
    y = gorsqrt.rsqrt(fours(4))
    y.share_memory_()
    assert y.is_shared()
    assert torch.equal(y, torch.rsqrt(fours(4)))
    y = gorsqrt.rsqrt(fours(4)).requires_grad_()
    (y * y).sum().backward()
    assert torch.equal(y.grad, 2 * torch.rsqrt(fours(4)))
    y = gorsqrt.rsqrt(fours(4))
    y.set_(fours(2))
    assert torch.equal(y, fours(2))
    y.data = torch.ones(3)
    assert y.shape == (3,)


@pytest.mark.spec("7.1")
@pytest.mark.parametrize("requires_grad", [False, True])
def test_parameters(requires_grad):
    def parameter():
        return (torch.nn.Parameter(fours(4), requires_grad), torch.nn.Parameter(torch.zeros(4), requires_grad))

    for form in FORMS:
        same(without_grad(form), parameter)
    assert type(gorsqrt.rsqrt(parameter()[0].detach())) is torch.Tensor
    if not requires_grad:
        for form in FORMS:
            same(form, parameter)


@pytest.mark.spec("4.3", "7.1")
def test_more_than_64_dimensions():
    """As torch, which reshapes; or refused in one sentence and nothing touched."""
    x = torch.full([1] * 64 + [2, 3], 4.0).transpose(-1, -2)
    for name in ("rsqrt", "rsqrt_"):
        ours, theirs = (
            seen(module, lambda f, y, name=name: getattr(f, name)(y), lambda: (x.clone(),)) for module in (gorsqrt, torch)
        )
        refusal = f"{name}(): argument 'input' has 66 dimensions; at most 64 are supported"
        assert ours in (theirs, Seen(None, (RuntimeError, refusal), [described(x.clone())], []))


# 1.3, 3: other containers beside tensors.


@pytest.mark.spec("1.3", "3.1", "7.1")
def test_tensors_and_other_containers_in_one_call():
    x = fours(4, dtype=torch.float64)
    for out in (np.zeros(4), array.array("d", [0] * 4), memoryview(bytearray(32)).cast("d"), np.zeros(8)[::2]):
        assert gorsqrt.rsqrt(x, out=out) is out
        assert list(out) == [1, 0.5, 0.25, 0.125]
    for source in (x.numpy(), array.array("d", x), memoryview(x.numpy())):
        out = torch.zeros(8, dtype=torch.float32)[::2]
        assert gorsqrt.rsqrt(source, out=out) is out
        assert out.tolist() == [1, 0.5, 0.25, 0.125]
        assert out._version == 1
    integers = np.array([1, 4], np.int64)
    assert gorsqrt.rsqrt(integers, out=torch.zeros(2)).tolist() == [1, 0.5]
    half = torch.tensor([1, 4], dtype=torch.bfloat16)
    assert gorsqrt.rsqrt(half, out=np.zeros(2)).tolist() == [1, 0.5]


@pytest.mark.spec("2.3", "2.4", "3.3", "3.4", "3.6", "5.3", "7.4")
def test_tensors_and_other_containers_are_judged_by_the_same_rules():
    x = fours(4, dtype=torch.float64)
    held, before = x.numpy(), x.numpy().copy()
    with pytest.raises(RuntimeError, match="result type Double can't be cast to the desired output type Int"):
        gorsqrt.rsqrt(x, out=np.zeros(4, np.int32))
    with pytest.raises(RuntimeError, match="result type Double can't be cast to the desired output type Int"):
        gorsqrt.rsqrt(held, out=torch.zeros(4, dtype=torch.int32))
    with pytest.raises(RuntimeError, match=re.escape("[4]")):
        gorsqrt.rsqrt(x, out=np.zeros(3))
    read_only = np.zeros(4)
    read_only.flags.writeable = False
    with pytest.raises((ValueError, BufferError), match="read-only"):
        gorsqrt.rsqrt(x, out=read_only)
    assert (read_only == 0).all()
    for source, out in ((x[1:], held[:3]), (held[1:], x[:3])):
        with pytest.raises(RuntimeError, match=OVERLAP):
            gorsqrt.rsqrt(source, out=out)
    np.testing.assert_array_equal(held, before)
    assert gorsqrt.rsqrt(x, out=held) is held
    np.testing.assert_array_equal(held, [1, 0.5, 0.25, 0.125])
    for source, out in ((x.requires_grad_(), np.zeros(4)), (np.ones(4), torch.zeros(4, requires_grad=True))):
        with pytest.raises(RuntimeError, match="don't support automatic differentiation"):
            gorsqrt.rsqrt(source, out=out)
    with torch.no_grad():
        out = np.zeros(4)
        assert gorsqrt.rsqrt(x, out=out) is out


@pytest.mark.spec("3.2")
def test_other_containers_into_tensors_of_another_shape():
    out = torch.zeros(5, dtype=torch.float64)
    with pytest.warns(
        UserWarning, match=re.escape("since it had shape [5], which does not match the required output shape [3]")
    ):
        assert gorsqrt.rsqrt(np.array([4.0, 16, 64]), out=out) is out
    assert out.tolist() == [0.5, 0.25, 0.125]


# 3.2: torch tensors as out are resized.


@pytest.mark.spec("3.2", "7.5", "1.6")
@pytest.mark.parametrize("action", ["always", "error"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.complex64], ids=id_of)
@pytest.mark.parametrize("shape", [(3,), (), (2, 3), (0,), (40,)], ids=str)
@pytest.mark.parametrize("old", [(0,), (5,), (1,), (), (3, 2), (0, 3)], ids=str)
def test_out_of_another_shape_is_resized(old, shape, dtype, action):
    if old == shape:
        return
    warns = "An output with one or more elements was resized" if int(np.prod(old)) else ""
    if warns and action == "error":
        same(into, lambda: (fours(*shape), torch.zeros(old, dtype=dtype)), UserWarning, warns, action=action)
    else:
        same(into, lambda: (fours(*shape), torch.zeros(old, dtype=dtype)), warns=warns, action=action)


@pytest.mark.spec("3.2", "3.6", "5.1")
def test_out_that_overlaps_once_it_is_resized_is_refused_before_it_is_written():
    """torch judges the overlap before it resizes, and then writes into the input."""
    base = torch.arange(1.0, 30.0)
    before = base.clone()
    with pytest.warns(UserWarning, match="was resized"), pytest.raises(RuntimeError, match="refer to a single memory location"):
        gorsqrt.rsqrt(base[10:20], out=base[4:6])
    assert torch.equal(base, before)
    out = base[:3]
    with pytest.warns(UserWarning, match="was resized"):
        gorsqrt.rsqrt(base[10:20], out=out)
    assert torch.equal(out, torch.rsqrt(before[10:20]))
    assert out.data_ptr() == base.data_ptr()
    assert torch.equal(base[10:], before[10:])


@pytest.mark.spec("3.2")
def test_out_that_is_a_view_is_resized_as_torch_does():
    resized = "An output with one or more elements was resized"

    def view_of_another():
        base = torch.zeros(10)
        return fours(2), base[4:7], base

    def channels_last():
        return fours(2, 3, 4, 5).to(memory_format=torch.channels_last), torch.zeros(7)

    def gaps():
        return fours(3), torch.zeros(4, 4)[::2, ::2]

    for arguments in (view_of_another, channels_last, gaps):
        same(lambda f, x, out, *_: f.rsqrt(x, out=out), arguments, warns=resized)
    same(into, lambda: (fours(3), torch.nn.Parameter(torch.zeros(4), False)), warns=resized)
    same(into, lambda: (fours(3).to(torch.int64), torch.zeros(4, dtype=torch.float16)), warns=resized)


@pytest.mark.spec("3.2", "3.6", "2.4", "5.1", "7.4", "7.3")
def test_what_is_wrong_first_when_out_has_another_shape():
    same(into, lambda: (fours(3), torch.zeros(4, dtype=torch.int32)), RuntimeError, "can't be cast")
    same(into, lambda: (fours(3), torch.zeros(1).expand(4)), RuntimeError, SELF_OVERLAP)
    grad = lambda: (fours(3, requires_grad=True), torch.zeros(4, dtype=torch.int32))  # noqa: E731
    same(into, grad, RuntimeError, "don't support automatic differentiation")


def over_numpy(n):
    return torch.from_numpy(np.zeros(n, np.float32))


@pytest.mark.spec("3.2")
def test_out_that_can_not_grow():
    """Better than torch, which leaves the new shape over the old memory: reading that segfaults.

    A shared-memory out that has to grow segfaults in torch at once.
    """
    resized = "An output with one or more elements was resized"
    same(into, lambda: (fours(3), over_numpy(5)), warns=resized)
    same(into, lambda: (fours(3), over_numpy(4)[1:3]), warns=resized)
    same(into, lambda: (fours(3), torch.zeros(5).share_memory_()), warns=resized)
    same(into, lambda: (fours(2, 3), torch.zeros(6).share_memory_()), warns=resized)
    same(into, lambda: (fours(5), torch.empty(0)))
    theirs = seen(torch, into, lambda: (fours(3), over_numpy(2)[1:]))
    assert theirs.error == (RuntimeError, "Trying to resize storage that is not resizable")
    for out in (over_numpy(2), over_numpy(9)[8:], over_numpy(1).reshape(()), torch.zeros(2).share_memory_()):
        before, shared = described(out), out.is_shared()
        ours = seen(gorsqrt, into, lambda out=out: (fours(3), out))
        assert ours.error[0] is RuntimeError
        if not shared:
            assert (ours.error, len(ours.warned)) == (theirs.error, 1)
            assert ours.warned[0][1].startswith(resized)
        assert described(out) == before
    with pytest.raises(
        RuntimeError, match="Trying to resize storage that is not resizable"
    ):  # zero elements: without a warning
        gorsqrt.rsqrt(fours(3), out=over_numpy(2)[:0])


# 7.3, 7.4: autograd.


def leaf():
    return fours(4, requires_grad=True)


def without_grad(form):
    def case(f, *args):
        with torch.no_grad():
            return form(f, *args)

    return case


def view_made_without_grad(of):
    with torch.no_grad():
        return of[:2]


def after_its_base_got_gradients(view_of):
    """A view and its base, which only later became the result of something with gradients."""
    base = torch.ones(4)
    view = view_of(base)
    base.mul_(leaf())
    return view, base


class ViewOf(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        return grad


LEAF = "a leaf Variable that requires grad is being used in an in-place operation."
LEAF_VIEW = "a view of a leaf Variable that requires grad is being used in an in-place operation."
NO_GRAD_VIEW = "A view was created in no_grad mode and is being modified inplace with grad mode enabled."
INFERENCE_VIEW = "A view was created in inference mode and is being modified inplace in normal mode."
MANY_VIEWS = "This view is the output of a function that returns multiple views."
CUSTOM_VIEW = "This view was created inside a custom Function"
IN_PLACE_ON_GRAD = {  # name: arguments, what torch says with gradients, what it says without
    "leaf": (lambda: (leaf(),), LEAF, ""),
    "parameter": (lambda: (torch.nn.Parameter(fours(4)),), LEAF, ""),
    "empty leaf": (lambda: (fours(0, requires_grad=True),), LEAF, ""),
    "result": (lambda: (leaf() * 1,), "", ""),
    "integers": (lambda: (fours(4, dtype=torch.int64),), "output type Long", "output type Long"),
    "view of a leaf": (lambda: (leaf()[:2],), LEAF_VIEW, ""),
    "view of a result": (lambda: ((leaf() * 1)[:2],), "", ""),
    "expanded leaf": (lambda: (fours(1, requires_grad=True).expand(3),), LEAF_VIEW, SELF_OVERLAP),
    "expanded result": (lambda: ((fours(1, requires_grad=True) * 1).expand(3),), SELF_OVERLAP, SELF_OVERLAP),
    "detached": (lambda: (leaf().detach(),), "", ""),
    "data": (lambda: (leaf().data,), "", ""),
    "view made without grad": (lambda: (view_made_without_grad(leaf() * 1).requires_grad_(),), NO_GRAD_VIEW, ""),
    "view made without grad, of what needs none": (lambda: (view_made_without_grad(leaf()),), "", ""),
    "late gradients": (lambda: after_its_base_got_gradients(lambda base: base[:2]), LEAF, ""),
    "late gradients, view without": (lambda: after_its_base_got_gradients(view_made_without_grad), NO_GRAD_VIEW, ""),
    "late gradients, one of many": (lambda: after_its_base_got_gradients(lambda base: base.unbind()[0]), MANY_VIEWS, ""),
    "late gradients, view in inference mode": (
        lambda: after_its_base_got_gradients(torch.inference_mode()(lambda base: base[:2])),
        INFERENCE_VIEW,
        "",
    ),
    "unbind": (lambda: ((leaf() * 1).unbind()[0],), MANY_VIEWS, ""),
    "split": (lambda: ((leaf() * 1).split(2)[1],), MANY_VIEWS, ""),
    "chunk": (lambda: ((leaf() * 1).chunk(2)[1],), MANY_VIEWS, ""),
    "unbind of what needs no gradient": (lambda: (fours(4).unbind()[0],), "", ""),
    "custom function's view": (lambda: (ViewOf.apply(leaf() * 1),), CUSTOM_VIEW, ""),
}


@pytest.mark.spec("7.3", "7.5", "3.6")
@pytest.mark.parametrize("name", IN_PLACE_ON_GRAD)
def test_in_place_where_there_are_gradients(name):
    arguments, text, text_without = IN_PLACE_ON_GRAD[name]
    same(in_place, arguments, RuntimeError if text else None, text)
    same(into_itself, arguments, ...)
    for form in (in_place, into_itself):
        same(without_grad(form), arguments, RuntimeError if text_without else None, text_without)


@pytest.mark.spec("7.2", "7.3")
@pytest.mark.parametrize("name", [name for name in IN_PLACE_ON_GRAD if name.startswith("late")])
def test_reading_a_view_whose_base_got_gradients_later(name):
    """Its requires_grad is out of date until it is asked for."""
    text = "" if name == "late gradients" else "has been modified inplace with grad mode enabled"
    text = "its base or another view of its base has been modified inplace" if text else ""
    same(fresh, IN_PLACE_ON_GRAD[name][0], RuntimeError if text else None, text)


@pytest.mark.spec("7.4", "3.6")
@pytest.mark.parametrize("x_grad", [False, True])
@pytest.mark.parametrize("out_grad", [False, True])
@pytest.mark.parametrize("n", [0, 4])
def test_out_where_there_are_gradients(x_grad, out_grad, n):
    text = "rsqrt(): functions with out=... arguments don't support automatic differentiation, but one of the arguments"
    text, error = (f"{text} requires grad.", RuntimeError) if x_grad or out_grad else ("", None)

    def arguments():
        return fours(n, requires_grad=x_grad), torch.zeros(n, requires_grad=out_grad)

    same(into, arguments, error, text)
    same(into, lambda: tuple(x * 1 for x in arguments()), error, text)
    if n:
        same(into, lambda: tuple(x[:3] for x in arguments()), error, text)

    for form in FORMS:
        same(without_grad(form), arguments)


@pytest.mark.spec("7.2", "7.3")
def test_gradients_through_views_and_in_place():
    def case(f):
        x = leaf()
        y = x * 3
        view = y[1:3]
        f.rsqrt_(view)
        z = f.rsqrt(y)
        (z * fours(4)).sum().backward()
        return x.grad, y.detach(), view.detach(), z.detach()

    same(case)

    def base_without_grad(f):
        base, x = torch.ones(4), leaf()
        base[:2].copy_(x[:2])
        f.rsqrt_(base[1:])
        base.sum().backward()
        return x.grad, base.detach()

    same(base_without_grad)


@pytest.mark.spec("7.2")
@pytest.mark.parametrize("dtype", FLOATS, ids=id_of)
def test_gradients_bit_for_bit(dtype):
    """Whole vectors: torch's own results are then ours (6.4)."""
    values = torch.rand(3200, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 9 + 0.01

    def case(f):
        x = values.to(dtype, copy=True).requires_grad_()
        grad = values.flip(0).to(dtype)
        y = f.rsqrt(x)
        y.backward(grad)
        z = (x.detach() * 2).requires_grad_()
        w = f.rsqrt_(z * 1)
        w.backward(grad)
        return x.grad, y.detach(), z.grad

    same(case)


@pytest.mark.spec("7.2", "7.5")
def test_the_result_alone_is_saved_for_backward():
    def case(f):
        packed = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: packed.append(tuple(t.shape)) or t, lambda t: t):
            x = leaf()
            y = f.rsqrt(x)
        y.sum().backward()
        return packed, x.grad

    same(case)


@pytest.mark.spec("7.5", "7.2")
def test_writes_are_seen_by_a_later_backward():
    """If a saved tensor is overwritten, backward fails in torch's words, except the node's name."""

    def result_overwritten(f):
        y = f.rsqrt(leaf())
        y.add_(1)
        y.sum().backward()

    def saved_by_another(write):
        def case(f):
            y = leaf().exp()
            with torch.no_grad():
                write(f, y)
            y.sum().backward()

        return case

    for case in (
        saved_by_another(lambda f, y: f.rsqrt_(y)),
        saved_by_another(lambda f, y: f.rsqrt(y, out=y)),
        saved_by_another(lambda f, y: f.rsqrt_(y.detach())),
        saved_by_another(lambda f, y: f.rsqrt(fours(4), out=y)),
        saved_by_another(lambda f, y: f.rsqrt(fours(2), out=y[:2])),
    ):
        same(case, error=RuntimeError, text="modified by an inplace operation")
    texts = []
    for module in (torch, gorsqrt):
        with pytest.raises(RuntimeError, match="modified by an inplace operation") as raised:
            result_overwritten(module)
        texts.append(re.sub(r"output 0 of \w+,", "output 0 of a node,", str(raised.value)))
    assert texts[0] == texts[1]


# 7.5: the version counter.


@pytest.mark.spec("7.5")
@pytest.mark.parametrize("shape", [(4,), (0,), (), (3, 0)], ids=str)
def test_every_write_is_counted_once(shape):
    x, out = fours(*shape), torch.zeros(shape)
    view, wide = out.view(shape), torch.zeros(shape, dtype=torch.float64)
    gorsqrt.rsqrt(x)
    assert x._version == 0
    for count in range(1, 4):
        gorsqrt.rsqrt(x, out=out)
        gorsqrt.rsqrt(x, out=wide)
        assert (x._version, out._version, view._version, wide._version) == (0, count, count, count)
    gorsqrt.rsqrt_(view)
    gorsqrt.rsqrt(out, out=out)
    assert out._version == 5
    for form in FORMS:
        same(form, lambda: (fours(*shape), torch.zeros(shape)))


@pytest.mark.spec("7.5", "3.6")
def test_refused_writes_are_not_counted():
    out, integers, x = torch.zeros(4), torch.zeros(4, dtype=torch.int32), fours(12)
    for call in (
        lambda: gorsqrt.rsqrt_(integers),
        lambda: gorsqrt.rsqrt(x[:4], out=integers),
        lambda: gorsqrt.rsqrt(x[:5], out=x[1:6]),
        lambda: gorsqrt.rsqrt(x[:4], out=out[:1].expand(4)),
        lambda: gorsqrt.rsqrt(x[:4].requires_grad_(), out=out),
    ):
        with pytest.raises(RuntimeError):
            call()
    assert (out._version, integers._version, x._version) == (0, 0, 0)


# 7.6: inference mode.


def in_inference_mode(make):
    with torch.inference_mode():
        return make()


INFERENCE = "Inplace update to inference tensor outside InferenceMode is not allowed.You can make a clone"


@pytest.mark.spec("7.6")
def test_inference_tensors_outside():
    def arguments(n=4):
        return lambda: in_inference_mode(lambda: (fours(n), torch.zeros(n)))

    same(fresh, arguments())
    assert not gorsqrt.rsqrt(arguments()()[0]).is_inference()
    for form in (in_place, into, into_itself):
        same(form, arguments(), RuntimeError, INFERENCE)
        same(form, arguments(0), RuntimeError, INFERENCE)
    same(into, lambda: (fours(4), in_inference_mode(lambda: torch.zeros(4))), RuntimeError, INFERENCE)
    same(into, lambda: (in_inference_mode(lambda: fours(4)), torch.zeros(4)))
    same(in_place, lambda: (in_inference_mode(lambda: fours(6))[1:4],), RuntimeError, INFERENCE)
    both = in_inference_mode(lambda: fours(4))
    before = memory(both)
    with pytest.raises(RuntimeError, match="Inplace update to inference tensor"):
        gorsqrt.rsqrt_(both)
    assert memory(both) == before


@pytest.mark.spec("7.6")
@pytest.mark.parametrize("form", FORMS)
def test_inside_inference_mode(form):
    def inside(f, *args):
        with torch.inference_mode():
            return form(f, *args)

    def made_inside(f):
        with torch.inference_mode():
            return form(f, fours(4), torch.zeros(4))

    same(made_inside)
    same(inside, lambda: (fours(4), torch.zeros(4)))
    same(inside, lambda: (leaf(), torch.zeros(4)))
    same(inside, lambda: in_inference_mode(lambda: (fours(4), torch.zeros(4))))
    same(inside, lambda: (fours(4)[:3], in_inference_mode(lambda: torch.zeros(3))))
    with torch.inference_mode():
        assert gorsqrt.rsqrt(fours(4)).is_inference()


# 7.7: everything that is more than an ordinary tensor.


@pytest.mark.spec("7.7")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("conj_out", [False, True])
def test_conj_and_neg_bits(form, conj_out):
    def conjugated():
        return fours(4, dtype=torch.complex64).conj(), (fours(4, dtype=torch.complex64) if conj_out else fours(4) + 0j).conj()

    def negated():
        return torch._neg_view(-fours(4)), torch._neg_view(fours(4)) if conj_out else fours(4)

    def imaginary():
        return (fours(4) * 1j).conj().imag, torch.zeros(4)

    for arguments in (conjugated, negated, imaginary):
        same(form, arguments)
    same(into, lambda: (fours(4, dtype=torch.complex64), fours(4, dtype=torch.complex64).conj()))
    z = torch.tensor([3 + 4j, -1 - 2j])
    assert gorsqrt.rsqrt(z.conj()).resolve_conj().tolist() == gorsqrt.rsqrt(z.resolve_conj()).conj().tolist()


@pytest.mark.spec("7.7")
def test_zero_tensors():
    immutable = "ZeroTensors are immutable"
    same(fresh, lambda: (torch._efficientzerotensor((3,)),))
    same(in_place, lambda: (torch._efficientzerotensor((3,)),), RuntimeError, immutable)
    same(into, lambda: (fours(3), torch._efficientzerotensor((3,))), RuntimeError, immutable)
    same(into, lambda: (torch._efficientzerotensor((3,)), fours(3)))


@pytest.mark.spec("7.7")
def test_meta_tensors():
    def meta(*shape, **kwargs):
        return torch.ones(shape, device="meta", **kwargs)

    for form in FORMS:
        same(form, lambda: (meta(2, 3).T, meta(3, 2)))
        same(form, lambda: (meta(2, 3).T, meta(3, 2)))
        same(form, lambda: (meta(4, dtype=torch.int64), meta(4)), ...)
        same(form, lambda: (meta(4, requires_grad=True), meta(4)), ...)
    same(into, lambda: (meta(3), meta(4)), ..., warns="An output with one or more elements was resized")
    same(into, lambda: (meta(3), torch.ones(3)), RuntimeError, "device")
    same(into, lambda: (torch.ones(3), meta(3)), RuntimeError, "device")


@pytest.mark.spec("7.7")
def test_fake_tensors():
    def inside(form, x, out):
        def case(f):
            with FakeTensorMode(allow_non_fake_inputs=True) as mode:
                result = form(f, *(mode.from_tensor(t) for t in (x, out)))
            return described(result)

        return case

    for form in FORMS:
        same(inside(form, fours(2, 3).T, torch.zeros(3, 2)))
        same(inside(form, fours(4, dtype=torch.bfloat16), torch.zeros(4, dtype=torch.bfloat16)))
    same(inside(fresh, fours(4, dtype=torch.int32), torch.zeros(4)))

    def outside(form):
        def case(f):
            mode = FakeTensorMode()
            return described(form(f, mode.from_tensor(fours(3)), mode.from_tensor(torch.zeros(3))))

        return case

    for form in FORMS:
        same(outside(form))


def jagged():
    return torch.nested.nested_tensor([fours(2), fours(3)], layout=torch.jagged)


@pytest.mark.spec("7.7")
@pytest.mark.parametrize("form", [fresh, in_place])
def test_jagged_nested_and_masked_tensors(form):
    same(form, lambda: (jagged(),))
    same(form, lambda: (torch.masked.masked_tensor(fours(4), torch.tensor([True, False, True, False])),), warns=...)


class Plain(torch.Tensor):
    """Nothing of its own: torch gives results of the class."""


class Handled(torch.Tensor):
    """Sees the calls, and answers with what it was asked."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if "rsqrt" not in func.__name__:
            return super().__torch_function__(func, types, args, kwargs or {})
        with torch._C.DisableTorchFunctionSubclass():
            return "handled", types, len(args), sorted(kwargs or {}), torch.rsqrt(args[0].as_subclass(torch.Tensor))


class Duck:
    """No tensor, but it has the protocol."""

    def __eq__(self, other):
        return type(self) is type(other)

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return func.__name__.removesuffix("_"), types, len(args), sorted(kwargs or {})


@pytest.mark.spec("7.7", "1.3")
def test_subclasses():
    for form in FORMS:
        same(form, lambda: (fours(4).as_subclass(Plain), torch.zeros(4).as_subclass(Plain)))
        same(form, lambda: (fours(4), torch.zeros(4).as_subclass(Plain)))
        same(form, lambda: (fours(4).as_subclass(Handled), torch.zeros(4)))
        same(form, lambda: (fours(4), torch.zeros(4).as_subclass(Handled)))
        same(form, lambda: (TwoTensor(fours(4), fours(4) * 4), TwoTensor(torch.zeros(4), torch.zeros(4))))
    same(fresh, lambda: (fours(0).as_subclass(Plain),))
    same(without_grad(in_place), lambda: (TwoTensor(fours(4), fours(4)).requires_grad_(),))


@pytest.mark.spec("7.7")
def test_objects_with_torch_function():
    for form in FORMS:
        same(form, lambda: (Duck(), Duck()))
    same(into, lambda: (fours(4), Duck()))


@pytest.mark.spec("7.7")
@pytest.mark.parametrize("form", FORMS)
def test_function_modes(form):
    """A mode sees one call, of torch's function or of an op of that name. Its answer is the
    result."""

    class Recording(TorchFunctionMode):
        def __init__(self):
            super().__init__()
            self.calls = []

        def __torch_function__(self, func, types, args=(), kwargs=None):
            self.calls.append((func.__name__.split(".")[0], len(args), sorted(kwargs or {})))
            result = func(*args, **(kwargs or {}))
            return result * 2 if "rsqrt" in func.__name__ else result

    def case(f):
        x, out = fours(4), torch.zeros(4)
        with Recording() as mode:
            result = form(f, x, out)
        return mode.calls, result, x, out

    same(case)


@pytest.mark.spec("7.7")
@pytest.mark.parametrize("form", FORMS)
def test_dispatch_modes(form):
    """A mode sees one operator that writes, or one that doesn't, and its answer is the answer."""

    class Recording(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.calls = []

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.calls.append((func._schema.name.split("::")[1], func._schema.is_mutable, len(args), sorted(kwargs or {})))
            result = func(*args, **(kwargs or {}))
            return torch.ones(7) if form is fresh else result

    def case(f):
        x, out = fours(4), torch.zeros(4)
        with Recording() as mode:
            result = form(f, x, out)
        return mode.calls, result, x, out

    same(case)


@pytest.mark.spec("7.7", "7.1")
def test_default_device():
    def case(f):
        x, out = fours(4), torch.zeros(4)
        torch.set_default_device("meta")
        try:
            return f.rsqrt(x), f.rsqrt(x, out=out), f.rsqrt_(x), f.rsqrt(torch.ones(2))
        finally:
            torch.set_default_device(None)

    same(case)


@pytest.mark.spec("7.7", "7.2")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("which", ["input", "out", "both"])
def test_forward_ad_duals(form, which):
    """Results, tangents, and that out= does not support it."""

    def case(f):
        with forward_ad.dual_level():
            x, out = fours(4), torch.zeros(4)
            if which != "out":
                x = forward_ad.make_dual(x, torch.arange(4.0))
            if which != "input":
                out = forward_ad.make_dual(out, torch.arange(4.0))
            result = form(f, x, out)
            return [part if part is None else part.detach().clone() for part in forward_ad.unpack_dual(result)]

    refused = form is into or (form is into_itself and which != "out")
    text = "Trying to use forward AD with rsqrt_out that does not support it because it is an out= function" if refused else ""
    same(case, tuple, NotImplementedError if refused else None, text, warns=...)


@pytest.mark.spec("7.4")
def test_ordinary_tensors_at_a_dual_level():
    for form in FORMS:

        def case(f, x, out, form=form):
            with forward_ad.dual_level():
                return form(f, x, out)

        same(case, lambda: (fours(4), torch.zeros(4)))


@pytest.mark.spec("7.7")
@pytest.mark.parametrize("dtype", FLOATS, ids=id_of)
def test_autocast_on_the_cpu(dtype):
    for form in FORMS:

        def case(f, x, out, form=form):
            with torch.autocast("cpu", torch.bfloat16):
                return form(f, x, out)

        same(case, lambda: (fours(4, dtype=dtype), torch.zeros(4, dtype=dtype)))


@pytest.mark.spec("7.7", "7.1")
def test_named_tensors():
    if RELEASE >= (2, 15):
        with pytest.raises(TypeError, match="names"):
            torch.ones(2, names=("a",))
        return

    def case(f):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            x = torch.full((2, 3), 4.0, names=("rows", "columns"))
        y, out = f.rsqrt(x), torch.zeros(2, 3)
        f.rsqrt(x, out=out)
        return y.names, out.names, f.rsqrt_(x).names, y.rename(None), x.rename(None)

    same(case, warns=...)


@pytest.mark.spec("7.1", "7.5")
def test_lazily_cloned_tensors():
    """Reading one does not copy it; writing does, and leaves the other alone."""

    def lazy_clone():
        x = fours(4)
        return torch._lazy_clone(x), x

    same(fresh, lazy_clone)
    same(in_place, lazy_clone)
    same(into_itself, lazy_clone)
    same(into, lambda: (lazy_clone()[0], torch.zeros(4)))

    def into_lazy_clone():
        held = torch.zeros(4)
        return fours(4), torch._lazy_clone(held), held

    same(lambda f, x, out, held: f.rsqrt(x, out=out), into_lazy_clone)
    same(lambda f, x, out, held: f.rsqrt(x, out=held), into_lazy_clone)
    for write in (lambda clone: gorsqrt.rsqrt_(clone), lambda clone: gorsqrt.rsqrt(torch.ones(4), out=clone)):
        clone, x = lazy_clone()
        write(clone)
        assert torch.equal(x, fours(4))


@pytest.mark.spec("7.1")
def test_tensors_without_memory():
    for form in FORMS:
        same(form, lambda: (torch.empty(0), torch.empty(0)))
        same(form, lambda: (torch.empty(2, 0, 3).transpose(0, 2), torch.empty(3, 0, 2)))
    x = fours(4)[4:]
    assert gorsqrt.rsqrt_(x) is x


# 7.9: what torch does not compute.

STRANGE = {  # and the release that brought it
    "complex32": (2, 0), "float8_e4m3fn": (2, 1), "float8_e5m2": (2, 1), "float8_e4m3fnuz": (2, 2), "float8_e5m2fnuz": (2, 2),
    "float8_e8m0fnu": (2, 7), "float4_e2m1fn_x2": (2, 8), "bits8": (2, 0), "bits16": (2, 0), "bits1x8": (2, 0),
    "bits2x4": (2, 0), "bits4x2": (2, 0),
    **{f"uint{n}": (2, 3) for n in range(1, 8)}, **{f"int{n}": (2, 6) for n in range(1, 8)},
}  # fmt: skip


@pytest.mark.spec("7.9", "2.7", "2.4")
@pytest.mark.parametrize("name", STRANGE)
def test_dtypes_that_torch_does_not_compute(name):
    """torch.int1 to int7 look like plain int8 to DLPack."""
    if STRANGE[name] > RELEASE:
        assert not hasattr(torch, name)
        return

    def strange(n=64):
        return torch.tensor([1, 0] * (n // 2), dtype=torch.uint8).view(getattr(torch, name))

    error = NotImplementedError if RELEASE >= (2, 10) else RuntimeError
    for form in (fresh, in_place, into_itself):
        same(form, lambda: (strange(),), error, "not implemented for", warns=...)
    like = torch.complex64 if name == "complex32" else torch.float32
    same(into, lambda: (strange(), torch.zeros(strange().shape, dtype=like)), error, "not implemented for", warns=...)
    same(into, lambda: (fours(*strange().shape), strange()), ...)
    same(fresh, lambda: (strange(0),), ..., warns=...)


def dense():
    return torch.eye(4) * 4


UNUSUAL = {
    "sparse_coo": lambda: dense().to_sparse(),
    "sparse_csr": lambda: dense().to_sparse_csr(),
    "sparse_csc": lambda: dense().to_sparse_csc(),
    "sparse_bsr": lambda: dense().to_sparse_bsr((2, 2)),
    "sparse_bsc": lambda: dense().to_sparse_bsc((2, 2)),
    "mkldnn": lambda: dense().to_mkldnn(),
    "quantized": lambda: torch.quantize_per_tensor(dense(), 0.5, 10, torch.quint8),
    "quantized in channels": lambda: torch.quantize_per_channel(dense(), torch.ones(4), torch.zeros(4), 0, torch.qint8),
    "nested": lambda: torch.nested.nested_tensor([fours(2), fours(3)], layout=torch.strided),
}


@pytest.mark.spec("7.9")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", UNUSUAL)
def test_layouts_that_torch_does_not_compute(name, form):
    same(form, lambda: (UNUSUAL[name](), dense()), ..., warns=...)
    same(into, lambda: (dense(), UNUSUAL[name]()), ..., warns=...)
    same(form, lambda: (UNUSUAL[name](), UNUSUAL[name]()), ..., warns=...)


@pytest.mark.spec("7.7", "7.2")
def test_func_levels():
    def case(f):
        x = fours(4)
        return (
            torch.func.vmap(f.rsqrt)(x.reshape(2, 2)),
            torch.func.grad(lambda t: f.rsqrt(t).sum())(x),
            torch.func.jvp(f.rsqrt, (x,), (torch.arange(4.0),)),
            torch.func.functionalize(f.rsqrt)(x),
            torch.func.functionalize(lambda t: f.rsqrt_(t.clone()))(x),
            torch.func.vmap(lambda t: f.rsqrt_(t.clone()))(x.reshape(2, 2)),
            torch.func.vmap(lambda t: f.rsqrt(x) + t)(x.reshape(2, 2).T.sum(1)),
        )

    same(case)

    def written_under_vmap(f):
        x = fours(4)
        return torch.func.vmap(lambda t: f.rsqrt_(x) + t)(torch.ones(2)), x

    same(written_under_vmap)


@pytest.mark.spec("7.7")
def test_tracing():
    """What is traced computes again; nothing is baked in."""

    def by_jit(f):
        traced = torch.jit.trace(lambda x: f.rsqrt(x) + 1, torch.ones(4))
        in_place = torch.jit.trace(lambda x: f.rsqrt_(x * 1), torch.ones(4))
        out = torch.jit.trace(lambda x: f.rsqrt(x, out=torch.zeros(4)), torch.ones(4))
        return traced(fours(4)), in_place(fours(4)), out(fours(4))

    def by_fx(f):
        traced = make_fx(lambda x: f.rsqrt(x) + 1)(torch.ones(4))
        in_place = make_fx(lambda x: f.rsqrt_(x * 1))(torch.ones(4))
        return traced(fours(4)), in_place(fours(4))

    same(by_jit, warns=...)
    same(by_fx)


# The checks before the fast door: each of these goes wrong, or crashes, where one alone is left
# out.


def guard_exact_type(f):
    return f.rsqrt(fours(4).as_subclass(Plain))


def guard_requires_grad(f):
    x = leaf()
    f.rsqrt(x).sum().backward()
    return x.grad


def guard_requires_grad_of_out(f):
    return f.rsqrt(fours(4), out=torch.zeros(4, requires_grad=True))


def guard_function_mode(f):
    class Answering(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            return "answered"

    x = fours(4)
    with Answering():
        return f.rsqrt(x), f.rsqrt_(x), f.rsqrt(x, out=x), x


def guard_dispatch_mode(f):
    class Answering(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            return torch.zeros(2) if "rsqrt" in str(func) else func(*args, **(kwargs or {}))

    x = fours(4)
    with Answering():
        return f.rsqrt(x)


def guard_functorch_level(f):
    return torch.func.functionalize(lambda x: f.rsqrt(x * 1))(fours(4)), torch.func.vmap(f.rsqrt)(fours(4))


def guard_forward_ad_level(f):
    with forward_ad.dual_level():
        dual = f.rsqrt(forward_ad.make_dual(fours(4), torch.ones(4)))
        return forward_ad.unpack_dual(dual).tangent.clone()


def guard_jit_tracing(f):
    return torch.jit.trace(f.rsqrt, torch.ones(4), check_trace=False)(fours(4))


def guard_conj_bit(f):
    return f.rsqrt(torch.tensor([3 + 4j]).conj()).imag.sign()


def guard_neg_bit(f):
    x = torch._neg_view(fours(4) * -1)
    return f.rsqrt(x), f.rsqrt_(x)


def guard_null_data(f):
    return f.rsqrt(torch._efficientzerotensor((4,)))


def guard_inference_tensor(f):
    f.rsqrt_(in_inference_mode(lambda: fours(4)))


def guard_inference_out(f):
    f.rsqrt(fours(4), out=in_inference_mode(lambda: fours(4)))


def guard_version(f):
    y = leaf().exp()
    f.rsqrt_(y.detach())
    y.sum().backward()


def guard_lazy_clone(f):
    x = fours(4)
    f.rsqrt_(torch._lazy_clone(x))
    return x


def guard_layout(f):
    return f.rsqrt(dense().to_sparse_csr())


def guard_dtype(f):
    return f.rsqrt(torch.zeros(4, dtype=torch.uint8).view(torch.int4 if RELEASE >= (2, 6) else torch.bits8))


def guard_device(f):
    return f.rsqrt(torch.ones(3, device="meta"))


def guard_stale_view(f):
    view, base = after_its_base_got_gradients(lambda base: base[:2])
    return f.rsqrt(view), base


def guard_inference_result(f):
    with torch.inference_mode():
        return f.rsqrt(fours(4))


GUARDS = {name.removeprefix("guard_"): case for name, case in list(globals().items()) if name.startswith("guard_")}


@pytest.mark.spec("7.1", "7.7")
@pytest.mark.parametrize("guard", GUARDS)
def test_guard_of_the_fast_door(guard):
    same(GUARDS[guard], error=..., warns=...)


# 8: threads.


@pytest.mark.spec("8.1", "7.1")
def test_threads_share_a_tensor_and_write_their_own():
    x = torch.rand(100_003, generator=torch.Generator().manual_seed(2)) + 0.1
    want, wrong = torch.rsqrt(x), []

    def work(seed):
        out = torch.zeros_like(x)
        for i in range(20):
            n = 1 + (seed * 7919 + i * 104729) % len(x)
            mine = x[:n].clone()
            if not (
                torch.equal(gorsqrt.rsqrt(x[:n]), want[:n])
                and torch.equal(gorsqrt.rsqrt_(mine), want[:n])
                and torch.equal(gorsqrt.rsqrt(x, out=out), want)
            ):
                wrong.append((seed, n))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.spec("7.2", "8.1")
def test_gradients_from_several_threads():
    """The modes and the gradient switch are a thread's own."""
    grads, switched = [], threading.Event()

    def without():
        with torch.no_grad():
            assert not gorsqrt.rsqrt(leaf()).requires_grad
            switched.set()
            assert torch.equal(gorsqrt.rsqrt_(leaf()), torch.rsqrt(fours(4)))

    def recorded():
        switched.wait(10)
        x = leaf()
        gorsqrt.rsqrt(x).sum().backward()
        grads.append(x.grad)

    threads = [threading.Thread(target=target) for target in (without, recorded, recorded)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    x = leaf()
    torch.rsqrt(x).sum().backward()
    assert len(grads) == 2
    assert all(torch.equal(grad, x.grad) for grad in grads)


def test_show_config_says_how_tensors_are_reached():
    code = """
import gorsqrt
from gorsqrt import _gorsqrt
before = gorsqrt.show_config("dicts")["torch"]
import torch
after = gorsqrt.show_config("dicts")["torch"]
print(before, after, _gorsqrt.torch_is_plain(torch.ones(1)), sep=", ")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stderr == ""
    assert done.stdout in ("no torch yet, fast, True\n", "no torch yet, by ops, False\n")
    if tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 14):
        assert "fast" in done.stdout
