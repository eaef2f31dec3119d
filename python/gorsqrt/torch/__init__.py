"""torch through gorsqrt.

``gorsqrt.rsqrt`` and ``gorsqrt.rsqrt_`` come here by themselves; of this package only ``patch`` is
called by a user:

>>> import torch, gorsqrt
>>> with gorsqrt.torch.patch():
...     torch.tensor([4.0, 16.0]).rsqrt()
tensor([0.5000, 0.2500])
"""

import torch as _torch  # noqa: F401  (first: gorsqrt registers with it before it goes on here)

from . import _ops  # noqa: F401  (defines torch.ops.gorsqrt)
from ._patch import patch

__all__ = ["patch"]
