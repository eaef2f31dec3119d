"""Contract 7.8: torch.compile and torch.export trace the public functions to the ops, in any order
of imports."""

import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pytest
import torch
import torch._dynamo.testing

import gorsqrt
from gorsqrt import _watch

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # torch's own, while it compiles
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:Skipping serialization of skipfiles_inline_module_allowlist:UserWarning"),
]
OPS = torch.ops.gorsqrt


def values(*shape, dtype=torch.float32):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 4 + 0.5).to(dtype)


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def fresh(x):
    return gorsqrt.rsqrt(x * 2) + 1


def by_keyword(x):
    return gorsqrt.rsqrt(input=x, out=None)


def in_place(x):
    y = x * 2
    view = y[1:]
    return gorsqrt.rsqrt_(view), y


def in_place_on_the_input(x):
    return gorsqrt.rsqrt_(input=x)


def into(x):
    out = torch.empty_like(x)
    return gorsqrt.rsqrt(x, out=out), out + x


def into_another_dtype(x):
    return gorsqrt.rsqrt(x, out=torch.empty(x.shape, dtype=torch.float64))


def in_vmap(x):
    return torch.vmap(lambda column: gorsqrt.rsqrt(column), 1)(x)


def in_grad(x):
    return torch.func.grad(lambda y: gorsqrt.rsqrt(y).sum())(x.float())


def everything(x):
    return fresh(x), by_keyword(x), in_place(x), into(x), into_another_dtype(x), in_vmap(x), in_grad(x)


FORMS = [fresh, by_keyword, in_place, in_place_on_the_input, into, into_another_dtype, in_vmap, in_grad]


def equal(a, b):
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return a.dtype == b.dtype and a.stride() == b.stride() and torch.equal(a, b)


@pytest.mark.spec("7.8")
@pytest.mark.parametrize("f", FORMS, ids=[f.__name__ for f in FORMS])
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_without_a_graph_break(f, backend, dtype):
    x = values(6, 5, dtype=dtype)
    for view in (x, x.t()):
        assert equal(torch.compile(f, backend=backend, fullgraph=True)(view.clone()), f(view.clone()))


