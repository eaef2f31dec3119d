"""Contract 6: the values, bit for bit those of torch, on every tier and in every position."""

import ctypes
import platform

import numpy as np
import pytest
import torch
from hard_cases import exact_rsqrt_bits, f64_hard_bits

import gorsqrt

UINT = {"float32": np.uint32, "float64": np.uint64}


def bits(x):
    return np.ascontiguousarray(x).view(UINT[x.dtype.name])


def torch_rsqrt(x):
    return torch.rsqrt(torch.from_numpy(x)).numpy()


def check_against_torch(x):
    """Compares contiguous and strided results, in poisoned memory, with torch's contiguous ones."""
    expected = bits(torch_rsqrt(x))
    out = np.full_like(x, 77)
    gorsqrt.rsqrt(x, out=out)
    np.testing.assert_array_equal(bits(out), expected)
    out.fill(77)
    gorsqrt.rsqrt(x[::2], out=out[::2])
    gorsqrt.rsqrt(x[1::2], out=out[1::2])
    np.testing.assert_array_equal(bits(out), expected)


@pytest.mark.spec("6.3", "6.8")
def test_float32_random_bit_patterns(tier):
    random = np.random.default_rng(1)
    for _ in range(16):  # 2^28 in all
        check_against_torch(random.integers(0, 1 << 32, 1 << 24, dtype=np.uint32).view(np.float32))


@pytest.mark.spec("6.3")
def test_float32_every_mantissa(tier):
    """All of [1, 4): every other normal float32 is one of these times a power of four."""
    check_against_torch(np.arange(0x3F800000, 0x40800000, dtype=np.uint32).view(np.float32))


@pytest.mark.spec("6.3")
def test_float32_accuracy():
    """Less than 1.5 ulp: all of a period of the mantissa against float64, whose error is 2^-29
    ulp."""
    worst = 0.0
    for start in range(0x3F800000, 0x40800000, 1 << 20):
        x = np.arange(start, start + (1 << 20), dtype=np.uint32).view(np.float32)
        exact = 1 / np.sqrt(x.astype(np.float64))
        worst = max(worst, (np.abs(gorsqrt.rsqrt(x) - exact) / np.ldexp(1.0, np.frexp(exact)[1] - 24)).max())
    assert 1.49 < worst < 1.5


@pytest.mark.spec("6.3", "6.8")
def test_float64_random_bit_patterns(tier):
    random = np.random.default_rng(2)
    for _ in range(10):  # 10 Mi in all
        check_against_torch(random.integers(0, 1 << 64, 1 << 20, dtype=np.uint64).view(np.float64))


SPECIAL = {  # input bits → result bits: contract, 6.1 and 6.2
    np.float32: {
        0x00000000: 0x7F800000,  # +0
        0x80000000: 0xFF800000,  # -0
        0x7F800000: 0x00000000,  # +inf
        0xFF800000: 0xFFC00000,  # -inf
        0xBF800000: 0xFFC00000,  # -1
        0x80000001: 0xFFC00000,  # the negative subnormal next to 0
        0x7FC00000: 0x7FC00000,  # nan
        0xFFC00000: 0xFFC00000,  # -nan
        0x7F812345: 0x7FC12345,  # a signalling nan with a payload
        0xFFA00001: 0xFFE00001,
        0x00000001: 0x64B504F3,  # the smallest subnormal, 2^-149
        0x007FFFFF: 0x5F000001,  # the largest subnormal
        0x00800000: 0x5F000000,  # the smallest normal, 2^-126
        0x7F7FFFFF: 0x1F800001,  # the largest
    },
    np.float64: {
        0x0000000000000000: 0x7FF0000000000000,
        0x8000000000000000: 0xFFF0000000000000,
        0x7FF0000000000000: 0x0000000000000000,
        0xFFF0000000000000: 0xFFF8000000000000,
        0xBFF0000000000000: 0xFFF8000000000000,
        0x8000000000000001: 0xFFF8000000000000,
        0x7FF8000000000000: 0x7FF8000000000000,
        0xFFF8000000000000: 0xFFF8000000000000,
        0x7FF0000000012345: 0x7FF8000000012345,
        0x0000000000000001: 0x6180000000000000,  # 2^-1074 → 2^537
        0x000FFFFFFFFFFFFF: 0x5FE0000000000001,
        0x0010000000000000: 0x5FE0000000000000,  # 2^-1022 → 2^511
        0x7FEFFFFFFFFFFFFF: 0x1FF0000000000001,  # the largest
    },
}


@pytest.mark.spec("6.1", "6.2", "6.8")
@pytest.mark.parametrize("dtype", SPECIAL)
def test_special_values_in_every_lane(tier, dtype):
    table = SPECIAL[dtype]
    unsigned = UINT[np.dtype(dtype).name]
    inputs, results = np.array(list(table), unsigned), np.array(list(table.values()), unsigned)
    for n in range(1, 70):
        for shift in range(len(inputs)):
            order = (np.arange(n) + shift) % len(inputs)
            result = gorsqrt.rsqrt(inputs[order].view(dtype))
            np.testing.assert_array_equal(bits(result), results[order])


