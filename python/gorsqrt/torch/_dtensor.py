"""How DTensor shards the ops."""

import torch

from ._ops import FRESH, IN_PLACE, OUT


def register():
    """Give the ops the sharding rules that torch has for its own."""
    from torch.distributed.tensor import DTensor

    aten = torch.ops.aten
    twins = {aten.rsqrt.default: FRESH, aten.rsqrt_.default: IN_PLACE, aten.rsqrt.out: OUT}
    tables = [t for t in vars(DTensor._op_dispatcher.sharding_propagator).values() if isinstance(t, dict)]
    for theirs, ours in twins.items():
        holding = [table for table in tables if theirs in table]
        if not holding:
            raise LookupError(f"this version of torch keeps the sharding rule of {theirs} elsewhere")
        for table in holding:
            table[ours] = table[theirs]
