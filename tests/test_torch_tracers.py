"""Contract 7.8 without torch.compile: torch.fx, torch.jit, make_fx, core ATen and ONNX.

They trace the two functions, and torch's own four under patch(). Results keep our bits, except
those of core ATen.
"""

import contextlib
import importlib.util
import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from test_torch_ops import Duck
from torch import fx
from torch.fx.experimental.proxy_tensor import make_fx

import gorsqrt
import gorsqrt.torch
from gorsqrt import rsqrt as wrapped

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # torch's own, of torch.jit and while it exports
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
OPS = torch.ops.gorsqrt
X = torch.tensor([4.0, 16.0, 0.53125], dtype=torch.bfloat16)
OURS = torch.tensor([0.5, 0.25, 1.375], dtype=torch.bfloat16)  # a bit in which torch's short bfloat16 tensors differ
THEIRS = torch.rsqrt(X)

fx.wrap("wrapped")


def run(code):
    """Runs code in a process of its own, where a warning is an error, and gives its output."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def called(graph):
    """What of rsqrt's kind a graph calls."""
    targets = [node.target for node in graph.nodes if node.op in ("call_function", "call_method")]
    return [target for target in targets if "rsqrt" in str(target)]


# torch.fx.

FORMS = {
    "fresh": lambda x: gorsqrt.rsqrt(x),
    "keyword": lambda x: gorsqrt.rsqrt(input=x),
    "no out": lambda x: gorsqrt.rsqrt(x, out=None),
    "in place": lambda x: gorsqrt.rsqrt_(x * 1),
    "in place, keyword": lambda x: gorsqrt.rsqrt_(input=x * 1),
    "out": lambda x: gorsqrt.rsqrt(x, out=torch.empty_like(x)),
    "out is input": lambda x: gorsqrt.rsqrt(x * 1, out=x),
    "out is a constant": lambda x: gorsqrt.rsqrt(x, out=torch.empty(3, dtype=torch.bfloat16)),
    "only out is traced": lambda x: gorsqrt.rsqrt(X, out=x),
}
PATCHED_FORMS = {
    "fresh": lambda x: torch.rsqrt(x),
    "keyword": lambda x: torch.rsqrt(input=x),
    "in place": lambda x: torch.rsqrt_(x * 1),
    "out": lambda x: torch.rsqrt(x, out=torch.empty_like(x)),
    "unbound method": lambda x: torch.Tensor.rsqrt(x),
    "unbound method in place": lambda x: torch.Tensor.rsqrt_(x * 1),
}
METHODS = {"rsqrt": lambda x: x.rsqrt(), "rsqrt_": lambda x: (x * 1).rsqrt_()}


@pytest.mark.spec("7.8")
@pytest.mark.parametrize("form", FORMS)
def test_symbolic_trace(form):
    traced = fx.symbolic_trace(FORMS[form])
    (target,) = called(traced.graph)
    assert target is (gorsqrt.rsqrt_ if "in place" in form else gorsqrt.rsqrt)
    assert torch.equal(traced(X.clone()), OURS)


@pytest.mark.spec("7.8")
@pytest.mark.parametrize("form", PATCHED_FORMS)
def test_symbolic_trace_while_patched(form):
    with gorsqrt.torch.patch():
        traced = fx.symbolic_trace(PATCHED_FORMS[form])
    assert called(traced.graph) == [gorsqrt.rsqrt_ if "in place" in form else gorsqrt.rsqrt]
    assert torch.equal(traced(X), OURS)


@pytest.mark.spec("7.8")
@pytest.mark.parametrize("method", METHODS)
def test_a_method_stays_a_method(method):
    for patched in (gorsqrt.torch.patch, contextlib.nullcontext):
        with patched():
            traced = fx.symbolic_trace(METHODS[method])
        assert called(traced.graph) == [method]
        assert torch.equal(traced(X), THEIRS)
        with gorsqrt.torch.patch():
            assert torch.equal(traced(X), OURS)


class Norm(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.linspace(0.5, 2, 8))

    def forward(self, x):
        return x * gorsqrt.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(8, 8), Norm(), torch.nn.ReLU())

    def forward(self, x, scale=None):
        return self.layers(x) if scale is None else self.layers(x) * gorsqrt.rsqrt(scale)


