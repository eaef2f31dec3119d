from ctypes import Array as CArray
from ctypes import _SimpleCData
from mmap import mmap
from pickle import PickleBuffer
from typing import Any, Literal, Protocol, SupportsIndex, TypeAlias, TypedDict, TypeVar, overload

from typing_extensions import Buffer

from . import numpy as numpy
from . import torch as torch

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

__version__: str

class _ArrayInterface(Protocol):
    """What numpy's arrays and scalars have; they are no typing.Buffer before Python 3.12."""

    @property
    def __array_interface__(self) -> dict[str, Any]: ...

class _DLPack(Protocol):
    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any: ...

class _ArrayAPI(_DLPack, Protocol):
    """An array whose namespace makes the result: jax.Array, cupy.ndarray and others of the Array
    API standard."""

    def __array_namespace__(self, *args: Any, **kwargs: Any) -> Any: ...

class _Tensor(Protocol):
    """torch.Tensor."""

    def untyped_storage(self) -> Any: ...

_Array: TypeAlias = Buffer | _ArrayInterface | _DLPack | _Tensor
_Kept: TypeAlias = Buffer | _ArrayInterface | _ArrayAPI | _Tensor
_Bytes: TypeAlias = memoryview[Any] | bytes | bytearray | mmap | CArray[Any] | _SimpleCData[Any] | PickleBuffer
_Input = TypeVar("_Input", bound=_Kept)
_Output = TypeVar("_Output", bound=_Array)

@overload
def rsqrt(input: _Array, *, out: _Output) -> _Output: ...
@overload
def rsqrt(input: _Bytes, *, out: None = None) -> memoryview[float]: ...
@overload
def rsqrt(input: _Input, *, out: None = None) -> _Input: ...  # type: ignore[overload-overlap]
@overload
def rsqrt(input: _DLPack, *, out: None = None) -> memoryview[float]: ...
def rsqrt_(input: _Output) -> _Output: ...
def set_default_dtype(d: object) -> None: ...
def get_default_dtype() -> str: ...
def set_num_threads(n: SupportsIndex) -> None: ...
def get_num_threads() -> int: ...
def empty_cache() -> None: ...

class _Config(TypedDict):
    version: str
    tier: str
    tiers: list[str]
    threads: int
    threads_from: str
    caches: dict[str, int]
    go: str
    gopy: str
    cuda_driver: str | None
    cache: dict[str, int]

@overload
def show_config(mode: Literal["stdout"] = "stdout") -> None: ...
@overload
def show_config(mode: Literal["dicts"]) -> _Config: ...
