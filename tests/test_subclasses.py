"""Contract 9.7, subclasses of numpy.ndarray: a class with an __array_ufunc__ of its own is refused,
the mask of a masked array goes along."""

import re

import astropy.units
import numpy as np
import pytest
import unyt
from astropy.utils.masked import Masked

import gorsqrt

X = np.array([[1.0, 4.0], [16.0, 64.0]])
Y = 1 / np.sqrt(X)


class Own(np.ndarray):
    def __array_ufunc__(self, *args, **kwargs):
        raise AssertionError("not asked")


class Inherits(Own):
    pass


class Refuses(np.ndarray):
    __array_ufunc__ = None


class Scalar(np.float64):
    def __array_ufunc__(self, *args, **kwargs):
        raise AssertionError("not asked")


REFUSED = [
    lambda x: x * astropy.units.m, Masked, lambda x: unyt.unyt_array(x, "m"), lambda x: unyt.unyt_quantity(x[0, 0], "s"),
    lambda x: x.view(Own), lambda x: x.view(Inherits), lambda x: x.view(Refuses), lambda x: x.T.view(Own)[::-1],
]  # fmt: skip


@pytest.mark.spec("1.3", "9.7")
@pytest.mark.parametrize("make", REFUSED)
def test_refused(make):
    """In one sentence, which says what to do; and that works."""
    x, out = make(X.copy()), np.full(X.shape, 77.0)
    before = np.asarray(x).copy()
    why = (
        "__array_ufunc__ is None: it takes part in no ufunc" if type(x) is Refuses else "own __array_ufunc__ would not be asked"
    )
    text = f" is of {type(x)}, whose {why}; pass the plain values, np.asarray(x)"
    for argument, call in (
        ("rsqrt(): argument 'input'", lambda: gorsqrt.rsqrt(x)),
        ("rsqrt_(): argument 'input'", lambda: gorsqrt.rsqrt_(x)),
        ("rsqrt(): argument 'input'", lambda: gorsqrt.rsqrt(x, out=out)),
        ("rsqrt(): argument 'out'", lambda: gorsqrt.rsqrt(np.ones(x.shape), out=x)),
        ("rsqrt(): argument 'input'", lambda: gorsqrt.rsqrt(input=x, out=x)),
        ("rsqrt(): argument 'input'", lambda: gorsqrt._gorsqrt.torch_fresh(x)),
    ):
        with pytest.raises(TypeError, match=re.escape(argument + text)):
            call()
    np.testing.assert_array_equal(np.asarray(x), before)
    assert (out == 77).all()
    np.testing.assert_array_equal(gorsqrt.rsqrt(np.asarray(x)), 1 / np.sqrt(before))
    gorsqrt.rsqrt_(np.asarray(x))
    np.testing.assert_array_equal(np.asarray(x), 1 / np.sqrt(before))


@pytest.mark.spec("9.7")
def test_scalars():
    with pytest.raises(TypeError, match="whose own __array_ufunc__ would not be asked"):
        gorsqrt.rsqrt(Scalar(4))
    assert gorsqrt.rsqrt(type("Plain", (np.float64,), {})(4)) == 0.5


@pytest.mark.spec("9.4", "9.7")
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, RecursionError, ZeroDivisionError])
def test_the_question_may_raise(error):
    class Meta(type):
        def __getattribute__(cls, name):
            if name == "__array_ufunc__":
                raise error("asked")
            return super().__getattribute__(name)

    class Array(np.ndarray, metaclass=Meta):
        pass

    x = X.view(Array)
    for call in (lambda: gorsqrt.rsqrt(x), lambda: gorsqrt.rsqrt_(x), lambda: gorsqrt.rsqrt(X, out=x)):
        with pytest.raises(error, match="asked"):
            call()


