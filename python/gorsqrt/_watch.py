"""Registers gorsqrt with parts of torch that are imported later, or never, without importing them.

Importing torch or parts of it takes seconds, so gorsqrt can't do that to register itself there. A
finder at the head of sys.meta_path sees their names go by, and leaves all other names to the rest;
when all are there it goes away.
"""

import importlib
import sys
import warnings

HOOKS = {  # modules of gorsqrt.torch
    "torch": "_tracers",
    "torch._dynamo": "_dynamo",
    "torch._inductor.compile_fx": "_inductor",  # imports all that Inductor compiles with
    "torch._inductor.decomposition": "_decompositions",
    "torch.distributed.tensor": "_dtensor",
}


def register(name):
    """Registers with the module of this name. An error of ours must not become an error of that
    module's import."""
    try:
        importlib.import_module(f"gorsqrt.torch.{HOOKS[name]}").register()
    except Exception as error:
        warnings.warn(f"gorsqrt could not register with {name}: {error!r}", RuntimeWarning, stacklevel=2)


class Finder:
    """Lends the modules of these names a loader that registers with them once they are loaded."""

    def __init__(self, names):
        self.names = set(names)

    def find_spec(self, name, path=None, target=None):
        if name not in self.names:
            return None
        finders = list(sys.meta_path)
        after = finders[finders.index(self) + 1 :] if self in finders else finders
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in after)), None)
        if spec and spec.loader:
            spec.loader = Loader(spec.loader, self)
        return spec

    def loaded(self, name):
        self.names.discard(name)
        if not self.names and self in sys.meta_path:
            sys.meta_path.remove(self)
        register(name)


class Loader:
    """A module's own loader, which it puts back before the module can see it. The import lock of
    the module is held until it is registered with, so that no thread finds it without."""

    def __init__(self, loader, finder):
        self.loader, self.finder = loader, finder

    def __getattr__(self, name):  # of a loader that somebody has asked importlib.util.find_spec for
        return getattr(self.loader, name)

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        self.finder.loaded(module.__name__)


def watch():
    """Registers with what is imported already, and with the rest when it is. Once: gorsqrt may be
    reloaded."""
    global _watched
    if _watched:
        return
    _watched = True
    absent = [name for name in HOOKS if name not in sys.modules]
    if absent:
        sys.meta_path.insert(0, Finder(absent))
    for name in HOOKS:
        if name not in absent:
            register(name)


_watched = False
