"""torch as the judge: a case is put to torch and to gorsqrt, and both must do and say the same.

A case makes its own arguments and calls one of the two. The results are compared, the arguments
after the call, the exceptions' types and texts, and the warnings.
"""

import warnings
from typing import NamedTuple

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.testing._internal.two_tensor import TwoTensor

import gorsqrt

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
COMPLEX = [torch.complex64, torch.complex128]
INTEGERS = [torch.bool, torch.int8, torch.int16, torch.int32, torch.int64]
INTEGERS += [torch.uint8, torch.uint16, torch.uint32, torch.uint64]
RELEASE = tuple(int(part) for part in torch.__version__.split(".")[:2])
READS_LAZILY = RELEASE >= (2, 10)  # has a function for C to read a lazily cloned tensor without copying it


def memory(t):
    """Every byte of the storage, also between and beside the elements.

    Zeros of complex tensors are without sign, in which gorsqrt is better (contract, 6.7).
    """
    every = torch.empty(0, dtype=torch.uint8).set_(t.untyped_storage())
    if t.dtype in COMPLEX:
        every = (every.view(t.dtype.to_real()) + 0.0).view(torch.uint8)
    return bytes(every.tolist())


def gradient_facts(t):
    try:
        return t.requires_grad, t.is_leaf, t._is_view()
    except RuntimeError as error:  # a stale view, of which torch will tell nothing
        return str(error)


def described(value):
    """Everything that a caller can see of a result or an argument."""
    if isinstance(value, (tuple, list)):
        return [described(item) for item in value]
    if isinstance(value, TwoTensor):
        return type(value), value.requires_grad, described([value.a, value.b])
    if isinstance(value, torch.masked.MaskedTensor):
        return type(value), value.requires_grad, described([value.get_data(), value.get_mask()])
    if not isinstance(value, torch.Tensor):
        return value
    with torch._C.DisableTorchFunctionSubclass(), torch.no_grad():
        facts = {"type": type(value), "dtype": value.dtype, "layout": value.layout, "device": value.device}
        facts["grad"] = gradient_facts(value)
        facts |= {"inference": value.is_inference(), "version": None if value.is_inference() else value._version}
        if value.is_nested:
            return facts | {"parts": described([part.detach().clone() for part in value.unbind()])}
        facts["shape"] = tuple(value.shape)
        if value.layout is not torch.strided:
            return facts | {"values": memory(value.detach().to_dense())}
        facts |= {"stride": value.stride(), "offset": value.storage_offset(), "conj": value.is_conj(), "neg": value.is_neg()}
        if value.device.type != "cpu" or isinstance(value, FakeTensor) or value._is_zerotensor():
            return facts
        storage = value.untyped_storage()
        facts |= {"resizable": storage.resizable(), "bytes": storage.nbytes()}
        facts["lazy"] = READS_LAZILY and torch._C._is_cow_tensor(value)
        return facts | {"shared": value.is_shared(), "memory": memory(value)}


class Seen(NamedTuple):
    result: object
    error: tuple
    arguments: list
    warned: list


def seen(module, case, arguments, action="always"):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        args = arguments()
    result, error = None, None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter(action)
        try:
            result = case(module, *args)
        except Exception as raised:
            error = type(raised), str(raised)
    itself = [i for i, arg in enumerate(args) if arg is result]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = f"argument {itself[0]}" if itself else described(result)
        return Seen(result, error, described(args), [(warning.category, str(warning.message)) for warning in caught])


def same(case, arguments=tuple, error=None, text="", warns="", action="always", untouched=True):
    """Put a case to torch and to gorsqrt: both must do the same.

    `error`, `text` and `warns` are torch's known answer, so that the case tests the intended point;
    ... stands for any answer. After an error gorsqrt has left the arguments as they were (contract,
    3.6), even if torch has not, unless `untouched` is false.
    """
    if warns is ...:
        seen(torch, case, arguments, action)  # what is said once in a process
    theirs = seen(torch, case, arguments, action)
    if error is not ...:
        assert (theirs.error[0] if theirs.error else None) is error, theirs
        assert error is None or text in theirs.error[1], theirs
    if warns is not ...:
        assert any(warns in said for _, said in theirs.warned) if warns and action == "always" else theirs.warned == [], theirs
    if theirs.error and error is not UserWarning and untouched:
        theirs = theirs._replace(arguments=seen(torch, lambda *_: None, arguments).arguments)
    assert seen(gorsqrt, case, arguments, action) == theirs


def reference(x):
    """The results for a contiguous tensor by the contract.

    float32 and float64 are as torch. 16-bit dtypes are as torch in whole vectors: each element is
    at the head of a block of its own. Complex ones are as of numpy arrays, which other tests prove.
    """
    if x.is_complex():
        return torch.from_numpy(np.asarray(gorsqrt.rsqrt(x.numpy())))
    if x.dtype in (torch.float16, torch.bfloat16):
        return torch.rsqrt(x.reshape(-1, 1).expand(-1, 32).contiguous())[:, 0].reshape(x.shape)
    return torch.rsqrt(x)


def same_bits(ours, want):
    """Bit for bit, but for the payload of 16-bit nans, which depends on torch's own path."""
    if ours.dtype in (torch.float16, torch.bfloat16):
        ours, want = (torch.where(t.isnan(), torch.full_like(t, torch.nan), t) for t in (ours, want))
    ours, want = (torch.view_as_real(t) if t.is_complex() else t for t in (ours, want))
    kind = {2: torch.int16, 4: torch.int32, 8: torch.int64}[ours.element_size()]
    return ours.shape == want.shape and torch.equal(ours.contiguous().view(kind), want.contiguous().view(kind))


def fresh(f, x, *_):
    return f.rsqrt(x)


def in_place(f, x, *_):
    return f.rsqrt_(x)


def into(f, x, out, *_):
    return f.rsqrt(x, out=out)


def into_itself(f, x, *_):
    return f.rsqrt(x, out=x)


FORMS = [fresh, in_place, into, into_itself]


def fours(*shape, dtype=torch.float32, requires_grad=False):
    """Powers of four, whose results are exact in every dtype."""
    values = [4.0 ** (i % 4) for i in range(int(np.prod(shape)))]
    return torch.tensor(values).reshape(shape).to(dtype).requires_grad_(requires_grad)