@pytest.mark.spec("7.8")
def test_nested_modules_are_traced_and_pickled():
    model, x = Model().eval(), torch.rand(3, 8)
    traced = fx.symbolic_trace(model)
    assert called(traced.graph) == called(fx.symbolic_trace(traced).graph) == [gorsqrt.rsqrt] * 2
    for module in (traced, pickle.loads(pickle.dumps(traced))):
        assert torch.equal(module(x, x), model(x, x))
    without = fx.symbolic_trace(model, concrete_args={"scale": None})
    assert called(without.graph) == [gorsqrt.rsqrt]
    assert torch.equal(without(x), model(x))


@pytest.mark.spec("7.8")
def test_a_gradient_goes_through_a_traced_module():
    x = torch.ones(3, requires_grad=True)
    fx.symbolic_trace(FORMS["fresh"])(x).sum().backward()
    assert x.grad.tolist() == [-0.5] * 3


@pytest.mark.spec("7.8")
def test_what_is_written_in_place_is_not_dead():
    def f(x):
        gorsqrt.rsqrt_(x)
        return x

    traced = fx.symbolic_trace(f)
    traced.graph.eliminate_dead_code()
    assert called(traced.graph) == [gorsqrt.rsqrt_]


@pytest.mark.spec("7.8")
def test_a_wrapped_function():
    traced = fx.symbolic_trace(lambda x: wrapped(x) + 1)
    assert called(traced.graph) == [gorsqrt.rsqrt]
    assert torch.equal(traced(X), OURS + 1)


class OtherProxy(fx.Proxy):
    pass


class OtherTracer(fx.Tracer):
    def proxy(self, node):
        return OtherProxy(node, self)


@pytest.mark.spec("7.8")
def test_a_subclass_of_proxy():
    graph = OtherTracer().trace(FORMS["fresh"])
    assert called(graph) == [gorsqrt.rsqrt]
    assert torch.equal(fx.GraphModule(torch.nn.Module(), graph)(X), OURS)


@pytest.mark.spec("7.8")
def test_two_tracers_are_refused_by_torch():
    proxies = [fx.Proxy(fx.Graph().placeholder("x")) for _ in range(2)]
    with pytest.raises(RuntimeError, match="multiple different tracers"):
        gorsqrt.rsqrt(proxies[0], out=proxies[1])


# Other classes that have __torch_function__ and are no tensors get torch's function, which they may
# know.


@pytest.mark.spec("7.7")
def test_a_class_that_is_no_tensor():
    duck, x = Duck(), torch.ones(3)
    for patched in (contextlib.nullcontext, gorsqrt.torch.patch):
        original, original_ = torch.rsqrt, torch.rsqrt_
        with patched():
            assert gorsqrt.rsqrt(duck) == gorsqrt.rsqrt(input=duck) == (original, (duck,), {})
            assert gorsqrt.rsqrt_(duck) == (original_, (duck,), {})
            assert gorsqrt.rsqrt(duck, out=duck) == (original, (duck,), {"out": duck})
            assert gorsqrt.rsqrt(duck, out=x) == (original, (duck,), {"out": x})
            function, (input,), keywords = gorsqrt.rsqrt(x, out=duck)
            assert (function, input is x, keywords) == (original, True, {"out": duck})
            assert torch.rsqrt(duck)[:2] == (original, (duck,))


@pytest.mark.spec("7.7", "1.4")
@pytest.mark.parametrize("made", [Duck, lambda: fx.Proxy(fx.Graph().placeholder("x"))], ids=["duck", "proxy"])
def test_beside_another_container(made):
    with pytest.raises(TypeError, match=r"argument 'out' must be Tensor, not numpy\.ndarray"):
        gorsqrt.rsqrt(made(), out=np.ones(3))
    with pytest.raises(TypeError, match=r"argument 'input' \(position 1\) must be Tensor, not numpy\.ndarray"):
        gorsqrt.rsqrt(np.ones(3), out=made())
    with pytest.raises(TypeError, match=r"argument 'out' must be an array .*, not list"):
        gorsqrt.rsqrt(made(), out=[1.0])


# make_fx.


