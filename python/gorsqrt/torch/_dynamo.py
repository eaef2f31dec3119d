"""What torch.compile and torch.export make of the two functions."""

import torch

import gorsqrt


def register():
    """Have torch.compile and torch.export trace the two functions to the ops."""

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
