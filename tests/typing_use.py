"""Code that a user's strict mypy must accept. tests/test_package.py checks it; nothing runs it."""

from array import array

import array_api_strict as xp
import jax
import jax.numpy
import numpy as np
import torch

import gorsqrt

ndarray = np.ones((2, 3), np.float32)
same: np.ndarray[tuple[int, int], np.dtype[np.float32]] = gorsqrt.rsqrt(ndarray)
into: array[float] = gorsqrt.rsqrt(ndarray, out=array("f", [0.0] * 6))
from_array: array[float] = gorsqrt.rsqrt(array("d", [4.0]))
from_bytes: memoryview[float] = gorsqrt.rsqrt(bytearray(8))
in_place: memoryview[float] = gorsqrt.rsqrt_(memoryview(bytearray(8)).cast("f"))
from_jax: jax.Array = gorsqrt.rsqrt(jax.numpy.ones(3))
same_namespace = gorsqrt.rsqrt(xp.ones(3)) + gorsqrt.rsqrt(xp.ones(3), out=xp.zeros(3))


class Producer:
    def __dlpack__(self, *, max_version: tuple[int, int] | None = None, copy: bool | None = None) -> object: ...


from_producer: memoryview[float] = gorsqrt.rsqrt(Producer())
with gorsqrt.torch.patch() as patched:
    from_tensor: torch.Tensor = gorsqrt.rsqrt(torch.ones(3))
    into_tensor: torch.Tensor = gorsqrt.rsqrt(ndarray, out=torch.ones(2, 3))
    tensor_in_place: torch.Tensor = gorsqrt.rsqrt_(torch.ones(3))
patched.undo()
by_ufunc: np.ufunc = gorsqrt.numpy.rsqrt
version: str = gorsqrt.__version__
tiers: list[str] = gorsqrt.show_config("dicts")["tiers"]
gorsqrt.rsqrt(4.0)  # type: ignore[call-overload]
gorsqrt.rsqrt([4.0])  # type: ignore[call-overload]
gorsqrt.rsqrt(ndarray, ndarray)  # type: ignore[call-overload]