@pytest.mark.spec("7.8")
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex64, torch.int64], ids=str)
def test_inductor(dtype):
    f = {torch.float64: everything, torch.complex64: fresh, torch.int64: fresh}[dtype]
    x = values(6, 5).to(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it does not generate code for complex numbers
        assert equal(torch.compile(f, fullgraph=True)(x), f(x))


@pytest.mark.spec("7.8", "7.2")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_training(backend, dtype):
    """Bit for bit, except inductor's bfloat16: it fuses the gradient's operations in float32."""

    def step(f):
        x = values(6, 5, dtype=dtype).requires_grad_()
        f(x).sum().backward()
        return x.grad

    def normalised(x):
        return gorsqrt.rsqrt_(gorsqrt.rsqrt(x) * 1.0)

    compiled, eager = step(torch.compile(gorsqrt.rsqrt, backend=backend, fullgraph=True)), step(gorsqrt.rsqrt)
    if (backend, dtype) == ("inductor", torch.bfloat16):
        wide = gorsqrt.rsqrt(values(6, 5, dtype=dtype)).double()
        eager = (-0.5 * wide * wide * wide).to(dtype)
    assert equal(compiled, eager)
    compiled = step(torch.compile(normalised, backend="aot_eager", fullgraph=True))
    assert equal(compiled, step(normalised))


@pytest.mark.spec("7.8")
def test_the_graph_holds_the_ops():
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    torch.compile(lambda x: gorsqrt.rsqrt_(gorsqrt.rsqrt(x, out=gorsqrt.rsqrt(x))), backend=backend, fullgraph=True)(values(3))
    (graph,) = graphs
    called = [node.target for node in graph.graph.nodes if node.op == "call_function"]
    assert called == [OPS.rsqrt, OPS.rsqrt.out, OPS.rsqrt_]


@pytest.mark.spec("7.8")
def test_dynamic_shapes():
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(fresh, backend=counter, fullgraph=True, dynamic=True)
    for n in (2, 3, 17, 64):
        assert equal(compiled(values(n, n + 1)), fresh(values(n, n + 1)))
    assert counter.frame_count == 1


@pytest.mark.spec("7.8")
def test_numpy_arrays_inside():
    def f(x):
        out = np.zeros_like(x)
        return gorsqrt.rsqrt(x) + 1, gorsqrt.rsqrt(x, out=out) * 2, gorsqrt.rsqrt_(x * 3)

    x = values(5).numpy()
    for got, expected in zip(torch.compile(f, backend="aot_eager", fullgraph=True)(x), f(x), strict=True):
        assert type(got) is np.ndarray
        np.testing.assert_array_equal(got, expected, strict=True)


@pytest.mark.spec("7.8")
@pytest.mark.parametrize("strict", [False, True])
def test_export(strict):
    class Norm(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(4))

        def forward(self, x):
            return x * gorsqrt.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight

    module, x = Norm(), values(3, 4)
    batch = torch.export.Dim("batch", min=2, max=64)
    exported = torch.export.export(module, (x,), dynamic_shapes={"x": {0: batch}}, strict=strict)
    assert OPS.rsqrt.default in [node.target for node in exported.graph.nodes]
    for n in (3, 7):
        assert torch.equal(exported.module()(values(n, 4)), module(values(n, 4)))


def run(code, *flags):
    """Runs code in a process of its own and gives its output; a warning is an error there."""
    done = subprocess.run([sys.executable, *flags, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


TRACES = """
x = torch.tensor([4.0, 16.0])
assert torch.compile(gorsqrt.rsqrt, backend="eager", fullgraph=True)(x).tolist() == [0.5, 0.25]
assert torch.compile(gorsqrt.rsqrt_, backend="eager", fullgraph=True)(x).tolist() == [0.5, 0.25]
print("traced")
"""
ORDERS = {
    "torch first": "import torch, gorsqrt",
    "gorsqrt first": "import gorsqrt, torch",
    "the compiler first": "import torch._dynamo, gorsqrt",
    "the compiler between": "import gorsqrt, torch._dynamo",
    "called before": "import torch, gorsqrt; gorsqrt.rsqrt(torch.ones(3, requires_grad=True))",
    "reloaded": "import torch, gorsqrt, importlib; importlib.reload(gorsqrt); importlib.reload(gorsqrt)",
}


@pytest.mark.spec("7.8")
@pytest.mark.parametrize("order", ORDERS)
def test_order_of_imports(order):
    assert run(ORDERS[order] + "\n" + TRACES) == "traced\n"


@pytest.mark.spec("7.8", "8.4")
def test_nothing_is_imported_for_the_user():
    code = """
    import importlib.util, json, sys
    import gorsqrt
    assert "torch" not in sys.modules
    found = importlib.util.find_spec("torch")
    assert found.loader.is_package("torch") and "torch" not in sys.modules
    import torch
    watched = set(gorsqrt._watch.HOOKS) - {"torch"}
    assert not watched & set(sys.modules)
    assert gorsqrt.torch.patch
    assert not watched & set(sys.modules)
    finder = sys.meta_path[0]
    assert type(finder).__module__ == "gorsqrt._watch"
    for name in sorted(watched):
        importlib.import_module(name)
    assert finder not in sys.meta_path
    for name in gorsqrt._watch.HOOKS:
        module = sys.modules[name]
        assert type(module.__spec__.loader) is type(module.__loader__) is type(json.__loader__)
    print("right")
    """
    assert run(code) == "right\n"


@pytest.mark.spec("7.8", "8.1")
def test_threads_that_import_at_once():
    code = """
    import sys, threading
    import torch
    barrier, results = threading.Barrier(6), []

    def work(first):
        barrier.wait()
        if first:
            import torch._dynamo
            import gorsqrt
        else:
            import gorsqrt
            import torch._dynamo
        results.append(torch.compile(gorsqrt.rsqrt, backend="eager", fullgraph=True)(torch.tensor([4.0])).item())

    threads = [threading.Thread(target=work, args=(i % 2,)) for i in range(6)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    print(results)
    """
    assert run(code) == f"{[0.5] * 6}\n"


@pytest.mark.spec("7.8")
def test_an_error_of_ours_is_no_error_of_torchs_import():
    code = """
    import sys, warnings
    import gorsqrt
    sys.modules["gorsqrt.torch"] = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        import torch._dynamo, torch._inductor.compile_fx
    for w in caught:
        if "gorsqrt" in str(w.message):
            print(str(w.message).partition(": ")[0])
    print(torch.compile(torch.rsqrt, backend="eager")(torch.tensor([4.0])).item())
    """
    *warned, result = run(code).splitlines()
    assert set(warned) == {f"gorsqrt could not register with {name}" for name in _watch.HOOKS}
    assert result == "0.5"


def test_a_watched_import_that_fails_is_watched_again(tmp_path, monkeypatch):
    (tmp_path / "watched_by_gorsqrt.py").write_text(
        "import pathlib\nassert pathlib.Path(__file__).with_name('ready').exists()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    registered = []
    monkeypatch.setattr(_watch, "register", registered.append)
    finder = _watch.Finder(["watched_by_gorsqrt"])
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    with pytest.raises(AssertionError):
        import watched_by_gorsqrt
    assert finder in sys.meta_path
    (tmp_path / "ready").touch()
    import watched_by_gorsqrt

    assert registered == ["watched_by_gorsqrt"]
    assert finder not in sys.meta_path
    assert watched_by_gorsqrt.__spec__.loader is watched_by_gorsqrt.__loader__
