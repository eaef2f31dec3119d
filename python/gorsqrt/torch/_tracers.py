"""Makes the two functions known to torch's tracers other than Dynamo: torch.jit.script, torch.fx,
decompositions."""

import sys

import torch.fx

import gorsqrt

from . import _decompositions


def register():
    """Enter the two functions into the tables that this version of torch has."""
    register_builtin = getattr(sys.modules.get("torch.jit._builtins"), "_register_builtin", None)
    if register_builtin:
        register_builtin(gorsqrt.rsqrt, "gorsqrt::rsqrt")
        register_builtin(gorsqrt.rsqrt_, "gorsqrt::rsqrt_")
    has_side_effect = getattr(torch.fx.node, "has_side_effect", None)
    if has_side_effect:
        has_side_effect(gorsqrt.rsqrt_)  # or graphs whose result does not depend on its result lose it
    _decompositions.extend()
