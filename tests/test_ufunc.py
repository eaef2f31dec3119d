"""Contract 9.8, gorsqrt.numpy.rsqrt: a numpy.ufunc with the bits of gorsqrt.rsqrt, for which numpy
does what it does for np.sqrt."""

import copy
import ctypes
import doctest
import mmap
import os
import pickle
import re
import subprocess
import sys
import textwrap
import threading

import ml_dtypes
import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

import gorsqrt
import gorsqrt.numpy

BF16 = np.dtype(ml_dtypes.bfloat16)
REAL = [np.dtype(t) for t in ("f2", "f4", "f8")] + [BF16]
COMPUTED = [*REAL, np.dtype("c8"), np.dtype("c16")]
INTEGER = [np.dtype(t) for t in "?bBhHiIlLqQ"]
DEFAULTS = ["float16", "bfloat16", "float32", "float64"]
ids = str

rsqrt = gorsqrt.numpy.rsqrt

pytestmark = pytest.mark.spec("9.8")


def run(code, **variables):
    code = textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | variables, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def samples(dtype, n=9000):
    random = np.random.default_rng(5)
    if dtype.kind in "iub":
        return random.integers(0, 2, n).astype(bool) if dtype.kind == "b" else random.integers(-100, 100, n).astype(dtype)
    tiny = np.exp2(-np.arange(40.0) * (27 if dtype.itemsize >= 8 else 3))
    x = np.concatenate(
        [[0, -0.0, np.inf, -np.inf, np.nan, 1, 4, 16], tiny, -tiny, random.random(n) * 10, random.standard_normal(n)]
    )
    if dtype.kind == "c":
        x = np.stack([x, np.roll(x, 7)], -1).view(complex)[:, 0]
    with np.errstate(all="ignore"):
        return random.permutation(x)[:n].astype(dtype)


def plain(x):
    """gorsqrt's own answer, on a contiguous copy."""
    return gorsqrt.rsqrt(np.array(x, x.dtype.newbyteorder("="), order="C"))


def assert_bits(result, want):
    assert result.dtype == want.dtype
    assert result.shape == want.shape
    assert result.tobytes() == want.tobytes()


# Values and layouts.


@pytest.mark.spec("2.1", "2.2", "6.8")
@pytest.mark.parametrize("dtype", COMPUTED + INTEGER, ids=ids)
def test_lengths(tier, dtype):
    x = samples(dtype, 70000)
    for n in (*range(20), 31, 33, 63, 64, 65, 97, 500, 501, 4096, 8191, 8192, 70000):
        assert_bits(rsqrt(x[:n]), plain(x[:n]))
        assert_bits(rsqrt(x[n : 2 * n : 2]), plain(x[n : 2 * n : 2]))


@pytest.mark.parametrize("dtype", COMPUTED + INTEGER, ids=ids)
def test_layouts(tier, dtype):
    x = samples(dtype)
    cube = x[:8000].reshape(80, 100)
    unaligned = np.frombuffer(b"x" + x.tobytes(), np.uint8)[1:].view(dtype)
    views = [
        x[::2], x[::-1], x[5::3], x[::-4], cube, cube.T, cube[::2], cube[:, ::3], cube[5:20, 7:50], cube[::-1, ::-1].T,
        np.broadcast_to(x[3], (4, 5)), np.broadcast_to(x[:7, None], (7, 300)), cube.reshape(2, 40, 100).transpose(1, 2, 0),
        unaligned, x[:0], x[3:4].reshape(()),
    ]  # fmt: skip
    if dtype.itemsize > 1 and dtype != BF16:
        views += [x.astype(dtype.newbyteorder(">")), cube.astype(dtype.newbyteorder(">"))[::2, ::-1]]
    for view in views:
        want = plain(view)
        result = rsqrt(view)
        assert_bits(np.asarray(result), want)
        for out in (
            np.empty(view.shape, want.dtype),
            np.zeros((*view.shape, 3), want.dtype)[..., 1],
            np.empty(view.shape[::-1], want.dtype).T,
        ):
            assert rsqrt(view, out=out) is out
            assert_bits(out, want)
        backwards = np.zeros(2 * view.size, want.dtype)[::-2]
        rsqrt(view.ravel(), out=backwards)
        assert_bits(backwards, want.ravel())