@pytest.mark.spec("1.3", "9.7")
def test_served(tmp_path):
    """What numpy's functions would do nothing of its own for."""

    class Plain(np.ndarray):
        __array_priority__ = 10

    class Same(Plain):
        __array_ufunc__ = np.ndarray.__array_ufunc__

    mapped = np.memmap(tmp_path / "x", np.float64, "w+", shape=X.shape)
    mapped[:] = X
    for x in (X.copy().view(Plain), X.copy().view(Same), mapped, np.rec.array(X.copy()), X.copy().view(np.ma.MaskedArray)):
        result = gorsqrt.rsqrt(x)
        assert type(result) is type(x)
        np.testing.assert_array_equal(np.asarray(result), Y)
        assert gorsqrt.rsqrt(X, out=x) is x
        np.testing.assert_array_equal(np.asarray(x), Y)
        x[:] = X


MASKS = [np.ma.nomask, False, True, [[True, False], [False, False]], [[False, True], [True, False]]]


def masked(x, mask, hard=False):
    return np.ma.array(x.copy(), mask=mask, hard_mask=hard)


def states(array):
    """All that is masked, and whether that can be told from what shares it."""
    return np.ma.getmaskarray(array).tolist(), array.mask is np.ma.nomask, array._sharedmask, array.hardmask


@pytest.mark.spec("1.3", "9.7")
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize(("of_input", "of_out"), [(x, out) for x in [None, *MASKS] for out in MASKS])
def test_masked_out(of_input, of_out, hard):
    """As np.sqrt(x, out=out): out's mask becomes the input's. None: an input that is not masked."""
    x = X.copy() if of_input is None else masked(X, of_input)
    out, numpys = masked(np.zeros_like(X), of_out, hard), masked(np.zeros_like(X), of_out, hard)
    assert np.sqrt(x, out=numpys) is numpys
    assert gorsqrt.rsqrt(x, out=out) is out
    assert states(out) == states(numpys)
    np.testing.assert_array_equal(out.data, Y)
    np.testing.assert_array_equal(np.asarray(x), X)
    out[0, 0] = np.ma.masked
    assert states(out)[0][0][0]
    assert of_input is None or states(x)[0] == states(masked(X, of_input))[0], "out's mask is its own"


@pytest.mark.spec("1.3", "9.7")
@pytest.mark.parametrize("mask", MASKS)
def test_masked_in_place_and_into_plain(mask):
    x, numpys, out = masked(X, mask), masked(X, mask), np.zeros_like(X)
    assert gorsqrt.rsqrt_(x) is x
    np.sqrt(numpys, out=numpys)
    assert states(x) == states(numpys)
    np.testing.assert_array_equal(x.data, Y)
    assert gorsqrt.rsqrt(masked(X, mask), out=out) is out
    assert type(np.sqrt(masked(X, mask), out=np.zeros_like(X))) is type(out)
    np.testing.assert_array_equal(out, Y)


@pytest.mark.spec("1.3", "9.7")
def test_masked_out_of_other_inputs():
    class Subclass(np.ma.MaskedArray):
        pass

    for x in (memoryview(X), X.astype(np.float32).T, masked(X, [[True, False], [False, True]])[::-1]):
        for kind in (np.ma.MaskedArray, Subclass):
            out = np.zeros(X.shape).view(kind)
            out[0, 1] = np.ma.masked
            assert gorsqrt.rsqrt(x, out=out) is out
            assert out.mask.tolist() == np.ma.getmaskarray(x if isinstance(x, np.ma.MaskedArray) else X).tolist()
    out = masked(np.zeros_like(X), [[True, False], [False, False]])
    with pytest.raises(RuntimeError, match="does not match the required output shape"):
        gorsqrt.rsqrt(np.ones(3), out=out)
    assert out.mask.tolist() == [[True, False], [False, False]], "a call that fails leaves the mask"
    zero_d, numpys = masked(np.array(0.0), False), masked(np.array(0.0), False)
    gorsqrt.rsqrt(masked(np.array(4.0), True), out=zero_d)
    np.negative(masked(np.array(4.0), True), out=numpys)
    assert zero_d.data == 0.5
    assert zero_d.mask is np.True_ or zero_d.mask == True  # noqa: E712
    with pytest.raises(ValueError, match="read-only"):
        gorsqrt.rsqrt_(np.ma.masked)
