"""Has torch.compile and torch.export trace the two functions to the ops."""

import contextlib
import functools

import torch

import gorsqrt

from . import _patch


def register():
    """Have torch.compile and torch.export trace the two functions to the ops."""
    rules = getattr(torch._dynamo.trace_rules, "get_torch_obj_rule_map", None)
    if rules:
        _patch.mend(rules())
    with contextlib.suppress(ImportError):  # of what this version of torch keeps elsewhere
        _trace_methods()

    @torch.compiler.substitute_in_graph(gorsqrt.rsqrt)
    def traced_rsqrt(input, *, out=None):
        array = None
        if not isinstance(input, torch.Tensor):
            input, array = torch.from_numpy(input), input
        if out is None:
            result = torch.ops.gorsqrt.rsqrt(input)
            return result if array is None else result.numpy()
        to = out if isinstance(out, torch.Tensor) else torch.from_numpy(out)
        can_cast = to.is_complex() or (to.is_floating_point() and not input.is_complex())
        if to.is_contiguous() or to.shape != input.shape or not can_cast:
            torch.ops.gorsqrt.rsqrt.out(input, out=to)
        else:  # Dynamo refuses an out= that is not contiguous
            to.copy_(torch.ops.gorsqrt.rsqrt(input))
        return out

    @torch.compiler.substitute_in_graph(gorsqrt.rsqrt_)
    def traced_rsqrt_(input):
        if isinstance(input, torch.Tensor):
            return torch.ops.gorsqrt.rsqrt_(input)
        torch.ops.gorsqrt.rsqrt_(torch.from_numpy(input))
        return input


def _trace_methods():
    """Have x.rsqrt() traced as patch() has it, and compiled anew when that changes.

    Dynamo guards no method of tensors and puts its name into the graph. By the name Inductor would
    find the code of the other function in its cache on disk.
    """
    from torch._dynamo.guards import GuardBuilder, install_guard
    from torch._dynamo.source import AttrSource
    from torch._dynamo.variables import TensorVariable
    from torch._dynamo.variables.builder import VariableBuilder

    theirs = TensorVariable.call_method

    @functools.wraps(theirs)
    def call_method(self, tx, name, args, kwargs):
        if name not in ("rsqrt", "rsqrt_"):
            return theirs(self, tx, name, args, kwargs)
        method, source = getattr(torch.Tensor, name), AttrSource(AttrSource(tx.import_source("torch"), "Tensor"), name)
        if _patch.is_ours(method):
            return VariableBuilder(tx, source)(method).call_function(tx, [self, *args], kwargs)
        install_guard(source.make_guard(GuardBuilder.ID_MATCH))
        return theirs(self, tx, name, args, kwargs)

    TensorVariable.call_method = call_method
