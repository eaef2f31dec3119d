"""Tests an installed gorsqrt with no other package, not even pytest. smoke.sh runs it on every
CPython."""

import ctypes
import inspect
import pickle
import sys
from array import array

import gorsqrt

assert gorsqrt.rsqrt(array("d", [4, 16, 25])) == array("d", [0.5, 0.25, 0.2])
assert gorsqrt.rsqrt(memoryview(array("f", [4, 16]))).tolist() == [0.5, 0.25]
assert gorsqrt.rsqrt(memoryview(array("d", range(1, 9)))[::-2]).shape == (4,)
x = (ctypes.c_float * 3)(4, 16, 64)
assert gorsqrt.rsqrt_(x) is x
assert list(x) == [0.5, 0.25, 0.125]
assert gorsqrt.rsqrt(b"\x04\x10").tolist() == [0.5, 0.25]
for bad in (4.0, None, [1.0], "1234"):
    try:
        gorsqrt.rsqrt(bad)
    except TypeError:
        continue
    raise AssertionError(bad)
assert pickle.loads(pickle.dumps(gorsqrt.rsqrt)) is gorsqrt.rsqrt
assert str(inspect.signature(gorsqrt.rsqrt)) == "(input, *, out=None)"
assert not {"numpy", "torch"} & set(sys.modules)
config = gorsqrt.show_config("dicts")
print(f"CPython {sys.version.split()[0]}: gorsqrt {config['version']} by {config['tier']}, as it should be")