@pytest.mark.spec("7.8")
@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
@pytest.mark.parametrize("pre_dispatch", [False, True])
def test_make_fx(mode, pre_dispatch):
    def f(x):
        y = gorsqrt.rsqrt(x)
        return gorsqrt.rsqrt_(y * 1), gorsqrt.rsqrt(x, out=torch.empty_like(x)), y

    traced = make_fx(f, tracing_mode=mode, pre_dispatch=pre_dispatch)(X)
    assert called(traced.graph) == [OPS.rsqrt.default, OPS.rsqrt_.default, OPS.rsqrt.out]
    assert all(map(torch.equal, traced(X), f(X)))
    with gorsqrt.torch.patch():
        patched = make_fx(lambda x: torch.rsqrt(x) + x.rsqrt(), tracing_mode=mode, pre_dispatch=pre_dispatch)(X)
    assert called(patched.graph) == [OPS.rsqrt.default] * 2
    assert called(make_fx(fx.symbolic_trace(FORMS["fresh"]), tracing_mode=mode)(X).graph) == [OPS.rsqrt.default]


# torch.jit.


def out_of_place(x):
    return gorsqrt.rsqrt(x)


def in_place(x):
    return gorsqrt.rsqrt_(x * 1)


def into(x):
    return gorsqrt.rsqrt(x, out=torch.empty_like(x))


@pytest.mark.spec("7.8")
@pytest.mark.parametrize("f", [out_of_place, in_place, into])
@pytest.mark.parametrize("compiler", ["script", "trace"])
def test_jit(compiler, f, tmp_path):
    jitted = torch.jit.script(f) if compiler == "script" else torch.jit.trace(f, (X,))
    assert "gorsqrt::rsqrt" in str(jitted.graph)
    for n in (3, 5):  # run more than once, it is optimised
        x = torch.arange(1, n, dtype=torch.bfloat16)
        for _ in range(3):
            assert torch.equal(jitted(x), gorsqrt.rsqrt(x))
    x = torch.ones(3, requires_grad=True)
    if f is not into:
        jitted(x).sum().backward()
        assert x.grad.tolist() == [-0.5] * 3
    jitted.save(str(tmp_path / "jitted.pt"))
    code = f"""
    import {{}}, warnings
    import torch
    warnings.simplefilter("ignore")
    print(torch.jit.load({str(tmp_path / "jitted.pt")!r})(torch.tensor([4.0, 16.0, 0.53125], dtype=torch.bfloat16)).tolist())
    """
    for order in ("gorsqrt", "torch, gorsqrt"):
        assert run(code.format(order)) == "[0.5, 0.25, 1.375]\n"


@pytest.mark.spec("7.8")
def test_jit_script_in_a_process_of_its_own(tmp_path):
    """torch.rsqrt while patched and after, and the first use of torch.jit while patched."""
    (tmp_path / "scripted.py").write_text(
        textwrap.dedent("""
        import torch, gorsqrt
        def inside(x):
            return torch.rsqrt(x)
        def inside_(x):
            return torch.rsqrt_(x * 1)
        def method(x):
            return x.rsqrt()
        def after(x):
            return torch.rsqrt(x)
        def ours(x):
            return gorsqrt.rsqrt(x)
        """)
    )
    code = f"""
    import sys, warnings
    sys.path.insert(0, {str(tmp_path)!r})
    import torch, gorsqrt, gorsqrt.torch
    warnings.simplefilter("ignore")
    import scripted
    x = torch.tensor([0.53125], dtype=torch.bfloat16)
    with gorsqrt.torch.patch():
        for f in (scripted.inside, scripted.inside_, scripted.method, scripted.ours):
            print(torch.jit.script(f)(x).item())
    for f in (scripted.inside, scripted.after, scripted.ours):
        print(torch.jit.script(f)(x).item())
    """
    ours, theirs = "1.375", "1.3671875"
    expected = [ours, ours, theirs, ours, ours, theirs, ours]  # inside: torch keeps what it has scripted
    assert run(code).split() == expected


# Decompositions.


class All(torch.nn.Module):
    def forward(self, x):
        y = x * 1
        gorsqrt.rsqrt_(y)
        return y, gorsqrt.rsqrt(x, out=torch.empty_like(x)), gorsqrt.rsqrt(x)


