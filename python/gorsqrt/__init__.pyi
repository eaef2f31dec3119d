from array import array
from ctypes import Array
from mmap import mmap
from typing import Literal, TypedDict, TypeVar, overload

from typing_extensions import Buffer

__all__ = ["__version__", "rsqrt", "rsqrt_", "show_config"]

__version__: str

_Number = TypeVar("_Number", int, float)
_Input = TypeVar("_Input", bound=Buffer)
_Output = TypeVar("_Output", bound=Buffer)

@overload
def rsqrt(input: Buffer, *, out: _Output) -> _Output: ...
@overload
def rsqrt(input: array[_Number], *, out: None = None) -> array[float]: ...
@overload
def rsqrt(input: memoryview | bytes | bytearray | mmap | Array[object], *, out: None = None) -> memoryview: ...  # type: ignore[overload-overlap]
@overload
def rsqrt(input: _Input, *, out: None = None) -> _Input: ...
def rsqrt_(input: _Input) -> _Input: ...

class _Config(TypedDict):
    version: str
    tier: str
    tiers: list[str]
    threads: int
    caches: dict[str, int]
    go: str
    gopy: str
    cuda_driver: str | None

@overload
def show_config(mode: Literal["stdout"] = "stdout") -> None: ...
@overload
def show_config(mode: Literal["dicts"]) -> _Config: ...