@pytest.mark.spec("6.8")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_position_length_and_alignment_do_not_matter(tier, dtype):
    random = np.random.default_rng(3)
    memory = np.zeros(4096, np.uint8)
    size = np.dtype(dtype).itemsize
    for n in [*list(range(70)), 97, 255, 256, 257]:
        x = random.random(n).astype(dtype)
        expected = bits(torch_rsqrt(x))
        for offset in (0, 1, size // 2, size, 3 * size, 61):
            memory.fill(0xA5)
            view = memory[offset : offset + n * size].view(dtype)
            view[...] = x
            gorsqrt.rsqrt_(view)
            np.testing.assert_array_equal(bits(view), expected)
            assert (memory[:offset] == 0xA5).all()
            assert (memory[offset + n * size :] == 0xA5).all()


@pytest.mark.spec("6.2")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_callers_flush_to_zero_is_neither_used_nor_changed(tier, dtype):
    tiny = np.finfo(dtype).smallest_subnormal * np.arange(1, 40, dtype=dtype)
    expected = bits(gorsqrt.rsqrt(tiny))
    if not torch.set_flush_denormal(True):
        pytest.fail("this machine can't flush denormals, so this shows nothing")
    try:
        flushed = torch.from_numpy(tiny) * 1
        found = gorsqrt.rsqrt(tiny), gorsqrt.rsqrt(tiny[::-3])
        flushed_after = torch.from_numpy(tiny) * 1
    finally:
        torch.set_flush_denormal(False)
    assert not flushed.any()
    assert not flushed_after.any()
    np.testing.assert_array_equal(bits(found[0]), expected)
    np.testing.assert_array_equal(bits(found[1]), expected[::-3])


@pytest.mark.spec("2.3", "2.4")
def test_compute_dtype_is_the_inputs_and_out_only_rounds(tier):
    """The result is computed first, then cast."""
    x = np.random.default_rng(4).random(3000).astype(np.float32)
    wide = gorsqrt.rsqrt(x, out=np.full(3000, 77.0))
    np.testing.assert_array_equal(wide, torch_rsqrt(x).astype(np.float64))
    edges = np.array([np.inf, 5e-324, 1e-300, 0.3, np.nan, -1, 0, -0.0, 1e300, 2.0])
    x = np.concatenate([edges, np.random.default_rng(5).random(3000)])
    narrow = gorsqrt.rsqrt(x, out=np.full(len(x), 77, np.float32))
    expected = torch.empty(len(x), dtype=torch.float32)
    torch.rsqrt(torch.from_numpy(x), out=expected)
    np.testing.assert_array_equal(bits(narrow), bits(expected.numpy()))


@pytest.mark.spec("1.6")
def test_no_warnings():
    """pytest turns every warning into an error, numpy's settings included."""
    with np.errstate(all="raise"):
        gorsqrt.rsqrt(np.array([0, -1, np.inf, np.nan, 5e-324]))
        assert np.sqrt(np.float32(4)) == 2


@pytest.mark.spec("6.3")
def test_float64_hard_cases(tier):
    """All hard cases against integer arithmetic, shuffled: in order each would visit one lane.

    Half of the orders leave out the smallest, beside which kernels may take another way.
    """
    x = f64_hard_bits()
    assert len(x) == 27_967
    want = np.array([exact_rsqrt_bits(b) for b in x], np.uint64)
    random = np.random.default_rng(6)
    ordinary = np.flatnonzero(x.view(np.float64) >= 2.0**-900)
    for among in (np.arange(len(x)), ordinary) * 8:
        order = random.permutation(among)
        np.testing.assert_array_equal(bits(gorsqrt.rsqrt(x[order].view(np.float64))), want[order])


@pytest.mark.spec("6.8")
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.complex64, np.complex128])
def test_the_callers_rounding_is_neither_used_nor_changed(tier, dtype):
    """In one piece, by a call that helpers share, and through casts."""
    libm = ctypes.CDLL("libm.so.6")
    x = np.random.default_rng(7).uniform(1, 100, 300_000).astype(dtype)
    wide = np.result_type(dtype, np.float64)
    expected = [gorsqrt.rsqrt(x[:1000]), gorsqrt.rsqrt(x), gorsqrt.rsqrt(x[:999], out=np.empty(999, wide))]
    try:
        for mode in (0x400, 0x800, 0xC00) if platform.machine() == "x86_64" else (0x400000, 0x800000, 0xC00000):
            assert libm.fesetround(mode) == 0
            found = [gorsqrt.rsqrt(x[:1000]), gorsqrt.rsqrt(x), gorsqrt.rsqrt(x[:999], out=np.empty(999, wide))]
            assert libm.fegetround() == mode
            for a, b in zip(found, expected, strict=True):
                assert a.tobytes() == b.tobytes()
    finally:
        libm.fesetround(0)
