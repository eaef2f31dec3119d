"""Contract 3.1, 4 and 5: the strides of input and result, and shared memory."""

import ctypes
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided

import gorsqrt

SELF_OVERLAP = "more than one element of the written-to tensor refers to a single memory location"
OVERLAP = "some elements of the input tensor and the written-to tensor refer to a single memory location"


def expected(x):
    """The result by numpy's arithmetic on a contiguous copy, in x's dtype; float16 is rounded
    once."""
    x = np.array(x, order="C")
    with np.errstate(all="ignore"):
        return (1 / np.sqrt(x.astype(np.float64))).astype(x.dtype) if x.dtype == np.float16 else 1 / np.sqrt(x)


@st.composite
def views(draw):
    """A view of fresh memory, of any layout that slices, transposes, reversals and odd offsets
    give."""
    dtype = np.dtype(draw(st.sampled_from([np.float16, np.float32, np.float64])))
    shape = []
    for n in draw(st.lists(st.integers(0, 9), max_size=5)):
        shape.append(min(n, 600 // max(1, int(np.prod(shape)))))
    offset = draw(st.sampled_from([0, 0, 1, dtype.itemsize]))
    memory = np.zeros(int(np.prod(shape)) * dtype.itemsize + offset, np.uint8)
    x = memory[offset:].view(dtype).reshape(shape)
    x[...] = np.arange(1, x.size + 1).reshape(shape)
    x = x.transpose(draw(st.permutations(range(x.ndim))))
    steps = st.sampled_from([1, 1, 2, 3, -1, -2])
    index = []
    for n in x.shape:
        start = draw(st.integers(0, n))
        step = draw(steps)
        index.append(slice(start, None, step) if step > 0 else slice(None, None, step))
    x = x[(*index, ...)]  # the dots keep a 0-d array an array
    for _ in range(draw(st.integers(0, 2))):
        x = np.expand_dims(x, draw(st.integers(0, x.ndim)))
    return x


@pytest.mark.spec("3.1", "4.1", "6.8")
@given(views())
@settings(max_examples=600, deadline=None)
def test_any_layout(x):
    want = expected(x)
    fresh = gorsqrt.rsqrt(x)
    assert fresh.dtype == x.dtype
    np.testing.assert_array_equal(fresh, want, strict=True)
    held = np.full(tuple(2 * n + 3 for n in x.shape), 77, x.dtype)
    out = held[(*(slice(1, 1 + 2 * n, 2) for n in x.shape), ...)]
    assert gorsqrt.rsqrt(x, out=out) is out
    np.testing.assert_array_equal(out, want)
    out[...] = 77
    assert (held == 77).all()  # nothing beside out was written
    assert gorsqrt.rsqrt_(x) is x
    np.testing.assert_array_equal(x, want)


def strides_here_and_in_torch(shape, strides, dtype):
    """The strides of fresh results, in elements; the input's are given in elements too."""
    memory = np.ones(1 << 12, dtype)
    theirs = torch.rsqrt(torch.as_strided(torch.from_numpy(memory), shape, strides))
    x = as_strided(memory, shape, [s * memory.itemsize for s in strides])
    # numpy says 0 for every stride of an array without elements, so there a memoryview is asked.
    ours = gorsqrt.rsqrt(x if x.size else memoryview(x))
    return [s // ours.itemsize for s in ours.strides], list(theirs.stride())


@pytest.mark.spec("4.1")
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 12)), max_size=6), st.sampled_from(["f4", "f8", "i2", "?", "c8"]))
@settings(max_examples=600, deadline=None)
def test_fresh_strides_are_torchs(dims, dtype):
    ours, theirs = strides_here_and_in_torch([n for n, _ in dims], [s for _, s in dims], dtype)
    assert ours == theirs


