"""torch's own test data and checks for rsqrt (OpInfo), run against gorsqrt on the CPU.

These are the checks of torch's test_ops and test_unary_ufuncs: sample, reference, small, large and
extremal inputs in every dtype, out= in all its cases, views, variants, tracing and fake tensors.
"""

import re
import warnings

import numpy as np
import pytest
import torch
from torch.testing import make_tensor
from torch.testing._internal import optests
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.opinfo import core
from torch_oracle import COMPLEX, FLOATS, INTEGERS, READS_LAZILY, described, reference, same_bits

import gorsqrt

(OP,) = (op for op in op_db if op.name == "rsqrt")
EXTRA = [torch.uint16, torch.uint32, torch.uint64]  # computed by torch, but not in its table


def id_of(dtype):
    return str(dtype).removeprefix("torch.")


DTYPES = pytest.mark.parametrize("dtype", sorted(OP.dtypes, key=str), ids=id_of)
INEXACT = pytest.mark.parametrize("dtype", FLOATS + COMPLEX, ids=id_of)


@pytest.fixture(autouse=True)
def one_thread():
    """torch deals long tensors out to its threads, in pieces that need not be whole vectors."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def wanted(x):
    """The values of section 6, in a contiguous tensor."""
    x = x.detach().resolve_conj().resolve_neg().contiguous()
    return reference(x.to(torch.float32) if x.dtype in INTEGERS else x)


def samples(dtype, requires_grad=False):
    yield from OP.sample_inputs("cpu", dtype, requires_grad=requires_grad)


def references(dtype):
    yield from OP.reference_inputs("cpu", dtype, requires_grad=False)
    yield from core.generate_elementwise_unary_tensors(OP, device="cpu", dtype=dtype, requires_grad=False)
    if dtype is not torch.bool:
        yield from core.generate_elementwise_unary_small_value_tensors(OP, device="cpu", dtype=dtype)
    if dtype not in (torch.bool, torch.uint8, torch.int8):
        yield from core.generate_elementwise_unary_large_value_tensors(OP, device="cpu", dtype=dtype)
    if dtype in FLOATS + COMPLEX:
        yield from core.generate_elementwise_unary_extremal_value_tensors(OP, device="cpu", dtype=dtype)


def test_the_table_is_known():
    """The properties that torch gives rsqrt; its error inputs are only those of all operators."""
    assert set(OP.dtypes) == {*FLOATS, *COMPLEX, *INTEGERS} - set(EXTRA)
    assert OP.supports_out
    assert OP.supports_forward_ad
    assert OP.supports_fwgrad_bwgrad
    assert OP.promotes_int_to_float
    assert OP.error_inputs_func is None
    assert not OP.supports_sparse


@pytest.mark.spec("7.1", "2.1", "2.2", "4.1", "6.1", "6.8")
@DTYPES
def test_reference_inputs(dtype):
    """Values by the contract, the rest as torch; and numpy's formula as a third."""
    count = 0
    for sample in [*samples(dtype), *references(dtype)]:
        x = sample.input
        ours, theirs = gorsqrt.rsqrt(x), torch.rsqrt(x)
        facts = [{**described(t), "memory": None} for t in (ours, theirs)]
        assert facts[0] == facts[1]
        assert same_bits(ours.detach(), wanted(x))
        if dtype in (torch.float32, torch.float64):
            with np.errstate(all="ignore"):
                np.testing.assert_array_equal(ours.detach().numpy(), OP.ref(x.detach().numpy()))
        count += 1
    assert count > 40 or dtype is torch.bool


@pytest.mark.spec("7.1", "2.2", "4.1")
@pytest.mark.parametrize("dtype", EXTRA, ids=id_of)
def test_dtypes_beyond_the_table(dtype):
    for shape in ((), (1,), (0, 3), (7, 5), (1026,)):
        x = make_tensor(shape, dtype=torch.int64, device="cpu", low=0, high=60_000).to(dtype)
        assert described(gorsqrt.rsqrt(x)) == described(torch.rsqrt(x))


