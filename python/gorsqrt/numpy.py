"""rsqrt as a numpy.ufunc: 1/√x with all that ufuncs have, and for all that takes ufuncs.

>>> import numpy as np
>>> from gorsqrt.numpy import rsqrt
>>> x = np.array([[4.0, 16.0], [25.0, 0.0]])
>>> rsqrt(x)
array([[0.5 , 0.25],
       [0.2 ,  inf]])
>>> rsqrt(x, where=x > 4, out=np.zeros_like(x))
array([[0.  , 0.25],
       [0.2 , 0.  ]])

Importing this module imports numpy, 1.26 or newer. The ufunc is made when it is first asked for.

``rsqrt`` computes booleans and integers in the default dtype. Since numpy keeps a ufunc's dtypes
for as long as it lives, there is a ufunc for each default dtype: ``rsqrt_float16``,
``rsqrt_bfloat16``, ``rsqrt_float32`` and ``rsqrt_float64``. ``gorsqrt.numpy.rsqrt`` is the one for
the dtype that set_default_dtype has set by then.
"""

from contextlib import suppress

import numpy  # noqa: F401  (for the extension, which finds it)

from . import _gorsqrt

__all__ = ["rsqrt"]  # noqa: F822

# By the numbers that the extension has for them.
_DEFAULT_DTYPES = ["float16", "bfloat16", "float32", "float64"]

_MADE = {}

_DOC = """The reciprocal square root of every element, 1/√x.

Parameters
----------
x : array_like
    Values of float16, bfloat16 (of ml_dtypes), float32, float64, complex64 or
    complex128, which are computed as themselves, or booleans and integers,
    which are computed in the default dtype: float32 unless
    gorsqrt.set_default_dtype says otherwise.
out : ndarray, None, or tuple of ndarray and None, optional
    Where to put the result: an array of a shape that x broadcasts to.
where : array_like, optional
    Where False, out stays as it is.
**kwargs
    casting, order, dtype, subok and signature, as of every numpy.ufunc.

Returns
-------
ndarray or scalar
    1/√x. A scalar if x is a scalar.

Raises
------
TypeError
    x's dtype is not supported, or out's can't take the result under `casting`.
KeyboardInterrupt
    After Ctrl-C in a long call; out may then be partly written.

See Also
--------
gorsqrt.rsqrt : The same of any array, by the rules of torch.rsqrt.

Notes
-----
The bits are those of gorsqrt.rsqrt, and no value causes a warning: rsqrt(±0) is
±inf, rsqrt(inf) is 0, and rsqrt(x < 0) is nan.

Examples
--------
>>> import numpy as np
>>> from gorsqrt.numpy import rsqrt
>>> rsqrt([4.0, 16.0, 25.0])
array([0.5 , 0.25, 0.2 ])
"""


def _make(dtype):
    """The ufunc that computes booleans and integers in this dtype."""
    name = "rsqrt" if dtype == "float32" else f"rsqrt_{dtype}"
    ufunc = _gorsqrt.ufunc(_DEFAULT_DTYPES.index(dtype), (name, _DOC))
    # pickle finds it by its module and name; before numpy 2.2, which has no place for the module,
    # by a search of all modules.
    with suppress(AttributeError):
        ufunc.__module__, ufunc.__qualname__ = __name__, name
    return _MADE.setdefault(dtype, ufunc)  # another thread may have made it meanwhile


def __getattr__(name):
    dtype = _gorsqrt.binding_GetDefaultDType() if name == "rsqrt" else name.removeprefix("rsqrt_")
    if dtype not in _DEFAULT_DTYPES or not name.startswith("rsqrt"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _MADE.get(dtype) or _make(dtype)


def __dir__():
    return sorted([*__all__, *(f"rsqrt_{dtype}" for dtype in _DEFAULT_DTYPES)])
