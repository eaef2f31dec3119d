"""Contract 9.4: an exception of an argument's own code reaches the caller, from every place that
runs such code."""

import contextlib
import os
import subprocess
import sys
import types
from textwrap import dedent

import array_api_strict as xp
import numpy as np
import pytest
import torch

import gorsqrt
from gorsqrt import _gorsqrt

X = np.array([4.0, 16.0])
assert gorsqrt.rsqrt(torch.ones(1)) == 1  # from here on torch is known, and its protocol a question
RAISED = [KeyboardInterrupt, MemoryError, RecursionError, ZeroDivisionError]
WATCHED = {
    "__array_interface__", "__array_namespace__", "__array_ufunc__", "__class__", "__cuda_array_interface__", "__dlpack__",
    "__dlpack_device__", "__torch_function__", "device", "dtype", "from_dlpack",
}  # fmt: skip


class Questions:
    """Notes the questions, and answers the one of this number by raising."""

    def __init__(self, number=-1, error=None):
        self.number, self.error, self.asked, self.raised = number, error, [], None

    def ask(self, question):
        self.asked.append(question)
        if len(self.asked) == self.number + 1:
            self.raised = self.error("asked")
            raise self.raised


def watched(questions, doors):
    """An object whose class has these doors, and which notes whatever it is asked."""

    class Meta(type):
        def __getattribute__(cls, name):
            if name in WATCHED:
                questions.ask(f"type.{name}")
            return super().__getattribute__(name)

    class Length:
        def __index__(self):
            questions.ask("length")
            return 2

    class Flag:
        def __bool__(self):
            questions.ask("read-only")
            return False

    class Key(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other):
            questions.ask("key")
            return str.__eq__(self, other)

    class Watched(metaclass=Meta):
        def __getattribute__(self, name):
            if name in WATCHED:
                questions.ask(name)
            return super().__getattribute__(name)

    def interface(self):
        there = X.__array_interface__
        return {**there, Key("shape"): (Length(),), "data": (there["data"][0], Flag())}

    def dlpack(self, **wishes):
        questions.ask("__dlpack__()")
        return X.__dlpack__(**wishes)

    def dlpack_device(self):
        questions.ask("__dlpack_device__()")
        return 1, 0

    def array_namespace(self):
        questions.ask("__array_namespace__()")
        return xp

    attributes = {
        "__array_interface__": property(interface), "__cuda_array_interface__": property(interface),
        "__dlpack__": dlpack, "__dlpack_device__": dlpack_device, "__array_namespace__": array_namespace,
    }  # fmt: skip
    for door in doors:
        type.__setattr__(Watched, door, attributes[door])
    return Watched()


KINDS = {
    "nothing": (), "array interface": ["__array_interface__"], "DLPack": ["__dlpack__", "__dlpack_device__"],
    "array API": ["__dlpack__", "__dlpack_device__", "__array_namespace__"], "CUDA": ["__cuda_array_interface__"],
    "CUDA with a namespace": ["__cuda_array_interface__", "__dlpack__", "__dlpack_device__", "__array_namespace__"],
}  # fmt: skip
CALLS = {
    "fresh": gorsqrt.rsqrt,
    "in place": gorsqrt.rsqrt_,
    "out": lambda x: gorsqrt.rsqrt(np.ones(2), out=x),
    "into": lambda x: gorsqrt.rsqrt(x, out=np.empty(2)),
    "of a kernel": _gorsqrt.torch_fresh,
}


@pytest.fixture(autouse=True)
def libraries(monkeypatch):
    """Others' modules, whose classes ask an object for its class."""
    for name, attribute in (("jax", "Array"), ("cupy", "ndarray")):
        monkeypatch.setitem(sys.modules, name, types.SimpleNamespace(**{attribute: type(attribute, (), {})}))


@pytest.mark.spec("9.4")
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_question(kind, call):
    def asked(questions):
        x = watched(questions, KINDS[kind])
        questions.asked.clear()
        with contextlib.suppress(TypeError, RuntimeError, ValueError):  # nobody's array, read-only, no CUDA device
            CALLS[call](x)
        return questions.asked

    number = len(asked(Questions()))
    assert number >= 5
    for error in RAISED:
        for k in range(number):
            questions = Questions(k, error)
            with pytest.raises(error, match="asked") as raised:
                CALLS[call](watched(questions, KINDS[kind]))
            assert raised.value is questions.raised, questions.asked
            assert len(questions.asked) == k + 1, "nothing more is asked"
    assert X.tolist() in ([4, 16], *([1, 1],) * (call == "out"), *([0.5, 0.25],) * (call == "in place"))
    X[:] = 4, 16


