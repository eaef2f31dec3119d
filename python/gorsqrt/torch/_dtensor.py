"""Tells DTensor that the ops are pointwise: they keep the placement."""

from ._ops import TWINS


def register():
    """Give the ops the sharding rules that torch has for its own."""
    from torch.distributed.tensor import DTensor

    tables = [t for t in vars(DTensor._op_dispatcher.sharding_propagator).values() if isinstance(t, dict)]
    for ours, theirs in TWINS.items():
        holding = [table for table in tables if theirs in table]
        if not holding:
            raise LookupError(f"this version of torch keeps the sharding rule of {theirs} elsewhere")
        for table in holding:
            table[ours] = table[theirs]
