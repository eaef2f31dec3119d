"""gorsqrt.torch.patch: torch's functions and methods call gorsqrt, then are torch's own again."""

import subprocess
import sys
import textwrap
import threading

import pytest
import torch

import gorsqrt
import gorsqrt.torch

PLACES = [(torch, "rsqrt"), (torch, "rsqrt_"), (torch.Tensor, "rsqrt"), (torch.Tensor, "rsqrt_")]
X = torch.tensor([4.0, 16.0, 0.53125], dtype=torch.bfloat16)
OURS = torch.tensor([0.5, 0.25, 1.375], dtype=torch.bfloat16)
THEIRS = torch.rsqrt(X)


def found():
    """What the patched places hold, in their owners' own dicts: an inherited attribute is none."""
    return [vars(owner).get(name) for owner, name in PLACES]


ORIGINAL = found()


@pytest.fixture(autouse=True)
def as_found():
    yield
    assert all(a is b for a, b in zip(found(), ORIGINAL, strict=True))


def is_patched():
    """Whether the call is ours, by a bit in which torch's short bfloat16 tensors differ."""
    results = [torch.rsqrt(X), torch.rsqrt(X, out=torch.empty_like(X)), X.rsqrt(), torch.rsqrt_(X.clone()), X.clone().rsqrt_()]
    ours = [torch.equal(y, OURS) for y in results]
    assert len(set(ours)) == 1
    return ours[0]


def test_off_by_default():
    assert not torch.equal(OURS, THEIRS)
    assert not is_patched()


def test_context_manager_and_nesting():
    with gorsqrt.torch.patch() as outer:
        assert is_patched()
        with gorsqrt.torch.patch():
            assert is_patched()
        assert is_patched()
        outer.undo()
        assert not is_patched()
    assert not is_patched()


def test_function_and_overlap():
    first = gorsqrt.torch.patch()
    second = gorsqrt.torch.patch()
    first.undo()
    first.undo()
    assert is_patched()
    second.undo()
    assert not is_patched()


def test_undone_after_an_exception():
    def fails():
        with gorsqrt.torch.patch():
            assert is_patched()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert not is_patched()


def test_somebody_elses_replacement_is_put_back(monkeypatch):
    mine = torch.Tensor.rsqrt

    def replacement(self):
        return mine(self)

    monkeypatch.setattr(torch.Tensor, "rsqrt", replacement)
    with gorsqrt.torch.patch():
        assert is_patched()
    assert vars(torch.Tensor)["rsqrt"] is replacement


def test_signatures_and_errors():
    with gorsqrt.torch.patch():
        out = torch.empty_like(X)
        assert torch.rsqrt(input=X, out=out) is out
        assert torch.Tensor.rsqrt(X).tolist() == OURS.tolist()
        x = X.clone()
        assert x.rsqrt_() is x
        with pytest.raises(TypeError, match="takes 1 positional argument but 2 were given"):
            X.rsqrt(X)
        with pytest.raises(TypeError, match="argument 'input'"):
            torch.rsqrt(5)
        with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
            torch.ones(3, requires_grad=True).rsqrt_()
        assert torch.Tensor.rsqrt.__name__ == "rsqrt"
        assert "rsqrt" in torch.Tensor.rsqrt.__doc__


def test_what_goes_to_torch_itself_does_not_come_back():
    """Gradients, sparse tensors, resizes and transforms call torch.rsqrt inside: the original."""
    with gorsqrt.torch.patch():
        x = torch.ones(3, requires_grad=True)
        x.rsqrt().sum().backward()
        assert x.grad.tolist() == [-0.5] * 3
        with pytest.raises(NotImplementedError, match="aten::rsqrt"):
            torch.ones(3).to_sparse().rsqrt()
        assert torch.rsqrt(X, out=torch.empty(0, dtype=X.dtype)).tolist() == OURS.tolist()
        assert torch.vmap(torch.rsqrt)(torch.ones(2, 2)).tolist() == [[1.0, 1.0]] * 2
        assert torch.func.grad(lambda t: t.rsqrt())(torch.tensor(4.0)).item() == -0.0625


