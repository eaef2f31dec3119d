"""The reciprocal square root, 1/√x, of arrays.

>>> from array import array
>>> import gorsqrt
>>> gorsqrt.rsqrt(array("d", [4, 16, 25]))
array('d', [0.5, 0.25, 0.2])

The functions are C and Go; ``help(gorsqrt.rsqrt)`` documents them. Importing this module imports
neither numpy nor torch.
"""

import operator

from . import _gorsqrt, _watch

__all__ = [
    "__version__",
    "empty_cache",
    "get_default_dtype",
    "get_num_threads",
    "rsqrt",
    "rsqrt_",
    "set_default_dtype",
    "set_num_threads",
    "show_config",
]

__version__ = _gorsqrt.binding_Install(f"{__name__}._gorsqrt")

rsqrt, rsqrt_ = _gorsqrt.rsqrt, _gorsqrt.rsqrt_
rsqrt.__module__ = rsqrt_.__module__ = __name__


def __getattr__(name):
    if name in ("numpy", "torch"):
        from importlib import import_module

        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def set_default_dtype(d):
    """Set the dtype that booleans and integers are cast to before they are computed.

    Parameters
    ----------
    d : dtype
        float16, bfloat16, float32 (the default at import) or float64: its name, or a dtype of
        numpy, ml_dtypes or torch. Torch tensors follow torch's own default instead.

    Raises
    ------
    TypeError
        d is another dtype, or none.
    """
    name = d
    if not isinstance(d, str):
        owner = (d if isinstance(d, type) else type(d)).__module__.partition(".")[0]
        known = owner in ("numpy", "ml_dtypes", "torch") and getattr(d, "isnative", True)
        name = (getattr(d, "name", None) or getattr(d, "__name__", None) or str(d)) if known else ""
    try:
        _gorsqrt.binding_SetDefaultDType(str(name).removeprefix("torch."))
    except ValueError:  # characters that no name has
        raise TypeError("invalid dtype object: only floating-point types are supported as the default type") from None
    except RuntimeError as error:
        if "are supported as the default type" not in str(error):
            raise
        raise TypeError(str(error)) from None


def get_default_dtype():
    """The name of the dtype that booleans and integers are cast to, "float32" unless set.

    Returns
    -------
    str
    """
    return _gorsqrt.binding_GetDefaultDType()


def set_num_threads(n):
    """Set how many threads may work on one call, the calling thread among them.

    Calls too small to gain from a second thread always use one. The results' bits don't depend on
    the number. It takes effect at once. Until it is set it is the first of these:

    - the environment variable GORSQRT_NUM_THREADS, read at import;
    - the first number of the environment variable OMP_NUM_THREADS, read at import;
    - the number of processors that this process may use: its affinity, or its control group's
      quota, rounded up.

    In a worker process of torch's DataLoader it is torch.get_num_threads(), which is 1 unless
    worker_init_fn changes it. A number set before, or in the worker, stays.

    Parameters
    ----------
    n : int
        At least 1. More than 256 are set as 256.

    Raises
    ------
    TypeError
        n is no integer.
    RuntimeError
        n is less than 1.
    OverflowError
        n does not fit into 64 bits.
    """
    n = operator.index(n)
    if not -(1 << 63) <= n < 1 << 63:
        raise OverflowError("set_num_threads(): argument 'n' does not fit into 64 bits; 1 to 256 are accepted")
    _gorsqrt.binding_SetNumThreads(n)


def get_num_threads():
    """How many threads may work on one call.

    Returns
    -------
    int
    """
    return _gorsqrt.num_threads()


def empty_cache():
    """Give the memory back that is kept for large results.

    The first write to new memory from the system takes longer than the computation. So fresh
    results of 32 MiB and more take memory that earlier results have given back.

    - Kept memory goes back by itself two seconds after its last use.
    - No more is kept than earlier results would have used.
    - At most GORSQRT_CACHE_LIMIT bytes are kept, an environment variable that is read at import. By
      default that is a GiB, or, if less, a sixteenth of the memory that the machine, the control
      group and the resource limits leave to the process.

    Results that are alive are not touched. Torch's tensors share the memory and the limit.
    array.array has memory of its own.
    """
    _gorsqrt.empty_cache()


def show_config(mode="stdout"):
    """Show how gorsqrt was built and what it uses on this machine.

    Parameters
    ----------
    mode : {"stdout", "dicts"}
        Print it, or return it.

    Returns
    -------
    dict or None
        With mode="dicts":

        - version, go, gopy
        - tier: the instruction set in use; tiers: all that this machine runs, best first
        - threads: how many may work on one call; threads_from: GORSQRT_NUM_THREADS,
          OMP_NUM_THREADS, affinity, quota, set_num_threads or torch's DataLoader
        - caches: bytes of data cache by level
        - cuda_driver: its version, None without one
        - torch: how tensors are reached: "fast" (directly), "by ops" (by torch's dispatcher, since
          this torch is not one that gorsqrt knows), or "no torch yet"
        - cache: the memory kept for large results: its limit and what is held, in bytes, the number
          of blocks, and how many results were taken from it, in all and from kept blocks

    Raises
    ------
    ValueError
        mode is neither of the two.
    """
    import json

    if mode not in ("stdout", "dicts"):
        raise ValueError(f"show_config(): argument 'mode' must be 'stdout' or 'dicts', not {mode!r}")
    config = json.loads(_gorsqrt.binding_Config())
    config |= {
        "threads": _gorsqrt.num_threads(),
        "threads_from": _gorsqrt.threads_source(),
        "torch": _gorsqrt.torch_door(),
        "cache": _gorsqrt.cache_state(),
    }
    if mode == "dicts":
        return config
    for name, value in config.items():
        print(f"{name:12}{value}")
    return None


_watch.watch()
