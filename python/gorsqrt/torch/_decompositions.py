"""What the ops are in core ATen: torch's own op of the same kind, whose 16-bit and complex results
have torch's bits.

Only who asks for core ATen gets it (run_decompositions, torch.onnx.export). torch.compile keeps the
ops.
"""

import functools
import sys

from ._ops import TWINS


def extend():
    """Add the ops to torch.export.default_decompositions(), unless this version of torch makes it
    of something else."""
    theirs = getattr(sys.modules.get("torch._decomp"), "_core_aten_decompositions_post_autograd", None)
    if theirs is None:
        return

    @functools.wraps(theirs)
    def with_ours():
        return {**theirs(), **TWINS}

    sys.modules["torch._decomp"]._core_aten_decompositions_post_autograd = with_ours


def register():
    """Take them out of Inductor's table, which begins with those of core ATen."""
    decompositions = sys.modules["torch._inductor.decomposition"].decompositions
    for op in TWINS:
        decompositions.pop(op, None)
