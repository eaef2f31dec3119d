"""1/√x for jax: a primitive that XLA computes by gorsqrt's kernels, on CPUs and CUDA devices.

XLA calls the kernels without Python and its lock. gorsqrt.rsqrt comes here for a jax.Array. jit,
vmap, grad, scan and sharding work on it as on any elementwise function of jax.
"""

import functools
import re
from pathlib import Path

import jax
import numpy as np
from jax.extend.core import Primitive
from jax.extend.mlir import ir
from jax.interpreters import ad, batching, mlir

from . import _gorsqrt

if jax.__version_info__ < (0, 6, 2):
    raise ImportError(f"gorsqrt works with jax 0.6.2 or newer; this is {jax.__version__}")

HERE, _, ELSEWHERE = range(3)


def _lower(ctx, x):
    # All dimensions but the last, which is of length 1, are batches: XLA computes a sharded array
    # where its shards are. The rule says that to Shardy, the attribute to XLA's partitioner.
    shape = ctx.avals_in[0].shape
    batches = ir.StringAttr.get(str(len(shape) - 1))
    attributes = {"mhlo.frontend_attributes": ir.DictAttr.get({"num_batch_dims": batches})}
    if all(isinstance(n, int) for n in shape):  # of a symbolic shape there is no rule, and so no sharding
        names = [chr(ord("i") + d) if d < 18 else f"z_{d - 17}" for d in range(len(shape))]  # as Shardy counts: i … z, z_1 …
        factors, sizes = ", ".join(names), ", ".join(f"{name}={n}" for name, n in zip(names, shape, strict=True))
        rule = f"#sdy.op_sharding_rule<([{factors}])->([{factors}]) {{{sizes}}}, custom>"
        attributes["sdy.sharding_rule"] = ir.Attribute.parse(rule)
    return jax.ffi.ffi_lowering("gorsqrt", extra_attributes=attributes)(ctx, x)


rsqrt_p = Primitive("gorsqrt")
_compiled = jax.jit(rsqrt_p.bind)


@rsqrt_p.def_impl
def _eager(x):
    with jax.disable_jit(False):  # there is nothing to show inside
        return _compiled(x)


rsqrt_p.def_abstract_eval(lambda x: x)
batching.defvectorized(rsqrt_p)
ad.defjvp2(rsqrt_p, lambda tangent, y, x: tangent * (-0.5 * y * y * y))
_header = Path(jax.ffi.include_dir(), "xla/ffi/api/c_api.h").read_text()
_minor = int(re.findall(r"#define XLA_FFI_API_MINOR (\d+)", _header)[0])
for _platform, _target in zip(("cpu", "CUDA"), _gorsqrt.xla_targets(_minor), strict=True):
    jax.ffi.register_ffi_target("gorsqrt", _target, platform=_platform)
    mlir.register_lowering(rsqrt_p, _lower, platform=_platform.lower())
jax.ffi.register_ffi_target_as_batch_partitionable("gorsqrt")


def device(x):
    """Whether gorsqrt can compute an array where it is. Of a tracer jax says so when it
    compiles."""
    if isinstance(x, jax.core.Tracer):
        return HERE
    return HERE if {d.platform for d in x.devices()} <= {"cpu", "gpu", "cuda"} else ELSEWHERE


@functools.partial(jax.jit, static_argnums=1, inline=True)
def rsqrt(x, dtype):
    """1/√x of a jax.Array, in its own dtype or, of integers, in this one."""
    if x.dtype != dtype:
        if jax.dtypes.canonicalize_dtype(dtype) != dtype:
            raise TypeError(
                f"rsqrt(): a jax.Array can't have dtype {dtype} while jax_enable_x64 is not set; choose another default"
            )
        if dtype.itemsize < 4:
            x = x.astype(np.float32)
        x = x.astype(dtype)
    return jax.lax.squeeze(rsqrt_p.bind(jax.lax.expand_dims(x, [x.ndim])), [x.ndim])