@pytest.mark.spec("9.4")
def test_only_an_attribute_error_is_a_no():
    class Meta(type):
        def __getattr__(cls, name):
            raise AttributeError(name)

    class Nothing(metaclass=Meta):
        @property
        def __cuda_array_interface__(self):
            raise AttributeError("not on a device")

    for call in CALLS.values():
        with pytest.raises(TypeError, match=r"must be an array|was given no array"):
            call(Nothing())


@pytest.mark.spec("9.4")
@pytest.mark.parametrize("error", RAISED)
def test_instance_checks(monkeypatch, error):
    class Meta(type):
        def __instancecheck__(cls, instance):
            raise error("asked")

    class Exporter:
        __array_interface__ = __cuda_array_interface__ = X.__array_interface__

    monkeypatch.setattr(sys.modules["jax"], "Array", Meta("Array", (), {}))
    for call in CALLS.values():
        with pytest.raises(error, match="asked"):
            call(Exporter())
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "cupy", types.SimpleNamespace(ndarray=Meta("ndarray", (), {})))
    del Exporter.__array_interface__
    for call in CALLS.values():
        with pytest.raises(error, match="asked"):
            call(Exporter())


@pytest.mark.spec("9.4")
@pytest.mark.parametrize(
    "module", ["jax", "cupy", "array", "ml_dtypes", "numpy._core.multiarray", "torch", "torch.nn.parameter"]
)
def test_modules_that_load_themselves(module):
    """A module in sys.modules may run code when asked for a name. Its exceptions reach the
    caller."""
    code = f"""
        import sys, types
        import gorsqrt
        class Lazy(types.ModuleType):
            def __getattr__(self, name):
                if name.startswith("__"):
                    raise AttributeError(name)
                raise error("asked")
        class Exporter:
            __cuda_array_interface__ = {{"shape": (0,), "typestr": "<f8", "data": (0, False), "version": 3}}
        x = bytearray(b"1234")
        if "{module}" == "ml_dtypes":
            import numpy
            gorsqrt.set_default_dtype("bfloat16")  # numpy's is that module's
            x = numpy.ones(2, "i4")
        elif "{module}" in ("jax", "cupy", "torch", "torch.nn.parameter"):
            x = Exporter()
        if "{module}" == "torch.nn.parameter":
            sys.modules["torch"] = types.SimpleNamespace(Tensor=int)
        sys.modules["{module}"] = Lazy("{module}")
        for error in (KeyboardInterrupt, MemoryError, RecursionError, ZeroDivisionError, ImportError, AttributeError):
            try:
                gorsqrt.rsqrt(x)
            except BaseException as raised:
                print(type(raised).__name__ if str(raised) == "asked" else "-")
            else:
                print("-")
    """
    done = subprocess.run([sys.executable, "-c", dedent(code)], env={**os.environ}, capture_output=True, text=True)
    assert done.stdout.split() == ["KeyboardInterrupt", "MemoryError", "RecursionError", "ZeroDivisionError", "-", "-"], (
        done.stderr
    )


@pytest.mark.spec("7.1", "9.4")
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, RecursionError])
def test_the_first_tensor(error):
    """An exception that ends the search for torch's layout reaches the caller; the next call
    searches."""
    code = f"""
        import sys, types
        import torch
        import gorsqrt
        from gorsqrt import _gorsqrt
        def open_door():
            raise {error.__name__}("asked")
        sys.modules["gorsqrt._torch_door"] = types.SimpleNamespace(open_door=open_door)
        x = torch.tensor([4.0, 16.0])
        for call in (gorsqrt.rsqrt, gorsqrt.rsqrt_, lambda x: gorsqrt.rsqrt(x, out=torch.empty(2)), _gorsqrt.torch_is_plain):
            try:
                call(x)
            except {error.__name__} as raised:
                print(raised)
        del sys.modules["gorsqrt._torch_door"]
        assert gorsqrt.rsqrt(x).tolist() == [0.5, 0.25]
        print(_gorsqrt.torch_is_plain(x))
    """
    done = subprocess.run([sys.executable, "-c", dedent(code)], env={**os.environ}, capture_output=True, text=True)
    assert done.stdout.split() == ["asked"] * 4 + ["True"], done.stderr


@pytest.mark.spec("9.4")
@pytest.mark.parametrize("error", RAISED)
def test_questions_to_what_is_asked_of_a_result(error):
    class Number:
        def __index__(self):
            raise error("asked")

        __bool__ = __index__

    memory = gorsqrt.rsqrt(memoryview(X)).obj
    for wish in ({"max_version": (1, Number())}, {"dl_device": (Number(), 0)}, {"copy": Number()}):
        with pytest.raises(error, match="asked"):
            memory.__dlpack__(**wish)
    for wrong in ((1,), (1, 0, 0), ("1", 0), (2**40, 0)):
        with pytest.raises(TypeError, match="max_version must be a pair of integers"):
            memory.__dlpack__(max_version=wrong)