@pytest.mark.spec("7.1", "3.1", "3.2", "2.3", "2.4")
@DTYPES
def test_out_warning_and_out(dtype):
    """torch's test_out and test_out_warning: right, strided, other shapes, empty, other dtypes."""
    for sample in samples(dtype):
        x = sample.input
        want = wanted(x).reshape(x.shape)
        extremal = torch.full_like(torch.rsqrt(x), torch.nan)
        assert gorsqrt.rsqrt(x, out=extremal) is extremal
        assert same_bits(extremal, want)

        strided = make_tensor(x.shape, dtype=want.dtype, device="cpu", noncontiguous=True)
        stride, pointer = strided.stride(), strided.data_ptr()
        assert gorsqrt.rsqrt(x, out=strided) is strided
        assert same_bits(strided, want)
        assert (strided.stride(), strided.data_ptr()) == (stride, pointer)

        other = torch.empty((*x.shape, 1, 1) if x.numel() != 1 else (3, 2), dtype=want.dtype)
        warned = (
            pytest.warns(UserWarning, match="An output with one or more elements")
            if other.numel()
            else warnings.catch_warnings()
        )
        with warned:
            assert gorsqrt.rsqrt(x, out=other) is other
        assert other.shape == x.shape
        assert same_bits(other, want)

        empty = torch.empty(0, dtype=want.dtype)
        assert gorsqrt.rsqrt(x, out=empty) is empty
        assert empty.shape == x.shape
        assert same_bits(empty, want)

        for to in {*FLOATS, *COMPLEX, torch.int64, torch.bool}:
            out = torch.zeros(x.shape, dtype=to)
            if torch.can_cast(want.dtype, to):
                assert torch.equal(gorsqrt.rsqrt(x, out=out).nan_to_num(7), want.to(to).nan_to_num(7))
            else:
                with pytest.raises(RuntimeError, match="can't be cast to the desired output type"):
                    gorsqrt.rsqrt(x, out=out)
                assert (out == 0).all()


@pytest.mark.spec("7.1", "2.5", "1.2", "7.5")
@DTYPES
def test_variants_agree(dtype):
    """The function, in place, and out= itself."""
    for sample in samples(dtype):
        x = sample.input
        if dtype in INTEGERS:
            with pytest.raises(RuntimeError, match="can't be cast to the desired output type"):
                gorsqrt.rsqrt_(x.clone())
            continue
        want, y, z = wanted(x).reshape(x.shape), x.clone(), x.clone()
        version = y._version
        assert gorsqrt.rsqrt_(y) is y
        assert gorsqrt.rsqrt(z, out=z) is z
        assert same_bits(y, want)
        assert same_bits(z, want)
        assert y._version == version + 1


@pytest.mark.spec("7.2", "7.3")
@INEXACT
def test_gradients_of_the_variants(dtype):
    """Gradients of float32 and float64 bit for bit. Other dtypes, whose results differ, are
    close."""
    for sample in samples(dtype, requires_grad=True):
        grads = []
        for module in (torch, gorsqrt):
            for form in (lambda f, x: f.rsqrt(x), lambda f, x: f.rsqrt_(x.clone())):
                x = sample.input.detach().clone().requires_grad_()
                y = form(module, x)
                y.backward(torch.ones_like(y) * 2)
                grads.append(x.grad)
        for grad in grads[1:]:
            if dtype in (torch.float32, torch.float64):
                assert same_bits(grad, grads[0])
            torch.testing.assert_close(grad, grads[0], rtol=8 * torch.finfo(dtype).eps, atol=0)


