"""Contract 6.5 to 6.7: complex values against mpmath, and a table of special ones."""

import itertools

import mpmath
import numpy as np
import pytest
import torch

import gorsqrt

DTYPES = {np.complex64: (np.float32, np.uint32), np.complex128: (np.float64, np.uint64)}
BOUND = {np.complex64: 0.51, np.complex128: 1.0}  # ulp


def kinds(dtype):
    """Arrays of finite inputs of many kinds, by name."""
    real, _ = DTYPES[dtype]
    info, random, n = np.finfo(real), np.random.default_rng(7), 500

    def signs():
        return random.choice([-1.0, 1.0], n)

    def magnitudes(low, high):
        return signs() * np.ldexp(1 + random.random(n), random.integers(low, high, n).astype(np.int32))

    one = magnitudes(-3, 3)
    yield "around one", one, magnitudes(-3, 3)
    yield "any", magnitudes(info.minexp, info.maxexp), magnitudes(info.minexp, info.maxexp)
    yield "near the real axis", one, one * magnitudes(-info.nmant - 8, -info.nmant // 2)
    yield "near the imaginary axis", one * magnitudes(-info.nmant - 8, -info.nmant // 2), one
    yield "far from square", magnitudes(0, 20), magnitudes(info.minexp, info.minexp + 20)
    yield "near the diagonal", one, one * (1 + magnitudes(-info.nmant, -info.nmant + 4))
    yield "huge", magnitudes(info.maxexp - 2, info.maxexp), magnitudes(info.maxexp - 2, info.maxexp)
    yield "tiny", magnitudes(info.minexp, info.minexp + 3), magnitudes(info.minexp, info.minexp + 3)
    subnormal = float(info.smallest_subnormal)
    yield "subnormal", *(signs() * random.integers(1, 1 << 20, n) * subnormal for _ in range(2))
    yield "squares", random.integers(1, 99, n) ** 2.0 * signs() * 4.0 ** random.integers(-9, 9, n), np.zeros(n) * signs()


def exact(z):
    """1/√z to 60 digits, the branch by the sign bit of im."""
    root = mpmath.mpc(1) / mpmath.sqrt(mpmath.mpc(mpmath.mpf(float(abs(z.real))), mpmath.mpf(float(abs(z.imag)))))
    re, im = root.real, -root.imag  # of |re| + i|im|: the first quadrant
    if z.real < 0:
        re, im = im, re
    return re, im if np.signbit(z.imag) else -im


def ulps(found, want, info):
    """The distance in units of the last place of want."""
    if want == 0:
        return 0.0 if found == 0 else np.inf
    exponent = max(mpmath.frexp(abs(want))[1] - 1, info.minexp)
    return float(abs(mpmath.mpf(float(found)) - want) / mpmath.ldexp(1, exponent - info.nmant))


@pytest.mark.spec("6.5", "6.6", "6.7")
@pytest.mark.parametrize("dtype", DTYPES)
def test_accuracy(tier, dtype):
    real, unsigned = DTYPES[dtype]
    info = np.finfo(real)
    with mpmath.workdps(60):
        for name, re, im in kinds(dtype):
            z = np.empty(len(re), dtype)
            z.real, z.imag = re, im
            y = gorsqrt.rsqrt(z)
            mirrored = gorsqrt.rsqrt(np.conj(z))
            np.testing.assert_array_equal(np.conj(y).view(unsigned), mirrored.view(unsigned))
            assert (np.signbit(y.imag) != np.signbit(z.imag)).all()
            for one, result in zip(z, y, strict=True):
                want = exact(one)
                worst = max(ulps(result.real, want[0], info), ulps(result.imag, want[1], info))
                assert worst <= BOUND[dtype], (name, one, result, worst)


@pytest.mark.spec("6.1", "6.7")
@pytest.mark.parametrize("dtype", DTYPES)
def test_special_values(tier, dtype):
    """All pairs, bit for bit. torch gives nan if im is infinite, or re is and im is nan."""
    real, unsigned = DTYPES[dtype]
    info = np.finfo(real)
    parts = [0.0, 1.0, np.inf, info.max, info.tiny, info.smallest_subnormal]
    parts = np.array([*parts, *(-x for x in parts), np.nan, -np.nan], real)
    inf, nan = unsigned(np.array(np.inf, real).view(unsigned)), unsigned(np.array(np.nan, real).view(unsigned))
    for re, im in itertools.product(parts, parts):
        z = np.array([complex(re, im)], dtype)
        z.real, z.imag = re, im
        found = gorsqrt.rsqrt(np.repeat(z, 9)).view(unsigned).reshape(9, 2)
        assert (found == found[0]).all()
        opposite = unsigned(0) if np.signbit(im) else ~(~unsigned(0) >> unsigned(1))
        theirs = torch.rsqrt(torch.from_numpy(z)).numpy()
        if np.isinf(re) or np.isinf(im):
            assert found[0].tolist() == [0, opposite]
            assert (theirs == 0).all() or np.isinf(im) or np.isnan(im)
        elif np.isnan(re) or np.isnan(im):
            assert found[0].tolist() == [nan, nan]
            assert np.isnan(theirs).all()
        elif re == 0 and im == 0:
            assert found[0].tolist() == [inf, nan]
            assert np.isinf(theirs.real).all()
            assert np.isnan(theirs.imag).all()
        else:
            with mpmath.workdps(60):
                result = found[0].view(real)
                want = exact(z[0])
                assert max(ulps(result[0], want[0], info), ulps(result[1], want[1], info)) <= BOUND[dtype]


@pytest.mark.spec("6.7", "6.9")
@pytest.mark.parametrize("dtype", DTYPES)
def test_branch_cut_and_reported_values(tier, dtype):
    """pytorch#156152, pytorch#141487."""

    def bits_of(re, im):
        z = np.zeros(1, dtype)
        z.real, z.imag = re, im
        y = gorsqrt.rsqrt(z)[0]
        return str(complex(y))

    assert bits_of(-1.0, 0.0) == str(complex(0.0, -1.0))
    assert bits_of(-1.0, -0.0) == str(complex(0.0, 1.0))
    assert bits_of(4.0, 0.0) == str(complex(0.5, -0.0))
    assert bits_of(4.0, -0.0) == str(complex(0.5, 0.0))
    assert bits_of(0.0, -np.inf) == str(complex(0.0, 0.0))
    assert bits_of(0.0, np.inf) == str(complex(0.0, -0.0))


@pytest.mark.spec("6.8")
@pytest.mark.parametrize("dtype", DTYPES)
def test_position_does_not_matter(tier, dtype):
    """On every tier, in every lane and tail, an item gives what it gives alone."""
    _, unsigned = DTYPES[dtype]
    random = np.random.default_rng(8)
    z = random.integers(0, 256, 4000 * np.dtype(dtype).itemsize, dtype=np.uint8).view(dtype)
    want = np.concatenate([gorsqrt.rsqrt(z[i : i + 1]) for i in range(len(z))]).view(unsigned)
    np.testing.assert_array_equal(gorsqrt.rsqrt(z).view(unsigned), want)
    np.testing.assert_array_equal(np.ascontiguousarray(gorsqrt.rsqrt(z[::-1])[::-1]).view(unsigned), want)
    for n in range(105):
        np.testing.assert_array_equal(gorsqrt.rsqrt(z[n : 2 * n]).view(unsigned), want[2 * n : 4 * n])


@pytest.mark.spec("5.3")
def test_views_of_the_parts():
    """The real parts of z as input of z itself go through a temporary, and are right."""
    z = np.array([4 + 1j, 16 + 1j, 64 + 1j])
    gorsqrt.rsqrt(z.real, out=z)
    assert z.tolist() == [0.5, 0.25, 0.125]
