"""Registers gorsqrt with parts of torch that are imported later, or never, without importing them.

Importing torch._dynamo or torch.distributed.tensor takes seconds, so gorsqrt.torch can't do that to register itself there. A finder
at the head of sys.meta_path sees their names go by, and no other's; when both are there it goes away.
"""

import sys
import warnings
from importlib.util import find_spec

HOOKS = {"torch._dynamo": "register_dynamo", "torch.distributed.tensor": "register_dtensor"}


def register(name):
    """Registers with the module of this name. An error of ours must not become an error of that import."""
    try:
        from . import torch

        getattr(torch, HOOKS[name])()
    except Exception as error:
        warnings.warn(f"gorsqrt could not register with {name}: {error!r}", RuntimeWarning, stacklevel=2)


class Finder:
    """Finds nothing; lends the modules of HOOKS a loader that registers once they are loaded."""

    def __init__(self, names):
        self.names = names

    def find_spec(self, name, path=None, target=None):
        if name not in self.names:
            return None
        self.names.discard(name)
        spec = find_spec(name)
        if spec and spec.loader:
            spec.loader = Loader(spec.loader)
        if not self.names and self in sys.meta_path:
            sys.meta_path.remove(self)
        return spec


class Loader:
    """The loader that it is made from, which it puts back before the module can see it."""

    def __init__(self, loader):
        self.loader = loader

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        register(module.__name__)


def watch():
    """Registers with what is imported already, and with the rest when it is."""
    absent = {name for name in HOOKS if name not in sys.modules}
    if absent:
        sys.meta_path.insert(0, Finder(absent))
    for name in HOOKS.keys() - absent:
        register(name)