def test_layout_of_the_result():
    cube = np.ones((4, 5, 6))
    for view in (cube, cube.T, cube[::2, ::-1], cube.transpose(1, 2, 0)):
        for order in "KACF":
            assert rsqrt(view, order=order).strides == np.sqrt(view, order=order).strides


@pytest.mark.parametrize("dtype", COMPUTED, ids=ids)
def test_only_the_items_are_touched(tier, dtype):
    """By memory that ends where the items do, and by what lies between and behind them."""
    page = mmap.PAGESIZE
    memory = mmap.mmap(-1, 3 * page)
    held = np.frombuffer(memory, np.uint8)
    protect = ctypes.CDLL(None).mprotect
    for at in (0, 2 * page):
        assert protect(ctypes.c_void_p(held.ctypes.data + at), page, 0) == 0  # PROT_NONE
    for n in (1, 2, 3, 4, 5, 7, 16, 33, 100):
        for step in (1, 2, 3):
            reach = ((n - 1) * step + 1) * dtype.itemsize
            for begin in (0, page - reach):
                inner = held[page : 2 * page]
                x = inner[begin : begin + reach].view(dtype)[::step]
                inner[:] = 7
                x[:] = 4
                want = inner.copy()
                want[begin : begin + reach].view(dtype)[::step] = complex(0.5, -0.0) if dtype.kind == "c" else 0.5
                assert (rsqrt(x) == 0.5).all()
                rsqrt(x, out=x)
                np.testing.assert_array_equal(inner, want)