@pytest.mark.spec("7.8")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64, torch.int64], ids=str)
def test_run_decompositions(dtype):
    model = All() if dtype.is_floating_point or dtype.is_complex else fx.symbolic_trace(FORMS["fresh"])
    x = torch.arange(1, 7).reshape(2, 3).to(dtype)
    exported = torch.export.export(model, (x,))
    core, kept = exported.run_decompositions(), exported.run_decompositions({})
    assert called(core.graph) == [torch.ops.aten.rsqrt.default] * len(called(core.graph)) != []
    assert called(kept.graph) == [OPS.rsqrt.default] * len(called(core.graph))
    theirs, ours = torch.rsqrt(x), gorsqrt.rsqrt(x)
    for program, expected in ((core, theirs), (kept, ours)):
        results = program.module()(x)
        for result in results if isinstance(results, tuple) else (results,):
            assert torch.equal(result, expected)
    table = torch.export.default_decompositions()
    del table[OPS.rsqrt.default]
    assert called(exported.run_decompositions(table).graph) == called(kept.graph)


@pytest.mark.spec("7.8")
def test_decompositions_with_make_fx():
    table = dict(torch.export.default_decompositions().items())
    traced = make_fx(All(), decomposition_table=table)(X)
    aten = torch.ops.aten
    assert called(traced.graph) == [aten.rsqrt_.default, aten.rsqrt.out, aten.rsqrt.default]


@pytest.mark.spec("7.8")
@pytest.mark.parametrize("order", ["gorsqrt", "torch, gorsqrt", "torch._inductor.decomposition, gorsqrt"])
def test_who_does_not_ask_for_core_aten_keeps_the_ops(order):
    code = f"""
    import warnings
    warnings.simplefilter("ignore")
    import {order}
    import torch, torch._inductor.decomposition
    op = torch.ops.gorsqrt.rsqrt.default
    print(op in torch._inductor.decomposition.decompositions, op in torch.export.default_decompositions())
    """
    assert run(code) == "False True\n"


@pytest.mark.spec("7.8")
def test_a_saved_program_loads_where_gorsqrt_is_imported(tmp_path):
    torch.export.save(torch.export.export(Norm(), (torch.ones(3, 8),)), tmp_path / "norm.pt2")
    code = f"""
    import gorsqrt, torch, warnings
    warnings.simplefilter("ignore")
    loaded = torch.export.load({str(tmp_path / "norm.pt2")!r})
    print([str(node.target) for node in loaded.graph.nodes if "rsqrt" in str(node.target)])
    """
    assert run(code) == "['gorsqrt.rsqrt.default']\n"


# ONNX. Its exporter needs onnxscript, which the oldest torch is tested without.

if importlib.util.find_spec("onnxscript"):

    @pytest.mark.spec("7.8")
    @pytest.mark.filterwarnings("ignore:Exporting a model while it is in training mode:UserWarning")
    def test_onnx():
        """Bit for bit, but for the mean before: onnxruntime adds in another order."""
        import onnxruntime

        class Both(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.norm = Norm()

            def forward(self, x):
                y = x + 1
                gorsqrt.rsqrt_(y)
                into = gorsqrt.rsqrt(x + 1, out=torch.empty_like(x))
                return self.norm(x), y, into, gorsqrt.rsqrt(x.to(torch.int64) + 1)

        model = Both().eval()
        batch = torch.export.Dim("batch", min=2, max=64)
        program = torch.onnx.export(model, (torch.rand(3, 8),), dynamo=True, dynamic_shapes=({0: batch},), verbose=False)
        assert {"Sqrt", "Reciprocal"} <= {node.op_type for node in program.model.graph}
        session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
        for n in (3, 7):
            x = torch.rand(n, 8, generator=torch.Generator().manual_seed(n)) * 4
            norm, *exact = session.run(None, {session.get_inputs()[0].name: x.numpy()})
            expected, *ours = (y.detach().numpy() for y in model(x))
            np.testing.assert_array_max_ulp(norm, expected, maxulp=4)
            for mine, theirs in zip(ours, exact, strict=True):
                np.testing.assert_array_equal(mine, theirs, strict=True)
