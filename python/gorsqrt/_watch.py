"""Registers gorsqrt with parts of torch that are imported later, or never, without importing them.

An import of torch or of its parts takes seconds, so gorsqrt does not import them to register. A
finder at the head of sys.meta_path waits for their names and leaves all other names to the finders
behind it. Once all of them are imported it removes itself.
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
    """Registers with the module of this name. An error of ours is not an error of its import."""
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
    """A module's own loader, and the registration after it.

    The module sees its own loader only. Its import lock is held until gorsqrt is registered, so no
    thread finds the module without.
    """

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
    """Registers with imported modules now, and with the others at their import.

    A second call does nothing: gorsqrt may be reloaded.
    """
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