@pytest.mark.parametrize("dtype", COMPUTED, ids=ids)
def test_overlap(tier, dtype):
    """As if the input were copied first, as of np.sqrt."""
    x = samples(dtype, 40000)
    half = x.size // 2
    for n in (10, 300, x.size):
        low, even = slice(0, n // 2), slice(0, n // 2 * 2, 2)
        whole, turned = slice(None), slice(None, None, -1)
        for into, of in (
            (slice(None, -1), slice(1, None)), (slice(1, None), slice(None, -1)), (slice(None, -8), slice(8, None)),
            (whole, turned), (turned, turned), (whole, whole), (low, even), (even, low), (even, slice(1, n // 2 * 2, 2)),
        ):  # fmt: skip
            shared = x[:n].copy()
            want = plain(shared[of])
            rsqrt(shared[of], out=shared[into])
            assert_bits(shared[into], want)
    bytes_of = x.copy().view(np.uint8)
    size = dtype.itemsize
    source, target = bytes_of[: half * size].view(dtype), bytes_of[size // 2 : size // 2 + half * size].view(dtype)
    want = plain(source)
    rsqrt(source, out=target)
    assert_bits(target, want)


@pytest.mark.parametrize("dtype", [np.dtype("i8"), np.dtype("i4"), np.dtype("u2"), np.dtype("?")], ids=ids)
def test_overlap_of_integers(tier, dtype):
    for n in (3, 100, 30000):
        memory = np.zeros(8 * n, np.uint8)
        x, out = memory[: n * dtype.itemsize].view(dtype), memory[: 4 * n].view(np.float32)
        x[:] = samples(dtype, n)
        want = plain(x)
        rsqrt(x, out=out)
        assert_bits(out, want)


def test_out_that_overlaps_itself():
    """As np.sqrt does it: one of the results stays."""
    x = np.arange(1.0, 5001)
    out, numpys = (as_strided(np.zeros(1), x.shape, (0,)) for _ in range(2))
    rsqrt(x, out=out)
    np.sqrt(x, out=numpys)
    assert out[0] == 1 / numpys[0]


# What numpy does.


@pytest.mark.parametrize("dtype", COMPUTED, ids=ids)
def test_where(tier, dtype):
    x = samples(dtype)
    random = np.random.default_rng(6)
    for density in (0, 0.1, 0.5, 0.9, 1):
        mask = random.random(x.size) < density
        out = np.full(x.size, 7, dtype)
        assert rsqrt(x, where=mask, out=out) is out
        assert_bits(out, np.where(mask, plain(x), np.array(7, dtype)))
    out = np.full((3, x.size), 7, dtype)
    rsqrt(x, where=np.array([[True], [False], [True]]), out=out)
    assert_bits(out[2], plain(x))
    assert (out[1] == 7).all()


@pytest.mark.parametrize("dtype", COMPUTED, ids=ids)
def test_at(tier, dtype):
    x = samples(dtype)
    index = np.array([5, 0, 9, -1])
    at, want = x.copy(), x.copy()
    rsqrt.at(at, index)
    want[index] = plain(x[index])
    assert_bits(at, want)
    at = np.full(3, 16, dtype)
    rsqrt.at(at, [1, 1])
    assert at.tolist() == [16, 2, 16]


def test_out():
    x = np.array([4.0, 16.0])
    out = np.zeros((3, 2))
    assert rsqrt(x, out) is out
    assert rsqrt(x, out=(out,)) is out
    assert (out == [0.5, 0.25]).all()
    with pytest.raises(ValueError, match="non-broadcastable output operand"):
        rsqrt(np.ones((3, 2)), out=x)
    for into in ("f2", "f4", "c8", "c16"):
        cast = np.empty(2, into)
        rsqrt(x, out=cast)
        assert cast.tolist() == [0.5, 0.25]
    with pytest.raises(TypeError, match="Cannot cast ufunc 'rsqrt' output from dtype"):
        rsqrt(x, out=np.empty(2, int))
    with pytest.raises(ValueError, match="read-only"):
        rsqrt(x, out=np.broadcast_to(0.0, 2))


def test_dtype_and_casting():
    real, integers = np.array([3.0, 16.0]), np.array([3, 16])
    for u, function in ((rsqrt, gorsqrt.rsqrt), (np.sqrt, np.sqrt)):
        for dtype in ("f2", "f4", "f8"):
            assert_bits(u(real, dtype=dtype), function(real.astype(dtype)))
            assert_bits(u(integers, dtype=dtype), function(integers.astype(dtype)))
        assert_bits(u(real.astype("f4"), dtype="c16"), function(real.astype("c16")))
        assert_bits(u(real, signature="f->f", casting="unsafe"), function(real.astype("f4")))
        assert_bits(u(real.astype(np.longdouble), dtype="f8"), function(real))
        for x, wrong in (
            (real, {"dtype": "f4", "casting": "safe"}), (real.astype(">f8"), {"casting": "no"}), (real, {"dtype": BF16}),
            (integers, {"signature": "l->l"}), (1j * real, {"dtype": "f8"}),
        ):  # fmt: skip
            with pytest.raises(TypeError):
                u(x, **wrong)
    assert_bits(rsqrt(real.astype(BF16), dtype="f4"), gorsqrt.rsqrt(real.astype("f4")))
    assert_bits(rsqrt(real.astype("f4"), out=np.empty(2, BF16)), gorsqrt.rsqrt(real.astype("f4")).astype(BF16))


def test_scalars_and_sequences():
    for x in (
        4.0,
        np.float32(4),
        np.float16(4),
        BF16.type(4),
        np.array(4.0),
        4j,
        True,
        4,
        np.uint8(4),
        [4, 16],
        [[4.0], [16.0]],
    ):
        result = rsqrt(x)
        assert type(result) is (np.ndarray if isinstance(x, list) else type(gorsqrt.rsqrt(np.array(x))[()]))
        assert_bits(np.asarray(result), gorsqrt.rsqrt(np.array(x)))


def test_subclasses():
    class Plain(np.ndarray):
        pass

    x = np.array([4.0, 16.0]).view(Plain)
    assert type(rsqrt(x)) is Plain
    assert type(rsqrt(x, subok=False)) is np.ndarray
    masked = rsqrt(np.ma.array([4.0, 16.0], mask=[False, True]))
    assert masked.mask.tolist() == [False, True]
    assert masked[0] == 0.5

    class Overrides:
        def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
            return ufunc, method, inputs, kwargs

    x = Overrides()
    assert rsqrt(x, where=False) == (rsqrt, "__call__", (x,), {"where": False})


def test_iterators():
    x = np.array([[4.0, 16.0], [25.0, 64.0]])
    with np.nditer(
        [x.T, None], flags=["external_loop", "buffered"], op_flags=[["readonly"], ["writeonly", "allocate"]]
    ) as items:
        for a, b in items:
            rsqrt(a, out=b)
        assert_bits(np.ascontiguousarray(items.operands[1]), plain(x.T))
    assert list(map(rsqrt, x[0])) == [0.5, 0.25]
    assert_bits(np.apply_along_axis(rsqrt, 0, x), plain(x))
    assert rsqrt.resolve_dtypes((np.dtype("i4"), None)) == (np.dtype("i4"), np.dtype("f4"))


@pytest.mark.parametrize("method", ["reduce", "accumulate", "outer", "reduceat"])
def test_methods_of_binary_ufuncs(method):
    arguments = [np.ones(3)] + ([[0]] if method == "reduceat" else [np.ones(3)] if method == "outer" else [])
    with pytest.raises(ValueError) as numpys:  # noqa: PT011
        getattr(np.sqrt, method)(*arguments)
    with pytest.raises(ValueError, match=re.escape(str(numpys.value))):
        getattr(rsqrt, method)(*arguments)


@pytest.mark.spec("1.6")
@pytest.mark.parametrize("dtype", COMPUTED, ids=ids)
def test_no_value_warns(tier, dtype):
    """Nor raises under errstate, and what others have raised stays."""
    x = samples(dtype, 5000)
    with np.errstate(all="raise"):
        for n in (*range(1, 20), 100, 5000):
            rsqrt(x[-n:])
            rsqrt(x[:n:2])
            rsqrt(x[:n], where=np.arange(n) % 3 > 0, out=np.zeros(n, dtype))
        rsqrt.at(x.copy(), np.arange(x.size))
        rsqrt(x[::-1], out=x)


@pytest.mark.spec("2.7")
@pytest.mark.parametrize("dtype", ["g", "G", "O", "M8[s]", "m8[s]", "S3", "U3", "V3", "float8_e4m3fn", "int4"])
def test_other_dtypes_are_refused(dtype):
    dtype = np.dtype(getattr(ml_dtypes, dtype, dtype))
    x = np.zeros(3, dtype)
    for _ in range(2):  # numpy keeps no answer
        with pytest.raises(TypeError, match=re.escape(f"has dtype {dtype}, which is not supported; supported are float16, bf")):
            rsqrt(x)
    for no_array in (None, "4", 2**70, {}):
        with pytest.raises(TypeError, match="is not supported; supported are"):
            rsqrt(no_array)


# The default dtype of integers.


@pytest.fixture
def default_dtype():
    yield gorsqrt.set_default_dtype
    gorsqrt.set_default_dtype("float32")


@pytest.mark.spec("2.2")
@pytest.mark.parametrize("default", DEFAULTS)
def test_default_dtype(default_dtype, tier, default):
    default_dtype(default)
    u = gorsqrt.numpy.rsqrt
    assert u is gorsqrt.numpy.rsqrt is getattr(gorsqrt.numpy, f"rsqrt_{default}")
    for dtype in INTEGER:
        for x in (
            samples(dtype),
            np.array([2**24 + 1, 1, 0]).astype(dtype),
            samples(dtype)[::3],
            samples(dtype).astype(dtype.newbyteorder(">")),
        ):
            assert_bits(u(x), plain(x))
    for dtype in COMPUTED:
        assert_bits(u(samples(dtype)), plain(samples(dtype)))
    default_dtype("float32")
    assert gorsqrt.numpy.rsqrt is rsqrt
    assert u(np.array([4])).dtype == np.dtype(getattr(ml_dtypes, default, default)), "a ufunc keeps its dtypes"


@pytest.mark.spec("2.8")
@pytest.mark.parametrize("first", ["ml_dtypes", "gorsqrt.numpy"])
@pytest.mark.parametrize("default", ["float32", "bfloat16"])
def test_bfloat16_whenever_it_comes(first, default):
    """numpy would compute it in float32, and do so for as long as the ufunc lives."""
    run(f"""
        import numpy as np, gorsqrt, {first}, gorsqrt.numpy
        gorsqrt.set_default_dtype({default!r})
        rsqrt = gorsqrt.numpy.rsqrt
        assert rsqrt(np.float64(4)) == 0.5
        if {first!r} != "ml_dtypes" and {default!r} == "bfloat16":
            try:
                rsqrt(np.array([4]))
            except TypeError as error:
                assert "needs the package ml_dtypes to be imported" in str(error)
        import ml_dtypes
        x = np.arange(65536, dtype=np.uint16).view(ml_dtypes.bfloat16)
        for _ in range(2):
            result = rsqrt(x)
            assert result.dtype == x.dtype and result.tobytes() == gorsqrt.rsqrt(x).tobytes()
            integers = rsqrt(np.array([4, 16]))
            assert integers.dtype == np.dtype(getattr(ml_dtypes, {default!r}, {default!r})) and integers.tolist() == [0.5, 0.25]
            assert rsqrt(x, dtype="f4").dtype == np.float32
        """)


# The object.


def test_it_is_a_ufunc():
    assert isinstance(rsqrt, np.ufunc)
    assert (rsqrt.nin, rsqrt.nout, rsqrt.identity, rsqrt.__name__) == (1, 1, None, "rsqrt")
    assert repr(rsqrt) == "<ufunc 'rsqrt'>"
    assert (rsqrt.__module__, rsqrt.__qualname__) == ("gorsqrt.numpy", "rsqrt")
    assert rsqrt.__doc__.startswith(
        "rsqrt(x, /, out=None, *, where=True, casting='same_kind', order='K', dtype=None, subok=True"
    )
    for section in ("Parameters", "Returns", "Raises", "Notes", "Examples"):
        assert f"\n{section}\n" in rsqrt.__doc__
    assert set(gorsqrt.numpy.__all__) <= set(dir(gorsqrt.numpy))
    with pytest.raises(AttributeError, match=r"module 'gorsqrt\.numpy' has no attribute 'rsqrt_int8'"):
        _ = gorsqrt.numpy.rsqrt_int8
    with pytest.raises(AttributeError, match="has no attribute 'float32'"):
        _ = gorsqrt.numpy.float32


def test_docstrings_run():
    runner, parser = doctest.DocTestRunner(), doctest.DocTestParser()
    for documented in (gorsqrt.numpy, rsqrt):
        examples = parser.get_doctest(documented.__doc__, {}, documented.__name__, None, 0)
        assert examples.examples
        assert runner.run(examples).failed == 0


@pytest.mark.parametrize("default", DEFAULTS)
def test_pickle(default):
    ufunc = getattr(gorsqrt.numpy, f"rsqrt_{default}")
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        pickled = pickle.dumps(ufunc, protocol)
        assert pickle.loads(pickled) is ufunc
    assert copy.deepcopy(ufunc) is ufunc
    assert run(f"import ml_dtypes, pickle; print(pickle.loads({pickled!r})(4).dtype)") == f"{default}\n"


@pytest.mark.spec("8.4")
def test_import():
    run("""
        import sys, gorsqrt
        assert "numpy" not in sys.modules and "gorsqrt.numpy" not in sys.modules
        gorsqrt.numpy.rsqrt
        assert "gorsqrt.numpy" in sys.modules and "ml_dtypes" not in sys.modules and "torch" not in sys.modules
        """)


@pytest.mark.parametrize(
    "arguments", [(), (2,), (2, ("a",)), (2, ["a", "b"]), (4, ("a", "b")), (-1, ("a", "b")), (2, (1, "b"))]
)
def test_the_maker_refuses_wrong_arguments(arguments):
    with pytest.raises((TypeError, ValueError)):
        gorsqrt._gorsqrt.ufunc(*arguments)


# Threads, processes, signals.


@pytest.mark.spec("8.1")
def test_threads():
    """Each asks for the ufunc of a default dtype for itself."""
    code = """
        import sys, threading
        import numpy as np, gorsqrt, gorsqrt.numpy, ml_dtypes
        sys.setswitchinterval(1e-6)
        barrier, found, bad = threading.Barrier(8), [], []
        arrays = [np.arange(1, n + 1).astype(t) for n in (1, 100, 3000, 300000) for t in ("f4", "f8", "i4", ml_dtypes.bfloat16)]
        want = [gorsqrt.rsqrt(x).tobytes() for x in arrays]
        def work():
            barrier.wait()
            found.append(gorsqrt.numpy.rsqrt)
            for _ in range(20):
                for x, bits in zip(arrays, want):
                    if found[-1](x).tobytes() != bits:
                        bad.append((x.dtype, x.size))
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert len(set(map(id, found))) == 1 and not bad, bad
        """
    for _ in range(3):
        run(code)


@pytest.mark.spec("8.2")
def test_forks():
    x = np.random.default_rng(1).random(1 << 21)
    calls = [
        lambda: rsqrt(x),
        lambda: rsqrt(x[::3]),
        lambda: rsqrt(x[:5].astype(int)),
        lambda: gorsqrt.numpy.rsqrt_float16(x[:9].astype("i2")),
    ]
    want = [call().tobytes() for call in calls[:3]]
    for _ in range(3):
        child = os.fork()
        if child == 0:
            good = [call().tobytes() for call in calls][:3] == want
            child = os.fork()
            if child == 0:
                os._exit(0 if good and calls[1]().tobytes() == want[1] else 1)
            os._exit(os.waitpid(child, 0)[1] or not good)
        assert os.waitpid(child, 0)[1] == 0


@pytest.mark.spec("9.3")
def test_small_stacks():
    run("""
        import threading
        import numpy as np, ml_dtypes, gorsqrt
        from gorsqrt import _gorsqrt
        from gorsqrt.numpy import rsqrt
        gorsqrt.set_num_threads(3)
        arrays = [np.arange(1, n + 1).astype(t) for n in (1, 3, 300, 9000, 300000)
                  for t in ("f2", "f4", "f8", "c8", "c16", ml_dtypes.bfloat16, "i8", "u1", "?", ">f8")]
        def work(into):
            for x in arrays:
                y = rsqrt(x)
                shared = x.copy()
                if x.dtype.kind in "fcV" and x.dtype.isnative:
                    rsqrt(shared[1:], out=shared[:-1])
                out = np.zeros(x.size * 2, y.dtype)[::2]
                masked = np.zeros_like(y)
                rsqrt(x[::-1], out=out)
                rsqrt(x, out=masked, where=np.arange(x.size) % 3 > 0)
                turned = rsqrt(x.reshape(-1, 1)[:, ::-1].T)
                into.append([a.tobytes() for a in (y, shared, out, masked, turned)])
        for tier in gorsqrt.show_config("dicts")["tiers"]:
            _gorsqrt.binding_SetTier(tier)
            want, got = [], []
            work(want)
            threading.stack_size(32768)
            thread = threading.Thread(target=work, args=(got,))
            thread.start(), thread.join()
            threading.stack_size(0)
            assert got == want and len(got) == 50, (tier, len(got))
        """)


@pytest.mark.spec("8.3")
def test_ctrl_c():
    output = run(
        """
        import os, signal, threading
        import numpy as np
        from gorsqrt.numpy import rsqrt
        signal.signal(signal.SIGINT, signal.default_int_handler)
        x = np.zeros(1 << 27)
        started = threading.Event()
        threading.Thread(target=lambda: (started.wait(), os.kill(os.getpid(), signal.SIGINT))).start()
        try:
            started.set()
            rsqrt(x, out=x)
        except KeyboardInterrupt:
            print("interrupted", (x[:: 1 << 16] == 0).any())
        assert rsqrt(4.0) == 0.5
        """,
        GORSQRT_ISA="scalar",
    )
    assert output == "interrupted True\n"


@pytest.mark.spec("8.1")
def test_the_gil_is_given_up():
    x = np.ones(1 << 24, np.complex128)
    done, counted = threading.Event(), [0]

    def count():
        while not done.is_set():
            counted[0] += 1

    thread = threading.Thread(target=count)
    thread.start()
    before = counted[0]
    rsqrt(x, out=x)
    meanwhile = counted[0] - before
    done.set()
    thread.join()
    assert meanwhile > 1000


def test_settings_are_followed(tier):
    """By a ufunc that was made under others."""
    x = np.random.default_rng(2).random(1 << 18)
    threads = gorsqrt.get_num_threads()
    try:
        for n in (1, 3):
            gorsqrt.set_num_threads(n)
            assert_bits(rsqrt(x), plain(x))
    finally:
        gorsqrt.set_num_threads(threads)
