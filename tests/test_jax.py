"""The contract on jax's arrays, eagerly and under jax's transformations.

The first test imports jax, and not this module, since jax warns of every fork once it is imported.
"""

import ctypes
import importlib.util
import re
import subprocess
import sys

import cuda_double as double
import numpy as np
import pytest
import torch
from test_calls import SUPPORTED
from test_cuda_arrays import run
from test_dtypes import BF16, COMPLEX, INTEGER, REAL, bits, ids, samples
from test_process import python

import gorsqrt

WITHOUT_64 = [d for d in (*REAL, *COMPLEX, *INTEGER) if d.itemsize // (2 if d.kind == "c" else 1) < 8]
X = np.array([4, 16, 25, 0.25], np.float32)
Y = gorsqrt.rsqrt(X)


@pytest.fixture(scope="module")
def jax():
    return importlib.import_module("jax")


@pytest.fixture
def x64(jax):
    jax.config.update("jax_enable_x64", True)
    yield jax
    jax.config.update("jax_enable_x64", False)


def same_bits(ours, want):
    assert ours.dtype == want.dtype
    assert ours.shape == want.shape
    np.testing.assert_array_equal(bits(np.asarray(ours)), bits(want))


@pytest.mark.spec("1.1", "1.2", "1.3")
def test_jax_in_jax_out(jax):
    x = jax.numpy.asarray(X)
    for result in (gorsqrt.rsqrt(x), gorsqrt.rsqrt(input=x), gorsqrt.rsqrt(x, out=None)):
        assert type(result) is type(x)
        assert isinstance(result, jax.Array)
        assert result.devices() == x.devices()
        same_bits(result, Y)
    assert gorsqrt.rsqrt(jax.numpy.asarray(4.0)).weak_type  # it promotes as its input does
    for shape in ((), (0,), (3, 0), (1,) * 30, (1,) * 70):
        assert gorsqrt.rsqrt(jax.numpy.full(shape, 4.0)).shape == shape


@pytest.mark.spec("1.3", "2.1", "2.2", "6.1", "6.2", "6.8")
@pytest.mark.parametrize("dtype", [*REAL, *COMPLEX, *INTEGER], ids=ids)
def test_the_same_bits_as_numpys(x64, tier, dtype):
    """Subnormals too, in XLA's threads, which flush them."""
    if dtype.kind in "fc" or dtype == BF16:
        random = np.random.default_rng(5)
        x = np.frombuffer(random.bytes(4001 * dtype.itemsize), dtype)
    elif dtype.kind == "b":
        x = np.array([True, False] * 33)
    else:
        top = np.iinfo(dtype).max
        near = [n for k in range(dtype.itemsize * 8) for n in (2**k - 1, 2**k, 2**k + 1) if n <= top]
        x = np.array([*near, np.iinfo(dtype).min, *range(100)], dtype)
    for view in (x, x[:1], x[:65], x[-66:].reshape(2, 33) if len(x) >= 66 else x, x[:0]):
        ours = x64.numpy.asarray(view)
        same_bits(gorsqrt.rsqrt(ours), gorsqrt.rsqrt(view))
        same_bits(x64.jit(gorsqrt.rsqrt)(ours), gorsqrt.rsqrt(view))


@pytest.mark.spec("2.2")
@pytest.mark.parametrize("default", ["float16", BF16, "float64"])
def test_integers_follow_the_default_dtype(x64, default):
    x = np.array([0, 1, 2, 3, 65519, 65520, 2**24 + 1, 2**31 - 1], np.int32)
    try:
        gorsqrt.set_default_dtype(default)
        same_bits(gorsqrt.rsqrt(x64.numpy.asarray(x)), gorsqrt.rsqrt(x))
        if default == "float64":
            x64.config.update("jax_enable_x64", False)
            with pytest.raises(TypeError, match=r"a jax\.Array can't have dtype float64 while jax_enable_x64"):
                gorsqrt.rsqrt(x64.numpy.asarray(x))
    finally:
        gorsqrt.set_default_dtype("float32")


@pytest.mark.spec("2.7")
def test_unsupported_dtypes(jax):
    for x, name in (
        (jax.numpy.ones(3, "float8_e4m3fn"), "float8_e4m3fn"),
        (jax.numpy.ones(3, "int4"), "int4"),
        (jax.random.key(0), "key<fry>"),
    ):
        text = f"argument 'input' has dtype {name}, which is not supported; supported are {SUPPORTED}"
        with pytest.raises(TypeError, match=re.escape(f"rsqrt(): {text}")):
            gorsqrt.rsqrt(x)
        with pytest.raises(TypeError, match=re.escape(f"rsqrt(): {text}")):
            jax.jit(gorsqrt.rsqrt)(x)
        with pytest.raises(TypeError, match=re.escape(f"rsqrt_(): {text}")):
            gorsqrt.rsqrt_(x)


@pytest.mark.spec("3.4", "3.6")
def test_jax_arrays_are_immutable(jax):
    x = jax.numpy.asarray(X)
    out = "rsqrt(): argument 'out' is read-only, since jax arrays are immutable; a writable array is needed"
    in_place = "rsqrt_(): argument 'input' is read-only, since jax arrays are immutable; a writable array is needed"
    for call, text in (
        (lambda: gorsqrt.rsqrt(X, out=x), out),
        (lambda: gorsqrt.rsqrt(x, out=x), out),
        (lambda: gorsqrt.rsqrt(x, out=jax.numpy.zeros(3)), out),
        (lambda: jax.jit(lambda t: gorsqrt.rsqrt(x, out=t))(x), out),
        (lambda: gorsqrt.rsqrt_(x), in_place),
        (lambda: jax.jit(gorsqrt.rsqrt_)(x), in_place),
    ):
        with pytest.raises(ValueError, match=re.escape(text)) as caught:
            call()
        assert str(caught.value).splitlines()[0] == text
    same_bits(x, X)


@pytest.mark.spec("1.2", "2.3", "3.1")
@pytest.mark.parametrize("dtype", WITHOUT_64, ids=ids)
def test_out_of_another_container(jax, dtype):
    with np.errstate(all="ignore"):
        x = samples(dtype)
    out = np.zeros(x.shape, np.complex128)
    assert gorsqrt.rsqrt(jax.numpy.asarray(x), out=out) is out
    np.testing.assert_array_equal(out, gorsqrt.rsqrt(x, out=np.zeros_like(out)))


def test_beside_torch(jax):
    tensor = torch.zeros(4)
    assert gorsqrt.rsqrt(jax.numpy.asarray(X), out=tensor) is tensor
    same_bits(tensor.numpy(), Y)
    with pytest.raises(ValueError, match="jax arrays are immutable"):
        gorsqrt.rsqrt(tensor, out=jax.numpy.asarray(X))


@pytest.mark.spec("3.6")
def test_out_of_what_is_traced(jax):
    out = np.full(4, 77, np.float32)
    text = "rsqrt(): argument 'input' is a jax array without memory, because jax is tracing it; call without out"
    with pytest.raises(RuntimeError, match=re.escape(text)):
        jax.jit(lambda x: gorsqrt.rsqrt(x, out=out))(X)
    assert (out == 77).all()
    with pytest.raises(RuntimeError, match="does not match the required output shape"):
        gorsqrt.rsqrt(jax.numpy.asarray(X), out=out[:3])


def test_arrays_that_are_still_being_computed(jax):
    """jax answers before it has the values; writing them to an out waits for them."""
    slow = jax.jit(lambda x: (x @ x) * 0 + 4)
    out = np.zeros((1500, 1500), np.float32)
    gorsqrt.rsqrt(slow(jax.numpy.ones((1500, 1500))), out=out)
    assert (out == 0.5).all()


def test_deleted_arrays(jax):
    x = jax.numpy.asarray(X) + 0
    x.delete()
    for call in (lambda: gorsqrt.rsqrt(x), lambda: gorsqrt.rsqrt(x, out=X.copy())):
        with pytest.raises(RuntimeError, match="deleted"):
            call()


# Transformations.


def test_jit_vmap_scan(jax):
    x = np.arange(1, 25, dtype=np.float32).reshape(2, 3, 4)
    want = gorsqrt.rsqrt(x)
    f = gorsqrt.rsqrt
    for g in (f, jax.jit(f), jax.vmap(f), jax.vmap(jax.vmap(f)), jax.jit(jax.vmap(f)), jax.checkpoint(f)):
        same_bits(g(jax.numpy.asarray(x)), want)
    for axis in range(3):
        same_bits(jax.vmap(f, in_axes=axis, out_axes=axis)(x), want)
    same_bits(jax.lax.map(f, jax.numpy.asarray(x)), want)
    same_bits(jax.lax.scan(lambda carry, t: (carry, f(t)), 0, x)[1], want)
    same_bits(jax.jit(lambda t: f(t.T).T)(x), gorsqrt.rsqrt(x))
    with jax.disable_jit():
        same_bits(f(jax.numpy.asarray(x)), want)
    assert jax.eval_shape(f, x.astype(np.float16)).dtype == np.float16
    jaxpr = str(jax.make_jaxpr(f)(x))
    assert "gorsqrt" in jaxpr
    assert "callback" not in jaxpr


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_derivatives(x64, dtype):
    """Forward, backward, second and batched, against finite differences and jax's own rsqrt."""
    jax, random = x64, np.random.default_rng(6)
    x = random.random(7) + 0.5
    x = jax.numpy.asarray(x if dtype == "float64" else x + 1j * random.standard_normal(7))
    theirs = jax.lax.rsqrt
    from jax.test_util import check_grads

    check_grads(gorsqrt.rsqrt, (x,), order=3, modes=["fwd", "rev"])
    for transform in (
        lambda f: jax.jvp(f, (x,), (x * 2,)),
        lambda f: jax.vjp(f, x)[1](x * 3),
        lambda f: jax.jacfwd(f, holomorphic=dtype == "complex128")(x),
        lambda f: jax.jacrev(f, holomorphic=dtype == "complex128")(x),
        lambda f: jax.jit(jax.vmap(jax.grad(f, holomorphic=dtype == "complex128")))(x),
        lambda f: jax.hessian(lambda t: f(t).sum(), holomorphic=dtype == "complex128")(x),
        lambda f: jax.linearize(f, x)[1](x),
    ):
        for ours, want in zip(jax.tree.leaves(transform(gorsqrt.rsqrt)), jax.tree.leaves(transform(theirs)), strict=True):
            np.testing.assert_allclose(ours, want, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_gradients_are_torchs(jax, dtype):
    """-0.5 · g · y³, to the last steps of the dtype: XLA multiplies 16-bit floats in float32."""
    x = np.linspace(0.1, 9, 64).astype(np.float32)
    t = torch.from_numpy(x).to(getattr(torch, dtype)).requires_grad_()
    torch.rsqrt(t).sum().backward()
    grad = jax.grad(lambda a: gorsqrt.rsqrt(a).astype("float32").sum())(jax.numpy.asarray(x, dtype))
    assert grad.dtype == dtype
    step = {"float16": 2**-10, "bfloat16": 2**-7, "float32": 2**-23}[dtype]
    np.testing.assert_allclose(np.asarray(grad, np.float32), t.grad.float().numpy(), rtol=4 * step)


def test_integers_have_no_gradient(jax):
    y, back = jax.vjp(gorsqrt.rsqrt, jax.numpy.arange(1, 4))
    same_bits(y, gorsqrt.rsqrt(np.arange(1, 4)))
    assert back(y)[0].dtype == jax.dtypes.float0


def test_export_with_a_symbolic_shape(jax):
    export = importlib.import_module("jax.export")
    shape = jax.ShapeDtypeStruct(export.symbolic_shape("n, 3"), np.float32)
    allowed = [export.DisabledSafetyCheck.custom_call("gorsqrt")]
    exported = export.export(jax.jit(gorsqrt.rsqrt), disabled_checks=allowed)(shape)
    same_bits(exported.call(np.full((5, 3), 4, np.float32)), np.full((5, 3), 0.5, np.float32))


def test_sharded_arrays():
    """They are computed where their shards are, and stay sharded.

    It is a program of its own, since jax counts devices once.
    """
    python(
        """
        import numpy as np, jax, gorsqrt
        from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
        devices = np.array(jax.devices())
        assert len(devices) == 4
        auto, explicit = Mesh(devices.reshape(2, 2), ("a", "b")), jax.make_mesh((2, 2), ("a", "b"))
        x = np.arange(1, 65, dtype=np.float32).reshape(8, 8)
        want = gorsqrt.rsqrt(x)
        for mesh in (auto, explicit):
            for spec in (P("a"), P(None, "b"), P("a", "b"), P(("a", "b")), P(None, ("b", "a"))):
                sharded = jax.device_put(x, NamedSharding(mesh, spec))
                assert "all-gather" not in jax.jit(gorsqrt.rsqrt).lower(sharded).compile().as_text(), spec
                for result in (gorsqrt.rsqrt(sharded), jax.jit(gorsqrt.rsqrt)(sharded)):
                    assert result.sharding.is_equivalent_to(sharded.sharding, 2), (result.sharding, sharded.sharding)
                    np.testing.assert_array_equal(result, want)
            inside = jax.jit(jax.shard_map(gorsqrt.rsqrt, mesh=mesh, in_specs=P("a"), out_specs=P("a")))
            np.testing.assert_array_equal(inside(jax.device_put(x, NamedSharding(mesh, P("a")))), want)
        try:
            gorsqrt.rsqrt(sharded, out=np.empty((8, 8), np.float32))
        except BufferError as error:
            assert "unsharded" in str(error)
        else:
            raise AssertionError("an array of several memories has been read as one")
        """,
        XLA_FLAGS="--xla_force_host_platform_device_count=4",
    )


# On CUDA devices: the function that XLA calls there, by the test double of the driver, and all that
# jax does without a device.

# A caller as XLA is one, from its own header.
CALLER = r"""
#include <stdio.h>
#include "xla/ffi/api/c_api.h"

static char said[1000];
static void *stream;

static XLA_FFI_Error *create_error(XLA_FFI_Error_Create_Args *args) {
    snprintf(said, sizeof said, "%d %s", (int)args->errc, args->message);
    return (XLA_FFI_Error *)said;
}

static XLA_FFI_Error *get_stream(XLA_FFI_Stream_Get_Args *args) {
    if (args->struct_size < sizeof *args || args->ctx != (XLA_FFI_ExecutionContext *)0x77) return (XLA_FFI_Error *)"no stream";
    args->stream = stream;
    return NULL;
}

const char *call(XLA_FFI_Handler *handler, void *on, void *context, int type, void *x, void *y, int64_t rank, int64_t *xdims,
                 int64_t *ydims) {
    XLA_FFI_Api api = {.struct_size = sizeof api};
    api.XLA_FFI_Error_Create = create_error;
    api.XLA_FFI_Stream_Get = get_stream;
    stream = on;
    XLA_FFI_Buffer in = {.struct_size = sizeof in, .dtype = type, .data = x, .rank = rank, .dims = xdims};
    XLA_FFI_Buffer out = {.struct_size = sizeof out, .dtype = type, .data = y, .rank = rank, .dims = ydims};
    XLA_FFI_ArgType arg_type = XLA_FFI_ArgType_BUFFER;
    XLA_FFI_RetType ret_type = XLA_FFI_RetType_BUFFER;
    void *args[] = {&in}, *rets[] = {&out};
    XLA_FFI_CallFrame frame = {.struct_size = sizeof frame, .api = &api, .ctx = context};
    frame.stage = XLA_FFI_ExecutionStage_EXECUTE;
    frame.args = (XLA_FFI_Args){sizeof frame.args, NULL, 1, &arg_type, args};
    frame.rets = (XLA_FFI_Rets){sizeof frame.rets, NULL, 1, &ret_type, rets};
    return (const char *)handler(&frame);
}

int version(XLA_FFI_Handler *handler) {
    XLA_FFI_Metadata metadata = {.struct_size = sizeof metadata, .api_version = {.struct_size = sizeof metadata.api_version}};
    XLA_FFI_Metadata_Extension extension = {{sizeof extension, XLA_FFI_Extension_Metadata, NULL}, &metadata};
    XLA_FFI_CallFrame frame = {.struct_size = sizeof frame, .extension_start = &extension.extension_base};
    return handler(&frame) || metadata.api_version.major_version ? -1 : metadata.api_version.minor_version;
}
"""

XLA_TYPES = {"float16": 10, "float32": 11, "float64": 12, "complex64": 15, "bfloat16": 16, "complex128": 18}


def caller(folder):
    """The caller, compiled."""
    (include,) = importlib.util.find_spec("jaxlib").submodule_search_locations
    source, library = folder / "caller.c", folder / "caller.so"
    source.write_text(CALLER)
    subprocess.run(["cc", "-std=c11", "-shared", "-fPIC", f"-I{include}/include", source, "-o", library], check=True)
    return library


@pytest.mark.spec("7.11", "6.8", "8.5")
def test_what_xla_calls_on_a_cuda_device(tmp_path):
    run(f"import test_jax; test_jax.on_a_cuda_device('{caller(tmp_path)}')", double.build())


def on_a_cuda_device(path):
    """Enqueued on XLA's stream, with numpy's bits; errors are XLA's."""
    library = ctypes.CDLL(path)
    library.call.restype = ctypes.c_char_p
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    _, capsule = gorsqrt._gorsqrt.xla_targets(7)
    target = pointer(capsule, b"xla._CUSTOM_CALL_TARGET")
    assert library.version(ctypes.c_void_p(target)) == 7

    def call(stream, dtype, x, y, shape, other=None, context=0x77):
        def lengths(n):
            return (ctypes.c_int64 * (len(n) or 1))(*n)

        words = [ctypes.c_void_p(word) for word in (target, stream, context)]
        memory = [ctypes.c_void_p(word) for word in (x, y)]
        return library.call(*words, dtype, *memory, ctypes.c_int64(len(shape)), lengths(shape), lengths(other or shape))

    stream = double.stream(1)
    for dtype in [*REAL, *COMPLEX]:
        for shape in ((), (1,), (33,), (3, 0, 2), (4, 5, 6), (1027,)):
            n = int(np.prod(shape))
            x = np.frombuffer(np.random.default_rng(n).bytes(n * dtype.itemsize), dtype)
            a, b = double.Memory(x.tobytes(), 1), double.Memory(b"\x77" * x.nbytes, 1)
            double.log()
            assert call(stream, XLA_TYPES[dtype.name], a.address, b.address, shape) is None
            assert b.peek() == b"\x77" * x.nbytes
            launched = [line for line in double.log() if "threads on" in line]
            assert [line.rpartition(" ")[2] for line in launched] == [hex(stream)] * (n > 0)
            assert b.read(stream) == bits(gorsqrt.rsqrt(x)).tobytes()
            assert a.peek() == x.tobytes()
            assert call(None, XLA_TYPES[dtype.name], a.address, a.address, shape) is None  # the default stream, in place
            assert a.read() == b.peek()
    assert call(stream, 4, a.address, b.address, (3,)).startswith(
        b"3 gorsqrt takes one array and gives one of the same shape and"
    )
    assert call(stream, 11, a.address, b.address, (3,), (4,)).startswith(b"3 gorsqrt takes one array")
    assert call(stream, 11, a.address, b.address, (3,), context=0x78) == b"no stream"
    double.fail("cuLaunchKernel", 2)
    assert call(stream, 11, a.address, b.address, (3,)) == b"13 CUDA error: CUDA_ERROR_OUT_OF_MEMORY: out of memory"
    assert call(stream, 11, double.Memory(bytes(12)).address, b.address, (3,)) == (
        b"13 Expected all tensors to be on the same device, but found at least two devices, cuda:1 and cuda:0!"
    )


@pytest.mark.spec("7.11")
@pytest.mark.parametrize("dtype", [np.float32, np.int32, BF16], ids=str)
def test_lowering_for_cuda_devices(jax, dtype):
    """Without one: the same call of the function, which is registered there too."""
    for f in (gorsqrt.rsqrt, jax.vmap(gorsqrt.rsqrt), jax.grad(lambda x: gorsqrt.rsqrt(x).astype(np.float32).sum())):
        if dtype is np.int32 and f is not gorsqrt.rsqrt:
            continue
        shape = jax.ShapeDtypeStruct((3, 4), dtype)
        disabled = [jax.export.DisabledSafetyCheck.custom_call("gorsqrt")]
        texts = {}
        for platform in ("cpu", "cuda"):
            exported = jax.export.export(jax.jit(f), platforms=[platform], disabled_checks=disabled)(shape)
            texts[platform] = exported.mlir_module()
        assert texts["cuda"].count("@gorsqrt(") == texts["cpu"].count("@gorsqrt(") == 1


@pytest.mark.spec("8.5", "3.5")
def test_jax_arrays_on_other_devices(jax, monkeypatch):
    """Stand-ins for the devices: the adapter asks them for nothing but their platform."""
    import gorsqrt.jax as adapter

    for platforms, code in ((["cpu"], 0), (["gpu"], 0), (["cuda"], 0), (["rocm"], 2), (["tpu"], 2), (["cpu", "tpu"], 2)):
        devices = [type("Device", (), {"platform": name})() for name in platforms]
        assert adapter.device(type("Array", (), {"devices": lambda self, d=devices: set(d)})()) == code
    x = jax.numpy.asarray(X)
    monkeypatch.setattr(adapter, "device", lambda x: 2)
    text = "argument 'input' is on a device that is neither the CPU nor CUDA's, where this version"
    for call in (gorsqrt.rsqrt, gorsqrt.rsqrt_):
        with pytest.raises(RuntimeError, match=re.escape(f"(): {text}")):
            call(x)


def test_a_platform_without_the_kernels(jax):
    """jax itself says so when it compiles for one."""
    lowered = jax.jit(gorsqrt.rsqrt).trace(X)
    with pytest.raises(NotImplementedError, match="'gorsqrt' not found for platform rocm"):
        lowered.lower(lowering_platforms=("rocm",))


# As a guest.


@pytest.mark.spec("8.4")
def test_jax_is_not_imported_for_the_user():
    python("""
        import sys
        import numpy as np, gorsqrt
        gorsqrt.rsqrt(np.ones(3))
        gorsqrt.rsqrt(memoryview(np.ones(3)))
        assert not {"jax", "gorsqrt.jax"} & set(sys.modules)
        import jax
        assert isinstance(gorsqrt.rsqrt(jax.numpy.ones(3)), jax.Array)
    """)


@pytest.mark.spec("8.2")
def test_fork_beside_jax():
    """jax says that it does not fork; gorsqrt computes in the child all the same."""
    python(
        """
        import os
        import numpy as np, jax, gorsqrt
        x = jax.numpy.full(1000, 4.0)
        assert (gorsqrt.rsqrt(x) == 0.5).all()
        child = os.fork()
        if child == 0:
            assert (gorsqrt.rsqrt(np.full((10, 10), 4.0)[::2, ::3]) == 0.5).all()
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        """,
        PYTHONWARNINGS="ignore:os.fork:RuntimeWarning",
    )


@pytest.mark.spec("8.1")
def test_xla_calls_without_python(jax):
    """From many threads at once, long calls among them."""
    import threading

    x = jax.numpy.asarray(np.random.default_rng(7).random(300_000, np.float32))
    want = np.asarray(gorsqrt.rsqrt(np.asarray(x)))
    f, wrong = jax.jit(lambda t: gorsqrt.rsqrt(t) + 0), []

    def work():
        wrong.append(sum(not (np.asarray(f(x)) == want).all() for _ in range(20)))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [0] * 6


def test_xla_is_refused_other_calls(jax):
    """The kernel that is registered with XLA, called by hand and wrongly."""
    gorsqrt.rsqrt(jax.numpy.asarray(X))
    for arguments, result in (
        ((X, X), X),
        ((X,), X[:2]),
        ((X,), X.astype(np.float16)),
        ((X.astype(np.int32),), X.astype(np.int32)),
    ):
        call = jax.ffi.ffi_call("gorsqrt", jax.ShapeDtypeStruct(result.shape, result.dtype))
        with pytest.raises(Exception, match="gorsqrt takes one array and gives one of the same shape and floating-point dtype"):
            call(*arguments)


def test_no_leak(jax, kept):
    x, out = jax.numpy.asarray(X), np.zeros(4, np.float32)

    def work(n):
        for _ in range(n):
            gorsqrt.rsqrt(x)
            gorsqrt.rsqrt(x, out=out)
            with pytest.raises(ValueError, match="immutable"):
                gorsqrt.rsqrt_(x)

    count = sys.getrefcount(x)
    blocks, size = kept(work, 3000)
    assert abs(sys.getrefcount(x) - count) < 10
    assert blocks < 0.1
    assert size < 4  # an array of XLA's is some hundreds