@pytest.mark.spec("4.1")
def test_fresh_strides_are_torchs_on_100_000_layouts():
    """Permuted, gapped, expanded, channels_last and arbitrary strides, of floats and integers."""
    random = np.random.default_rng(1)
    for i in range(100_000):
        ndim = int(random.integers(0, 7))
        shape = random.integers(0 if i % 50 == 0 else 1, (9, 9, 9, 6, 4, 3, 3)[ndim], ndim)
        if i % 4 == 0:
            strides = random.integers(0, 13, ndim)
        else:
            strides, step = np.zeros(ndim, int), 1
            for d in random.permutation(ndim) if i % 4 < 3 else [1, 3, 2, 0] if ndim == 4 else range(ndim)[::-1]:
                strides[d] = step
                step *= max(1, shape[d]) + (random.random() < 0.2)
            if i % 8 == 1 and ndim:
                strides[random.integers(ndim)] = 0
        dtype = ("f4", "f8", "i4", "u1")[i // 4 % 4]
        ours, theirs = strides_here_and_in_torch(shape.tolist(), strides.tolist(), dtype)
        assert ours == theirs, (shape, strides, dtype)


@pytest.mark.spec("4.2")
def test_negative_strides_count_by_their_size():
    x = np.ones((3, 4, 5))
    assert gorsqrt.rsqrt(x[::-1, :, ::-1]).strides == x.strides
    assert gorsqrt.rsqrt(x.transpose(2, 0, 1)[::-1]).strides == x.transpose(2, 0, 1).strides


@pytest.mark.spec("4.1")
def test_channels_last():
    x = np.ones((2, 5, 3, 4)).transpose(0, 3, 1, 2)
    assert gorsqrt.rsqrt(x).strides == x.strides


@pytest.mark.spec("4.3")
def test_64_dimensions():
    x = np.full((1,) * 60 + (2, 3, 1, 2), 4.0)
    assert gorsqrt.rsqrt(x).shape == x.shape
    assert (gorsqrt.rsqrt(x[..., ::-1]) == 0.5).all()


@pytest.mark.spec("4.3")
def test_65_dimensions():
    kind = ctypes.c_float
    for _ in range(65):
        kind = kind * 1
    with pytest.raises(RuntimeError, match=re.escape("rsqrt(): argument 'input' has 65 dimensions; at most 64 are supported")):
        gorsqrt.rsqrt(kind())
    with pytest.raises(RuntimeError, match=re.escape("rsqrt_(): argument 'input' has 65 dimensions; at most 64 are supported")):
        gorsqrt.rsqrt_(kind())
    with pytest.raises(RuntimeError, match=re.escape("rsqrt(): argument 'out' has 65 dimensions; at most 64 are supported")):
        gorsqrt.rsqrt(np.ones(1, np.float32), out=kind())


@pytest.mark.spec("3.1", "6.8")
def test_long_rows_of_every_kind(tier):
    x = np.random.default_rng(1).random((70, 1300)) + 0.1
    for view in (
        x,
        x[:, ::2],
        x[::2, 5:],
        x.T,
        x[:, ::-1],
        x[::-1],
        x[:, :64],
        x[:, :63],
        x.T[::3],
        x.astype(np.float32)[:, 1:],
    ):
        for out in (np.empty_like(view), np.empty(view.shape, view.dtype), np.empty(view.shape[::-1], np.float32).T):
            np.testing.assert_array_equal(gorsqrt.rsqrt(view, out=out), expected(view).astype(out.dtype))


@pytest.mark.spec("2.3", "3.1", "6.8")
@pytest.mark.parametrize("dtype", ["?", "i1", "u2", "i4", "u8", "f2", "f4", "f8", "c8", "c16"])
def test_transposed_of_every_dtype(tier, dtype):
    """Items of every size on both sides, by transposed blocks, against the same values in a row."""
    memory = np.random.default_rng(1).integers(1, 100, (75, 1503)).astype(dtype)
    x = memory[:, 3:]
    flat = gorsqrt.rsqrt(np.ascontiguousarray(x.T))
    outs = {"f": ["f2", "f4", "f8", "c8", "c16"], "c": ["c8", "c16"]}[flat.dtype.kind]
    for to in [flat.dtype, *map(np.dtype, outs)]:
        want = gorsqrt.rsqrt(np.ascontiguousarray(x.T), out=np.empty(flat.shape, to))
        for out in (np.empty(flat.shape, to), np.empty((1500, 80), to)[:, :75], np.empty((1500, 150), to)[:, ::2]):
            np.testing.assert_array_equal(gorsqrt.rsqrt(x.T, out=out), want)
        for start in (0, 1, 31, 40, 63):  # items before the first, in a line of memory or not
            turned = np.empty(x.size + start, dtype)[start:].reshape(x.shape[::-1]).T
            turned[...] = x
            np.testing.assert_array_equal(gorsqrt.rsqrt(turned, out=np.empty(x.shape, to)), want.T)


@pytest.mark.spec("3.1", "6.8")
def test_broadcast_input(tier):
    x = np.random.default_rng(1).random((40, 1, 50)).astype(np.float32) + 0.1
    for view in (
        np.broadcast_to(x, (40, 60, 50)),
        np.broadcast_to(x[:, :, :1], (40, 30, 50)),
        np.broadcast_to(x[:1, :, :1], (40, 30, 50)),
        np.broadcast_to(x, (40, 60, 50)).transpose(1, 2, 0),
        np.broadcast_to(x, (40, 2, 50)),
    ):
        turned = np.empty(view.shape[::-1], np.float32).T
        for out in (np.empty(view.shape, np.float32), np.empty(view.shape, np.float64), turned):
            np.testing.assert_array_equal(gorsqrt.rsqrt(view, out=out), expected(view).astype(out.dtype))


@pytest.mark.spec("2.9", "3.1")
def test_packed_fields_are_read_and_written_unaligned():
    packed = np.zeros(50, [("flag", "u1"), ("x", "f8"), ("y", "f4")])
    packed["x"], packed["y"], packed["flag"] = 4, 16, 7
    assert (gorsqrt.rsqrt(packed["x"]) == 0.5).all()
    gorsqrt.rsqrt_(packed["x"])
    gorsqrt.rsqrt_(packed["y"])
    assert (packed["x"] == 0.5).all()
    assert (packed["y"] == 0.25).all()
    assert (packed["flag"] == 7).all()


# 5: shared memory.


@pytest.mark.spec("5.1", "3.6")
@pytest.mark.parametrize(
    "view",
    [
        lambda m: as_strided(m, (3, 4), (0, 8)),
        lambda m: as_strided(m, (3, 4), (8, 8)),
        lambda m: as_strided(m, (4, 4), (24, 16)),
        lambda m: as_strided(m, (5,), (4,)),
    ],
)
def test_destination_that_overlaps_itself(view):
    memory = np.arange(1.0, 101)
    with pytest.raises(RuntimeError, match=SELF_OVERLAP):
        gorsqrt.rsqrt_(view(memory))
    out = view(memory)
    with pytest.raises(RuntimeError, match=SELF_OVERLAP):
        gorsqrt.rsqrt(np.ones(out.shape), out=out)
    np.testing.assert_array_equal(memory, np.arange(1.0, 101))


@pytest.mark.spec("5.3", "3.6")
def test_partial_overlap_is_refused_across_objects():
    memory = bytearray(np.arange(1.0, 11).tobytes())
    before = bytes(memory)
    x, y = np.frombuffer(memory, np.float64, 9), memoryview(memory).cast("d")[1:]
    for source, out in ((x, y), (y, x), (x[::-1], x), (x[::2], x[:5]), (x[:4], np.frombuffer(memory, np.float64, 4, 4))):
        with pytest.raises(RuntimeError, match=OVERLAP):
            gorsqrt.rsqrt(source, out=out)
    assert bytes(memory) == before


@pytest.mark.spec("5.4")
def test_interleaved_memory_is_fine():
    memory = np.arange(1.0, 11)
    want = expected(memory[0::2])
    gorsqrt.rsqrt(memory[0::2], out=memory[1::2])
    np.testing.assert_array_equal(memory[1::2], want)
    np.testing.assert_array_equal(memory[0::2], np.arange(1.0, 11, 2))


@pytest.mark.spec("5.2")
def test_identical_elements_by_different_objects_are_fine():
    x = np.arange(1.0, 11)
    want = expected(x)
    np.testing.assert_array_equal(np.asarray(gorsqrt.rsqrt(x, out=memoryview(x))), want)


@pytest.mark.spec("5.3")
def test_overlap_of_different_dtypes():
    """An error where both are dense, as torch; else through a temporary, and right."""
    memory = np.arange(1.0, 11)
    halves = memory.view(np.float32)
    with pytest.raises(RuntimeError, match=OVERLAP):
        gorsqrt.rsqrt(halves[:10], out=memory)
    halves[...] = np.arange(1, 21)
    want = expected(halves[::2]).astype(np.float64)
    gorsqrt.rsqrt(halves[::2], out=memory)
    np.testing.assert_array_equal(memory, want)
