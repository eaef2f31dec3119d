"""Decomposes the ops to core ATen: to torch's own op of the same kind.

Its 16-bit and complex results have torch's bits. run_decompositions and torch.onnx.export ask for
core ATen; torch.compile keeps the ops.
"""

import functools
import sys

from ._ops import TWINS


def extend():
    """Add the ops to torch.export.default_decompositions(), if this torch builds it as known."""
    theirs = getattr(sys.modules.get("torch._decomp"), "_core_aten_decompositions_post_autograd", None)
    if theirs is None:
        return

    @functools.wraps(theirs)
    def with_ours():
        return {**theirs(), **TWINS}

    sys.modules["torch._decomp"]._core_aten_decompositions_post_autograd = with_ours


def register():
    """Take the ops out of Inductor's table, which begins with that of core ATen."""
    decompositions = sys.modules["torch._inductor.decomposition"].decompositions
    for op in TWINS:
        decompositions.pop(op, None)