def test_every_thread_sees_it():
    seen = []
    with gorsqrt.torch.patch():
        thread = threading.Thread(target=lambda: seen.append(is_patched()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_threads_that_patch_at_once():
    def work():
        for _ in range(200):
            with gorsqrt.torch.patch():
                assert torch.equal(torch.rsqrt(X), OURS)

    errors = []
    threads = [threading.Thread(target=work) for _ in range(4)]
    previous, threading.excepthook = threading.excepthook, lambda args: errors.append(args.exc_value)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        threading.excepthook = previous
    assert errors == []
    assert not is_patched()


@pytest.mark.spec("7.8")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_compiled_code():
    torch._dynamo.reset()
    with gorsqrt.torch.patch():
        compiled = torch.compile(lambda x: torch.rsqrt(x), backend="aot_eager", fullgraph=True)
        assert torch.equal(compiled(X), OURS)
    torch._dynamo.reset()


def test_representation():
    patched = gorsqrt.torch.patch()
    assert repr(patched) == "<gorsqrt.torch.patch: active>"
    patched.undo()
    assert repr(patched) == "<gorsqrt.torch.patch: undone>"


# Each order in a process of its own, where a warning is an error but for torch's own deprecations.

BEGIN = """
import gc, importlib, sys, threading, warnings
import torch, gorsqrt
warnings.simplefilter("error")
for category in (DeprecationWarning, FutureWarning, ResourceWarning):
    warnings.simplefilter("ignore", category)

X = torch.tensor([4.0, 16.0, 0.53125], dtype=torch.bfloat16)
FORMS = [
    lambda x: torch.rsqrt(x),
    lambda x: torch.rsqrt(input=x, out=torch.empty_like(x)),
    lambda x: torch.rsqrt_(x * 1),
    lambda x: x.rsqrt(),
    lambda x: (x * 1).rsqrt_(),
    lambda x: torch.Tensor.rsqrt(x),
]
ORIGINAL = [torch.rsqrt, torch.rsqrt_, torch.Tensor.rsqrt, torch.Tensor.rsqrt_]


def check(functions, bit):
    got = [f(X)[2].item() for f in functions]
    assert got == [bit] * len(functions), got


def inside(functions):
    check(functions, 1.375)


def outside(functions):
    check(functions, 1.3671875)


def compiled():
    return [torch.compile(f, backend="aot_eager", fullgraph=True) for f in FORMS]


def patch():
    return gorsqrt.torch.patch()

"""
ORDERS = {
    "the first compile outside": """
        import torch._dynamo
        outside(made := compiled())
        with patch():
            inside(made)
        outside(made)
    """,
    "the first compile inside": """
        import torch._dynamo
        with patch():
            inside(made := compiled())
        outside(made)
        outside(compiled())
        with patch():
            inside(made)
    """,
    "the first import inside": """
        with patch():
            inside(made := compiled())
        outside(made)
        outside(compiled())
    """,
    "the first import inside, the first compile outside": """
        with patch():
            import torch._dynamo
        outside(compiled())
    """,
    "torch.export first inside": """
        class Module(torch.nn.Module):
            def forward(self, x):
                return torch.rsqrt(x) + x.rsqrt()
        with patch():
            for strict in (True, False):
                graph = torch.export.export(Module(), (X,), strict=strict).graph
                assert str(graph).count("torch.ops.gorsqrt.rsqrt.default") == 2, graph
        for strict in (True, False):
            graph = torch.export.export(Module(), (X,), strict=strict).graph
            assert str(graph).count("torch.ops.aten.rsqrt.default") == 2, graph
    """,
    "nested": """
        with patch():
            with patch():
                inside(made := compiled())
            inside(made)
        outside(made)
    """,
    "undone by an exception": """
        try:
            with patch():
                inside(made := compiled())
                raise ZeroDivisionError
        except ZeroDivisionError:
            outside(made)
    """,
    "two threads": """
        barrier, failed = threading.Barrier(2), []
        def work():
            try:
                barrier.wait()
                with patch():
                    inside(made := compiled())
                    barrier.wait()
                barrier.wait()
                outside(made)
            except BaseException as error:
                failed.append(error)
                barrier.abort()
        threads = [threading.Thread(target=work) for _ in range(2)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert not failed, failed
    """,
    "reloaded": """
        functions = gorsqrt.rsqrt, gorsqrt.rsqrt_
        importlib.reload(gorsqrt)
        with patch():
            inside(made := compiled())
            importlib.reload(gorsqrt)
            importlib.reload(gorsqrt.torch)
            inside(made)
        outside(made)
        importlib.reload(gorsqrt)
        with patch():
            inside(compiled())
        assert functions == (gorsqrt.rsqrt, gorsqrt.rsqrt_) and functions[0] is gorsqrt.rsqrt
    """,
}
END = """
outside(FORMS)
assert all(a is b for a, b in zip(ORIGINAL, [torch.rsqrt, torch.rsqrt_, torch.Tensor.rsqrt, torch.Tensor.rsqrt_]))

# Which of torch's tables hold a function, by their owners and sizes.
import torch._dynamo
torch._dynamo.reset()
outside(compiled())
torch._dynamo.reset()
torch.overrides.get_testing_overrides()
torch.overrides.is_tensor_method_or_property(torch.rsqrt)
rules = torch._dynamo.trace_rules
tables = {
    "rules": rules.get_torch_obj_rule_map(),
    "methods": rules.get_tensor_method(),
    "overridable": torch._dynamo.variables.torch.get_overridable_functions(),
    "testing": torch.overrides.get_testing_overrides(),
    "index": torch.overrides._get_overridable_functions()[1],
    "script": {repr(f): torch.jit._builtins._find_builtin(f) for f in [*ORIGINAL, gorsqrt.rsqrt, gorsqrt.rsqrt_]},
}
functions = [*ORIGINAL, gorsqrt.rsqrt, gorsqrt.rsqrt_]
for name, table in sorted(tables.items()):
    held = [str(table.get(f, "no")) if isinstance(table, dict) else f in table for f in functions]
    print(name, len(table), held if name != "testing" else [f in table for f in functions])
print(sorted(str(value) for key, value in tables["script"].items()))
"""


def tables_after(order):
    code = BEGIN + textwrap.dedent(order) + END
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def never_patched():
    return tables_after("")


@pytest.mark.spec("7.8")
@pytest.mark.parametrize("order", ORDERS)
def test_orders(order, never_patched):
    """Compiled code is right inside and outside. Later, torch's tables are those of a fresh
    process."""
    assert tables_after(ORDERS[order]) == never_patched
