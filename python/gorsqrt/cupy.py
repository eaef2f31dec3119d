"""cupy.ndarray: the stream and device that __cuda_array_interface__ leaves out, and results.

The caller has imported cupy.
"""

import sys


def place(x):
    """x's dtype, the number of its device, and this thread's current stream there."""
    device = x.device.id
    stream = sys.modules["cupy"].cuda.get_current_stream(device)
    return x.dtype, device, stream.ptr or 1  # as the interface numbers the default stream


def empty(like, dtype, strides):
    """A fresh array of like's shape on its device, from cupy's allocator."""
    cupy = sys.modules["cupy"]
    with like.device:
        return cupy.ndarray(like.shape, dtype, cupy.cuda.alloc(like.size * dtype.itemsize), strides)
