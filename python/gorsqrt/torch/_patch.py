"""patch(): torch.rsqrt and its in-place and method forms call gorsqrt."""

import sys
import threading

import torch

import gorsqrt


class patch:  # noqa: N801
    """Have torch.rsqrt, torch.rsqrt_ and the methods rsqrt and rsqrt_ of tensors call gorsqrt.

    This holds in all threads: until the end of the block as a context manager, until ``undo()`` of
    the result as a function. Uses may be nested and may overlap. The last one to end restores what
    the first has found.

    Compiled code is compiled anew when the state changes. Graphs that torch.fx traces meanwhile
    hold gorsqrt's functions, code of torch.jit.script holds gorsqrt's ops.

    Examples
    --------
    >>> import torch, gorsqrt
    >>> with gorsqrt.torch.patch():
    ...     torch.rsqrt(torch.tensor([4.0, 16.0]))
    tensor([0.5000, 0.2500])
    >>> patched = gorsqrt.torch.patch()
    >>> torch.tensor([4.0, 16.0]).rsqrt_()
    tensor([0.5000, 0.2500])
    >>> patched.undo()
    """

    _lock = threading.Lock()
    _active = 0
    _found: list = []  # noqa: RUF012

    def __init__(self):
        self._on = True
        with patch._lock:
            patch._active += 1
            if patch._active == 1:
                _settle_tables()
                patch._found = [(owner, name, vars(owner).get(name, _ABSENT)) for owner, name in _PATCHED]
                for (owner, name), function in _PATCHED.items():
                    setattr(owner, name, function)

    def undo(self):
        """Undo this use of patch; a second call does nothing."""
        with patch._lock:
            if not self._on:
                return
            self._on = False
            patch._active -= 1
            if patch._active == 0:
                for owner, name, function in patch._found:
                    if function is _ABSENT:
                        delattr(owner, name)
                    else:
                        setattr(owner, name, function)
                _forget_methods()

    def __repr__(self):
        return f"<gorsqrt.torch.patch: {'active' if self._on else 'undone'}>"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.undo()


def _settle_tables():
    """Have torch make its tables of functions now, with its own torch.rsqrt: it keeps them."""
    torch.overrides.get_testing_overrides()
    torch.overrides.is_tensor_method_or_property(torch.rsqrt)


def _forget_methods():
    """Have Dynamo look up the methods of tensors anew: older versions may have seen ours."""
    methods = getattr(sys.modules.get("torch._dynamo.trace_rules"), "get_tensor_method", None)
    if hasattr(methods, "cache_clear"):
        methods.cache_clear()


def mend(table):
    """Put torch's functions in the place of ours in a table that torch has made while patched."""
    with patch._lock:
        for owner, name, found in patch._found:
            ours = _PATCHED[owner, name]
            if ours in table and found not in table:
                table[found] = table.pop(ours)


def is_ours(function):
    """Whether it is one of those that patch() puts in place."""
    return function in _PATCHED.values()


def _method(self):
    return gorsqrt.rsqrt(self)


def _method_(self):
    return gorsqrt.rsqrt_(self)


_ABSENT = object()
_PATCHED = {
    (torch, "rsqrt"): gorsqrt.rsqrt,
    (torch, "rsqrt_"): gorsqrt.rsqrt_,
    (torch.Tensor, "rsqrt"): _method,
    (torch.Tensor, "rsqrt_"): _method_,
}
for (_owner, _name), _function in _PATCHED.items():
    if _owner is torch.Tensor:
        _function.__name__, _function.__qualname__ = _name, f"Tensor.{_name}"
        _function.__doc__ = getattr(torch.Tensor, _name).__doc__