@pytest.mark.spec("7.7")
@pytest.mark.parametrize("dtype", COMPLEX, ids=id_of)
@pytest.mark.parametrize("view", [torch.conj, torch._neg_view, lambda x: torch._neg_view(torch.conj(x))])
def test_conj_and_neg_views(dtype, view):
    for sample in [*samples(dtype), *OP.conjugate_sample_inputs("cpu", dtype)]:
        x = sample.input.detach()
        want = wanted(view(x)).reshape(x.shape)
        ours, theirs = gorsqrt.rsqrt(view(x)), torch.rsqrt(view(x))
        assert (ours.is_conj(), ours.is_neg(), ours.stride()) == (theirs.is_conj(), theirs.is_neg(), theirs.stride())
        assert same_bits(ours.resolve_conj().resolve_neg(), want)
        out = view(torch.zeros(x.shape, dtype=dtype))
        assert gorsqrt.rsqrt(view(x), out=out) is out
        assert same_bits(out.resolve_conj().resolve_neg(), want)
        y = view(x.clone())
        assert gorsqrt.rsqrt_(y) is y
        assert same_bits(y.resolve_conj().resolve_neg(), want)


@pytest.mark.spec("7.1")
@DTYPES
def test_lazily_cloned_inputs_stay_so(dtype):
    """torch's test_cow_input: reading does not copy, for input and saved result alike."""
    for sample in samples(dtype, requires_grad=dtype in FLOATS + COMPLEX):
        x = torch._lazy_clone(sample.input.detach()).requires_grad_(sample.input.requires_grad)
        before = x.detach().clone()
        y = gorsqrt.rsqrt(x)
        assert torch._C._is_cow_tensor(x) or not READS_LAZILY
        if y.requires_grad:
            grad = torch._lazy_clone(torch.ones_like(y))
            y.backward(grad)
            assert torch._C._is_cow_tensor(grad)
        assert torch.equal(x.detach().nan_to_num(7), before.nan_to_num(7))


@pytest.mark.spec("6.8", "7.1", "4.1")
@DTYPES
def test_every_way_to_lay_the_same_elements(dtype):
    """test_unary_ufuncs' pairs: contiguous against transposed, size-1, expanded, one slice at a
    time."""
    low = None if dtype is torch.bool else 1
    for shape in ((5, 7), (1024,), (3, 1, 4), (17, 2, 33)):
        x = make_tensor(shape, dtype=dtype, device="cpu", low=low)
        want = gorsqrt.rsqrt(x)
        every_other = torch.empty((*shape, 2), dtype=dtype)[..., 0].copy_(x)
        for same in (every_other, x.mT.contiguous().mT if x.ndim > 1 else x, x[None].transpose(0, -1).transpose(0, -1)[0]):
            assert same_bits(gorsqrt.rsqrt(same), want)
        expanded = x.expand(3, *shape)
        assert same_bits(gorsqrt.rsqrt(expanded), want.expand(3, *shape))
        for i in range(shape[0]):
            assert same_bits(gorsqrt.rsqrt(x[i]), want[i])
        if x.ndim > 1:
            assert same_bits(gorsqrt.rsqrt(x.mT), want.mT)


@pytest.mark.spec("7.7", "7.8")
@INEXACT
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch's, of its own making
def test_checks_of_tracing_and_fake_tensors(dtype):
    """torch's own checks: make_fx in three modes, AOTAutograd with gradients, fake against real."""
    for sample in samples(dtype, requires_grad=True):
        args = (sample.input,)
        for mode in ("real", "fake", "symbolic"):
            optests.make_fx_check(gorsqrt.rsqrt, args, {}, mode)
        optests.fake_check(gorsqrt.rsqrt, args, {})
        optests.fake_check(lambda x: gorsqrt.rsqrt_(x.clone()), args, {})
        for dynamic in (False, True):
            optests.aot_autograd_check(gorsqrt.rsqrt, args, {}, dynamic)


@pytest.mark.spec("7.9")
def test_sparse_and_other_error_inputs():
    """test_sparse and test_error of an operator without sparse support: torch's error in each
    layout."""
    x = torch.eye(4)
    for layout in (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sparse = x.to_sparse(layout=layout, blocksize=(2, 2) if layout in (torch.sparse_bsr, torch.sparse_bsc) else None)
        for call in ("rsqrt", "rsqrt_"):
            with pytest.raises((RuntimeError, NotImplementedError)) as theirs:
                getattr(torch, call)(sparse)
            with pytest.raises(type(theirs.value), match=re.escape(str(theirs.value))):
                getattr(gorsqrt, call)(sparse)
