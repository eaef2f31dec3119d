"""Contract 2 and 6.4: dtypes, the dtype of the computation, casts to out=, 16-bit values."""

import array
import ctypes
import re
import warnings

import ml_dtypes
import numpy as np
import pytest
import torch

import gorsqrt

BF16 = np.dtype(ml_dtypes.bfloat16)
REAL = [np.dtype(t) for t in ("float16", "float32", "float64")] + [BF16]
COMPLEX = [np.dtype(t) for t in ("complex64", "complex128")]
INTEGER = [np.dtype(t) for t in ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")]
UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


def ids(dtype):
    return dtype.name


def bits(x):
    """The bits of the elements, or of the components of complex ones."""
    x = np.ascontiguousarray(x)
    return x.view(UNSIGNED[x.dtype.itemsize // (2 if x.dtype.kind == "c" else 1)])


def tensor(x):
    """A copy as a torch tensor, bfloat16 through its bits."""
    if x.dtype == BF16:
        return torch.from_numpy(x.view(np.int16).copy()).view(torch.bfloat16)
    return torch.from_numpy(x.copy())


def from_tensor(t):
    return t.view(torch.int16).numpy().view(BF16) if t.dtype == torch.bfloat16 else t.numpy()


@pytest.fixture(autouse=True)
def quiet_numpy():
    """numpy warns when it casts a nan; gorsqrt's own silence is test_values' matter."""
    with np.errstate(all="ignore"):
        yield


@pytest.fixture
def default_dtype():
    """Sets gorsqrt's and torch's default together."""

    def both(dtype):
        gorsqrt.set_default_dtype(dtype)
        torch.set_default_dtype(getattr(torch, np.dtype(dtype).name))

    yield both
    both(np.float32)


# 6.4: float16 and bfloat16, all of them.


@pytest.mark.spec("2.1", "6.1", "6.4", "6.8")
@pytest.mark.parametrize("dtype", [np.dtype(np.float16), BF16], ids=ids)
def test_all_65536_values_are_correctly_rounded(tier, dtype):
    """float64's 1/√x rounded once more to 16 bits: no result is near a tie.

    The values are shuffled, so that every lane sees every value.
    """
    every = np.arange(1 << 16, dtype=np.uint16)
    x = every.view(dtype)
    exact = 1 / np.sqrt(x.astype(np.float64))
    want = bits(exact.astype(dtype))
    nan = np.isnan(x.astype(np.float64))
    quiet = 0x0200 if dtype == np.float16 else 0x0040
    want[nan] = every[nan] | quiet
    want[~nan & (x.astype(np.float64) < 0)] = 0xFE00 if dtype == np.float16 else 0xFFC0
    random = np.random.default_rng(1)
    for _ in range(8):
        order = random.permutation(1 << 16)
        np.testing.assert_array_equal(bits(gorsqrt.rsqrt(x[order])), want[order])
        cut = random.integers(0, 1 << 16)
        for part in (order[:cut], order[cut:]):  # other tails
            np.testing.assert_array_equal(bits(gorsqrt.rsqrt(x[part], out=np.full(len(part), 77, dtype))), want[part])
    np.testing.assert_array_equal(bits(gorsqrt.rsqrt(x[::-1])), want[::-1])


@pytest.mark.spec("6.4")
@pytest.mark.parametrize("dtype", [np.dtype(np.float16), BF16], ids=ids)
def test_16_bit_is_torchs_whole_vector_blocks(dtype):
    """Torch is the model on contiguous multiples of 32 items. The bits of its nans are left out."""
    x = np.arange(1 << 16, dtype=np.uint16).view(dtype)
    theirs = from_tensor(torch.rsqrt(tensor(x)))
    ours = gorsqrt.rsqrt(x)
    number = ~np.isnan(ours.astype(np.float64))
    np.testing.assert_array_equal(bits(ours)[number], bits(theirs)[number])


@pytest.mark.spec("6.9")
@pytest.mark.parametrize("n", range(1, 70))
def test_bfloat16_seventeen_thirty_seconds(n):
    """0.53125 → 1.375 at every length, as reported against peers."""
    assert (gorsqrt.rsqrt(np.full(n, 0.53125, BF16)) == np.full(n, 1.375, BF16)).all()


# 2.2: booleans and integers.


@pytest.mark.spec("2.2", "2.3")
@pytest.mark.parametrize("default", ["float16", BF16, np.float32, np.float64])
@pytest.mark.parametrize("dtype", INTEGER, ids=ids)
def test_integers_are_cast_to_the_default_dtype(tier, default_dtype, dtype, default):
    default_dtype(default)
    random = np.random.default_rng(2)
    x = random.integers(0, 1 << 64, 4000, dtype=np.uint64).view(np.int64)
    x >>= random.integers(0, 64, 4000)  # all magnitudes
    if dtype == np.int64:
        x[:4] = [2**24 + 1, 2**53 + 1, -1, 0]
    x = (x & 1).astype(bool) if dtype.kind == "b" else x.astype(dtype)
    ours = gorsqrt.rsqrt(x)
    assert ours.dtype == np.dtype(default)
    in_default = from_tensor(tensor(x).to(torch.get_default_dtype()))
    number = ~np.isnan(in_default.astype(np.float64))
    np.testing.assert_array_equal(bits(ours)[number], bits(gorsqrt.rsqrt(in_default))[number])
    np.testing.assert_array_equal(bits(gorsqrt.rsqrt(x[::-3])), bits(ours)[::-3])
    out = np.empty(4000)
    np.testing.assert_array_equal(gorsqrt.rsqrt(x, out=out), ours.astype(np.float64))  # 2.3: never out's dtype
    if np.dtype(default).itemsize >= 4:
        np.testing.assert_array_equal(ours, from_tensor(torch.rsqrt(tensor(x))))


@pytest.mark.spec("2.2")
def test_bool_bytes_other_than_one_are_true():
    assert (gorsqrt.rsqrt(np.array([0, 1, 2, 255], np.uint8).view(bool)) == [np.inf, 1, 1, 1]).all()


@pytest.mark.spec("2.2")
def test_int64_above_2_24():
    assert gorsqrt.rsqrt(np.array([2**24 + 1])) == gorsqrt.rsqrt(np.array([2**24], np.float32))


@pytest.mark.spec("1.3", "2.2")
def test_other_containers_of_integers(default_dtype):
    assert gorsqrt.rsqrt(array.array("i", [4, 16])) == array.array("f", [0.5, 0.25])
    assert gorsqrt.rsqrt(b"\x04\x10").tolist() == [0.5, 0.25]
    assert gorsqrt.rsqrt(memoryview((ctypes.c_uint16 * 2)(4, 16))).format == "f"
    assert type(gorsqrt.rsqrt(np.int8(4))) is np.float32
    assert type(gorsqrt.rsqrt(np.True_)) is np.float32
    default_dtype("float64")
    assert gorsqrt.rsqrt(array.array("q", [4, 16])) == array.array("d", [0.5, 0.25])
    default_dtype("float16")
    assert gorsqrt.rsqrt(array.array("b", [4])).format == "e"  # array.array has no float16
    default_dtype(BF16)
    with pytest.raises(TypeError, match="a memoryview can't have dtype bfloat16"):
        gorsqrt.rsqrt(b"\x04")
    assert gorsqrt.rsqrt(np.int8(4)).dtype == BF16


@pytest.mark.spec("2.2")
def test_default_dtype():
    assert gorsqrt.get_default_dtype() == "float32"
    try:
        for dtype in (
            "float64",
            np.float16,
            np.dtype("f8"),
            ml_dtypes.bfloat16,
            BF16,
            torch.bfloat16,
            torch.float32,
            "float32",
        ):
            assert gorsqrt.set_default_dtype(dtype) is None
            assert gorsqrt.get_default_dtype() in str(dtype)
    finally:
        gorsqrt.set_default_dtype("float32")
    for bad in (np.int32, "int64", np.dtype(bool), torch.complex64, "complex128", np.uint8):
        with pytest.raises(TypeError) as caught:
            gorsqrt.set_default_dtype(bad)
        assert str(caught.value) == "only floating-point types are supported as the default type"

    class float32:  # noqa: N801
        name = "float32"

    strange = ("\ud800", "float64\0", np.dtype(">f8"), float32, float32())
    for bad in (5, None, [np.float32], "float", "single", "float128", object(), float, *strange):
        with pytest.raises(TypeError) as caught:
            gorsqrt.set_default_dtype(bad)
        assert str(caught.value) == "invalid dtype object: only floating-point types are supported as the default type"
    with pytest.raises(TypeError, match="invalid dtype object: only floating-point types are supported as the default type"):
        torch.set_default_dtype(5)
    with pytest.raises(TypeError, match=r"^only floating-point types are supported as the default type$"):
        torch.set_default_dtype(torch.int32)
    assert gorsqrt.get_default_dtype() == "float32"


# 2.3 to 2.6: casts to out.


def samples(dtype):
    random = np.random.default_rng(3)
    x = np.concatenate([random.random(100), random.random(100) * 1e-7, [0, 1, np.inf, 4, 1e-300, 3e38, 1e300]])
    if dtype.kind == "c":
        x = x + 1j * np.concatenate([random.standard_normal(200), [0, 0, 0, -0.0, 0, 0, 0]])
    if dtype.kind in "iub":
        return (x * 100).clip(0, 100).astype(dtype)
    return x.astype(dtype)


@pytest.mark.spec("2.3", "2.4", "3.6")
@pytest.mark.parametrize("to", REAL + COMPLEX + INTEGER, ids=ids)
@pytest.mark.parametrize("dtype", REAL + COMPLEX + INTEGER, ids=ids)
def test_casts_to_out(dtype, to):
    """The result in its own dtype, cast as torch casts; or torch's refusal, and nothing written."""
    x = samples(dtype)
    result = gorsqrt.rsqrt(x)
    out = np.full(len(x), 1, to)
    theirs = tensor(out)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, of a deprecated cast
            torch.rsqrt(tensor(x), out=theirs)
    except RuntimeError as refusal:
        theirs = str(refusal)
    if isinstance(theirs, str):
        with pytest.raises(RuntimeError) as caught:
            gorsqrt.rsqrt(x, out=out)
        assert str(caught.value) == theirs
        assert (out == 1).all()
        return
    assert gorsqrt.rsqrt(x, out=out) is out
    want = from_tensor(tensor(result).to(theirs.dtype))
    np.testing.assert_array_equal(out, want)


TORCH_NAMES = ["Bool", "Char", "Byte", "Short", "UInt16", "Int", "UInt32", "Long", "UInt64"]


@pytest.mark.spec("2.5")
@pytest.mark.parametrize("dtype", INTEGER, ids=ids)
@pytest.mark.parametrize("n", [3, 0])
def test_in_place_on_integers(dtype, n):
    """Also if the array is empty."""
    x = np.ones(n, dtype)
    name = TORCH_NAMES[INTEGER.index(dtype)]
    with pytest.raises(RuntimeError) as caught:
        gorsqrt.rsqrt_(x)
    assert str(caught.value) == f"result type Float can't be cast to the desired output type {name}"
    with pytest.raises(RuntimeError, match=re.escape(str(caught.value))):
        torch.rsqrt_(torch.from_numpy(x.copy()))
    assert (x == 1).all()


@pytest.mark.spec("2.6")
def test_negative_reals_into_complex():
    """Computed real, then cast."""
    out = gorsqrt.rsqrt(np.array([-4.0, 4.0], np.float32), out=np.empty(2, np.complex64))
    assert np.isnan(out[0].real)
    assert out[0].imag == 0
    assert out[1] == 0.5


# 2.8: bfloat16 in numpy.


@pytest.mark.spec("2.1", "2.8")
def test_bfloat16_arrays():
    x = np.array([[1, 4, 16], [25, 64, 100]], BF16)
    want = np.array([[1, 0.5, 0.25], [0.2, 0.125, 0.1]], BF16)
    np.testing.assert_array_equal(gorsqrt.rsqrt(x), want)
    np.testing.assert_array_equal(gorsqrt.rsqrt(x.T[::-1]), want.T[::-1])
    np.testing.assert_array_equal(gorsqrt.rsqrt(x, out=np.empty((2, 3))), want.astype(np.float64))
    scalar = gorsqrt.rsqrt(BF16.type(4))
    assert type(scalar) is BF16.type
    assert scalar == BF16.type(0.5)
    frozen = x.copy()
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        gorsqrt.rsqrt_(frozen)
    assert gorsqrt.rsqrt_(x) is x
    np.testing.assert_array_equal(x, want)


@pytest.mark.spec("2.7", "2.8")
@pytest.mark.parametrize("other", ["float8_e4m3fn", "int4", "float8_e5m2"])
def test_other_types_of_ml_dtypes_are_refused(other):
    x = np.ones(3, getattr(ml_dtypes, other))
    with pytest.raises(TypeError, match=f"has dtype {other}, which is not supported"):
        gorsqrt.rsqrt(x)


@pytest.mark.spec("2.8")
def test_two_byte_void_is_no_bfloat16():
    with pytest.raises(TypeError, match=re.escape("has dtype |V2, which is not supported")):
        gorsqrt.rsqrt(np.zeros(3, "V2"))


# 2.9: buffer formats.

FORMATS = {
    "?": np.bool_, "b": np.int8, "B": np.uint8, "h": np.int16, "H": np.uint16, "i": np.int32, "I": np.uint32, "l": np.int64,
    "L": np.uint64, "q": np.int64, "Q": np.uint64, "f": np.float32, "d": np.float64,
}  # fmt: skip


@pytest.mark.spec("2.9")
@pytest.mark.parametrize("letter", FORMATS)
@pytest.mark.parametrize("prefix", ["", "@"])
def test_native_formats(letter, prefix):
    x = np.array([1, 1, 1], FORMATS[letter])
    view = memoryview(x).cast("B").cast(prefix + letter)
    assert view.format == prefix + letter
    assert (np.asarray(gorsqrt.rsqrt(view)) == 1).all()


STANDARD = {"<h": ctypes.c_int16, "<i": ctypes.c_int32, "<q": ctypes.c_int64, "<H": ctypes.c_uint16, "<f": ctypes.c_float}


@pytest.mark.spec("2.9")
@pytest.mark.parametrize("form", STANDARD)
def test_standard_formats(form):
    """ctypes exports its arrays with the prefix."""
    x = (STANDARD[form] * 3)(1, 4, 16)
    assert memoryview(x).format in (form, form.replace("q", "l"))
    assert gorsqrt.rsqrt(x).tolist() == [1, 0.5, 0.25]


@pytest.mark.spec("2.9")
@pytest.mark.parametrize("dtype", [REAL[0], *COMPLEX], ids=ids)
def test_formats_that_memoryview_can_not_cast_to(dtype):
    x = np.array([4, 16, 2], dtype)
    view = memoryview(x)
    assert view.format == {"float16": "e", "complex64": "Zf", "complex128": "Zd"}[dtype.name]
    result = gorsqrt.rsqrt(view)
    assert result.format == view.format
    np.testing.assert_array_equal(np.asarray(result), gorsqrt.rsqrt(x))


@pytest.mark.spec("2.9")
@pytest.mark.parametrize("dtype", REAL[:3] + COMPLEX + INTEGER, ids=ids)
def test_unaligned_items(dtype):
    packed = np.zeros(70, [("pad", "u1"), ("x", dtype)])
    packed["x"] = True if dtype.kind == "b" else 4
    want = gorsqrt.rsqrt(np.full(70, packed["x"][0], dtype))
    np.testing.assert_array_equal(gorsqrt.rsqrt(packed["x"]), want)
    np.testing.assert_array_equal(gorsqrt.rsqrt(packed["x"][::-2]), want[::2])
