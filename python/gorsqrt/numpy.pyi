from numpy import ufunc

__all__ = ["rsqrt"]

rsqrt: ufunc
rsqrt_float16: ufunc
rsqrt_bfloat16: ufunc
rsqrt_float32: ufunc
rsqrt_float64: ufunc
