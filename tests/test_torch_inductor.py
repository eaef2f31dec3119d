"""Contract 7.8, Inductor: the code is torch.rsqrt's own to the letter, except for an op that stands
alone on a large tensor. That stays a call of gorsqrt."""

import os
import re
import subprocess
import sys
import textwrap
import time
import warnings
from unittest import mock

import pytest
import torch
import torch._dynamo.testing
from cuda_double import on_doubles
from torch._inductor import config
from torch._inductor.utils import run_and_get_code, run_fw_bw_and_get_code
from torch_oracle import FLOATS, INTEGERS, RELEASE

import gorsqrt.torch
from gorsqrt.torch import _inductor

pytestmark = [
    pytest.mark.spec("7.8"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # torch's own, while it compiles
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:Skipping serialization of skipfiles_inline_module_allowlist:UserWarning"),
    pytest.mark.filterwarnings("ignore:Torchinductor does not support code generation for complex:UserWarning"),
]
SIDE = 128
assert SIDE * SIDE > _inductor.LARGE > SIDE * 2


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    with config.patch(fx_graph_cache=False):
        yield
    torch._dynamo.reset()


def square(seed=0, dtype=torch.float32):
    return (torch.rand(SIDE, SIDE, generator=torch.Generator().manual_seed(seed)) * 4 + 0.5).to(dtype)


def clones(tensors):
    return [x.clone() for x in tensors]


def compiled(f, *args, **options):
    """The result of the compiled function and its code, without comments and buffers' names."""
    torch._dynamo.reset()
    result, code = run_and_get_code(torch.compile(f, fullgraph=True, **options), *args)
    return result, plain("\n".join(code))


def plain(code):
    lines = (line.strip() for line in code.splitlines())
    return re.sub(r"buf\d+", "buf", "\n".join(line for line in lines if not line.startswith(("#", "//"))))


def calls(code):
    """The calls of ours in generated code."""
    return re.findall(r"^.*\bgorsqrt\.rsqrt.*$", code, re.MULTILINE)


def loops(code):
    """How often generated loops are called."""
    return len(re.findall(r"^cpp_fused\w*\(", code, re.MULTILINE))


def bits(x):
    return x.contiguous().view({2: torch.int16, 4: torch.int32, 8: torch.int64}[x.itemsize])


def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(bits(a), bits(b))


# Values.


def patterns(dtype):
    """All patterns of 16 bits, or as many random ones of wider dtypes; the last are special
    values."""
    info = torch.finfo(dtype)
    specials = [0.0, -0.0, torch.inf, -torch.inf, torch.nan, -1.0, -info.tiny, info.tiny, info.tiny / 2, -info.tiny / 2]
    specials += [info.smallest_normal * info.eps, info.max, 1.0]
    if dtype.itemsize == 2:
        drawn = torch.arange(-(1 << 15), 1 << 15).to(torch.int16)
    else:
        half = 1 << 8 * dtype.itemsize - 1
        drawn = torch.randint(-half, half - 1, (1 << 16,), generator=torch.Generator().manual_seed(1))
        drawn = drawn.to({4: torch.int32, 8: torch.int64}[dtype.itemsize])
    return torch.cat([drawn.view(dtype), torch.tensor(specials, dtype=dtype)])


@pytest.mark.spec("6.2", "6.8")
def test_bits():
    """Fused code has the eager bits except nans', in whole vectors and tails. A call has nans'
    too."""
    inputs = [patterns(dtype) for dtype in FLOATS]
    fused, code = compiled(lambda *xs: [(gorsqrt.rsqrt(x), x.abs()) for x in xs], *inputs)
    assert not calls(code)
    alone, code = compiled(lambda *xs: [gorsqrt.rsqrt(x) for x in xs], *inputs)
    assert (len(calls(code)), loops(code)) == (len(FLOATS), 0)
    for x, (beside, _), y in zip(inputs, fused, alone, strict=True):
        want = gorsqrt.rsqrt(x)
        assert same_bits(y, want)
        assert beside.isnan().equal(want.isnan())
        assert same_bits(beside[~beside.isnan()], want[~want.isnan()]), x.dtype


def test_complex_stays_ours():
    z = torch.complex(square(0), square(1) - 2)
    for dtype in (torch.complex64, torch.complex128):
        x = z.to(dtype)
        assert not torch.equal(torch.rsqrt(x), gorsqrt.rsqrt(x))
        (y, beside), _ = compiled(lambda x: (gorsqrt.rsqrt(x), gorsqrt.rsqrt(x * 2) + 1), x)
        assert torch.equal(y, gorsqrt.rsqrt(x))
        assert torch.equal(beside, gorsqrt.rsqrt(x * 2) + 1)
        if RELEASE >= (2, 15):  # torch 2.6 fails where a complex argument is written, by torch.rsqrt too
            out = torch.empty_like(x)
            compiled(lambda x, out: (gorsqrt.rsqrt(x, out=out), gorsqrt.rsqrt_(x)), x, out)
            assert torch.equal(x, y)
            assert torch.equal(out, y)


# Fused: the functions with gorsqrt and with torch in place of m.


def normalised(m, x, w):
    return x * m.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * w


def chain(m, x, w):
    return (x * x + 1).abs() * m.rsqrt(x * x + w) + m.rsqrt(w), m.rsqrt_(x + w).mul_(2)


def written(m, x, w):
    out = torch.empty_like(x)
    m.rsqrt(x, out=out)
    m.rsqrt_(x[1:])
    return out * w, m.rsqrt(w), m.rsqrt(x.t()[3:] + 1).reshape(-1)


def mapped(m, x, w):
    return torch.vmap(lambda row: m.rsqrt(row * w) + 1)(x)


def of_integers(m, x, w):
    return [m.rsqrt((x * 20).to(dtype)) + w for dtype in INTEGERS]


@pytest.mark.parametrize("f", [normalised, chain, written, mapped, of_integers], ids=lambda f: f.__name__)
def test_the_code_is_torchs(f):
    results, codes, inputs = [], [], []
    for m in (gorsqrt, torch):
        inputs.append([square(), square(1)[0]])
        result, code = compiled(lambda x, w, m=m: f(m, x, w), *inputs[-1])
        results.append(result)
        codes.append(code)
    assert codes[0] == codes[1]
    assert "rsqrt" in codes[0]
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)
    torch.testing.assert_close(inputs[0], inputs[1], rtol=0, atol=0)


@pytest.mark.spec("7.2")
def test_training():
    """The graph is parted into forward and backward as torch's is."""

    def step(m):
        torch._dynamo.reset()
        x, w = square().requires_grad_(), square(1)[0].requires_grad_()
        f = torch.compile(lambda x, w: normalised(m, x, w), fullgraph=True)
        y, code = run_fw_bw_and_get_code(lambda: f(x, w))
        return [y, x.grad, w.grad], [plain(part) for part in code]

    ours, theirs = step(gorsqrt), step(torch)
    assert len(ours[1]) == 2
    assert ours[1] == theirs[1]
    assert all(map(torch.equal, ours[0], theirs[0]))


# Alone.


def fresh(x, _):
    return gorsqrt.rsqrt(x)


def in_place(x, _):
    return gorsqrt.rsqrt_(x)


def into(x, out):
    return gorsqrt.rsqrt(x, out=out)


def of_views(x, y):
    return gorsqrt.rsqrt(x.t()[3:])[:, ::2], gorsqrt.rsqrt(y[None].expand(2, SIDE, SIDE))


def after_a_product(x, y):
    return gorsqrt.rsqrt(x @ y)


def of_an_integer(x, _):
    return gorsqrt.rsqrt(x.view(torch.int32))


def read_by_a_product(x, y):
    return x @ y, gorsqrt.rsqrt_(x)


ALONE = {fresh: 1, in_place: 1, into: 1, of_views: 2, after_a_product: 1, of_an_integer: 1, read_by_a_product: 1}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_alone(dtype):
    for f, number in ALONE.items():
        if (f, dtype) == (of_an_integer, torch.bfloat16):
            continue
        args = square(0, dtype), square(1, dtype)
        want_args = clones(args)
        want = f(*want_args)
        got, code = compiled(f, *args)
        assert (len(calls(code)), loops(code)) == (number, 0), (f, code)
        torch.testing.assert_close((got, *args), (want, *want_args), rtol=0, atol=0)
        strides = [[y.stride() for y in (ys if isinstance(ys, tuple) else (ys,))] for ys in (got, want)]
        assert strides[0] == strides[1]
        if f is in_place:
            assert got is args[0]
        if f is into:
            assert got is args[1]


def test_training_alone():
    x = square().requires_grad_()
    f = torch.compile(lambda x: gorsqrt.rsqrt(x), fullgraph=True)
    y, (forward, backward) = run_fw_bw_and_get_code(lambda: f(x))
    assert (len(calls(forward)), loops(plain(forward)), loops(plain(backward))) == (1, 0, 1)
    assert torch.equal(y, gorsqrt.rsqrt(x))
    other = square().requires_grad_()
    torch.rsqrt(other).sum().backward()
    torch.testing.assert_close(x.grad, other.grad)


def test_not_alone():
    """An out= that is only the last place of a result does not count. All cases are in one
    graph."""
    wide, twice = torch.empty(SIDE, SIDE, dtype=torch.float64), torch.empty(2, SIDE, SIDE)

    def f(overlapping, x, wide, y, twice, read, returned):
        overlapping.copy_(gorsqrt.rsqrt(overlapping.t()))
        gorsqrt.rsqrt(x, out=wide)
        twice.copy_(gorsqrt.rsqrt(y))
        before = read + 1
        gorsqrt.rsqrt_(read)
        result = gorsqrt.rsqrt(returned)
        return before, result, returned.copy_(result)

    args = [square(0), square(1), wide, square(2), twice, square(3), square(4)]
    want_args = clones(args)
    want = f(*want_args)
    got, code = compiled(f, *args)
    assert not calls(code)
    torch.testing.assert_close((got, args), (want, want_args), rtol=0, atol=0)


@pytest.mark.parametrize("first", [SIDE, 4], ids=["large first", "small first"])
def test_dynamic_shapes(first):
    """One graph serves every size: none is asked for."""
    counter = torch._dynamo.testing.CompileCounterWithBackend("inductor")
    alone = torch.compile(fresh, backend=counter, fullgraph=True, dynamic=True)
    into_out = torch.compile(into, backend=counter, fullgraph=True, dynamic=True)
    for n in (first, SIDE, 4, 17, SIDE + 1):
        x = square().repeat(2, 2)[:n, : n + 1].contiguous()
        out = torch.empty_like(x)
        assert same_bits(alone(x, None), gorsqrt.rsqrt(x))
        assert into_out(x, out) is out
        assert same_bits(out, gorsqrt.rsqrt(x))
    assert counter.frame_count == 2


def test_reduce_overhead():
    f = torch.compile(lambda x: (gorsqrt.rsqrt(x), x + 1), mode="reduce-overhead", fullgraph=True)
    alone = torch.compile(fresh, mode="reduce-overhead", fullgraph=True)
    for seed in range(3):
        x = square(seed)
        assert same_bits(f(x)[0], gorsqrt.rsqrt(x))
        assert same_bits(alone(x, None), gorsqrt.rsqrt(x))


@pytest.mark.spec("7.11")
@on_doubles(caching=True)
def test_alone_on_cuda():
    """The calls of gorsqrt in Inductor's code. Its Triton kernels can't run on the doubles."""
    without = mock.patch("torch.utils._triton.triton_hash_with_backend", return_value="none")
    with warnings.catch_warnings(), config.patch(fx_graph_cache=False), without:
        warnings.simplefilter("ignore")
        for f in (fresh, in_place, into):
            args = square(0), square(1)
            there = [x.cuda() for x in args]
            got, code = compiled(f, *there)
            want = f(*args)
            assert len(calls(code)) == 1
            assert same_bits(got.cpu(), want)
            assert all(map(torch.equal, [x.cpu() for x in there], args))
        torch._dynamo.reset()
        graphed = torch.compile(fresh, mode="reduce-overhead", fullgraph=True)
        x = square().cuda()
        torch._dynamo.mark_static_address(x)  # or it is copied, by a kernel that the doubles lack
        for seed in range(4):
            x.copy_(square(seed))
            assert same_bits(graphed(x, None).cpu(), gorsqrt.rsqrt(square(seed)))
        torch._dynamo.reset()


# Code without Python.


def run(code, **environment):
    """Runs code in a process of its own and gives its output."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_package_runs_without_gorsqrt(tmp_path):
    class Model(torch.nn.Module):
        def forward(self, x, large, z):
            scaled = x * gorsqrt.rsqrt(x.pow(2).mean(-1, keepdim=True))
            return scaled, gorsqrt.rsqrt(large), gorsqrt.rsqrt_(large + 1), gorsqrt.rsqrt(z)

    z = torch.tensor([1 + 2j, -3 + 1j])
    if RELEASE < (2, 15):  # which leaves Inductor's patterns and lowerings out where a tensor is complex
        z = z.abs()
    args = square()[:4], square(), z
    exported = torch.export.export(Model(), args)
    package = torch._inductor.aoti_compile_and_package(exported, package_path=str(tmp_path / "model.pt2"))
    want = [*Model()(*args)[:3], torch.rsqrt(z)]
    torch.save([args, want], tmp_path / "values.pt")
    code = f"""
    import sys, torch
    sys.modules["gorsqrt"] = None
    args, want = torch.load({str(tmp_path / "values.pt")!r})
    got = torch._inductor.aoti_load_package({package!r})(*args)
    torch.testing.assert_close(list(got), want, rtol=1e-6, atol=0)
    assert torch.equal(got[1], want[1])
    print(len(got))
    """
    assert run(code) == "4\n"


def test_cpp_wrapper():
    args, want = [square(), square(1)], [square(), square(1)]
    f = torch.compile(lambda x, y: (gorsqrt.rsqrt(x), gorsqrt.rsqrt_(y)), fullgraph=True, options={"cpp_wrapper": True})
    got = f(*args)
    assert torch.equal(got[0], gorsqrt.rsqrt(want[0]))
    assert got[1] is args[1]
    assert torch.equal(args[1], gorsqrt.rsqrt_(want[1]))


# Caches, and whose tables hold what.


def test_cached_code():
    """Code in the cache serves other processes: fused code as torch.rsqrt's, a call as our op's
    only."""
    n = 20_000 + time.time_ns() % 1_000_000  # nobody has compiled for so many before
    code = """
    import sys
    import torch
    from torch._dynamo.utils import counters
    {imports}
    x = torch.arange(1.0, {n})
    alone = torch.compile(lambda x: {m}.rsqrt(x), fullgraph=True)(x)
    fused = torch.compile(lambda x: {m}.rsqrt(x * 2) + 1, fullgraph=True)(x)
    assert torch.equal(alone, torch.rsqrt(x))
    assert torch.equal(fused, torch.rsqrt(x * 2) + 1)
    print("gorsqrt" in sys.modules, *(counters["inductor"]["fxgraph_cache_" + name] for name in ("miss", "hit")))
    """
    ours, theirs = code.format(imports="import gorsqrt", m="gorsqrt", n=n), code.format(imports="", m="torch", n=n)
    environment = {"TORCHINDUCTOR_FX_GRAPH_CACHE": "1", "TORCHINDUCTOR_AUTOGRAD_CACHE": "0"}
    assert run(ours, **environment) == "True 2 0\n"
    assert run(ours, **environment) == "True 0 2\n"
    assert run(theirs, **environment) == "False 1 1\n"


@pytest.mark.parametrize("order", ["gorsqrt, torch._inductor.compile_fx", "torch._inductor.compile_fx, gorsqrt"])
def test_registration(order):
    """Once, whatever comes first and however often, and nothing of torch's is changed."""
    code = """
    import torch._inductor.lowering, torch._inductor.fx_passes.post_grad, torch._inductor.fx_passes.joint_graph
    from torch._inductor import fx_passes, lowering
    tables = [lowering.lowerings, fx_passes.joint_graph.patterns.patterns]
    tables += [each.patterns for each in fx_passes.post_grad.pass_patterns]
    before = [dict(table) for table in tables]
    import ORDER
    import importlib
    for _ in range(2):
        importlib.reload(gorsqrt)
    import torch
    assert len(set(tables[0]) - set(before[0])) == 2
    for table, old in zip(tables, before):
        ours = [(key, now) for key, now in table.items() if "gorsqrt" in str(key)]
        print(len(ours), [len(now) for _, now in ours if isinstance(now, list)])
        assert all(table[key] is value for key, value in old.items() if not isinstance(value, list))
    """
    assert run(code.replace("ORDER", order)) == "2 []\n1 [1]\n0 []\n0 []\n0 []\n"


def test_without_the_parts():
    """An Inductor that has other names: a warning, and ops that nothing is fused with."""
    code = """
    import warnings
    import torch
    from torch._inductor.fx_passes import joint_graph
    patterns = vars(joint_graph).pop("patterns")
    import gorsqrt
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        import torch._inductor.compile_fx
    print([str(w.message) for w in caught if "gorsqrt" in str(w.message)])
    joint_graph.patterns = patterns  # Inductor's own need for it comes when it compiles
    from torch._inductor.utils import run_and_get_code
    x = torch.arange(1.0, 20001.0)
    y, code = run_and_get_code(torch.compile(lambda x: gorsqrt.rsqrt(x), fullgraph=True), x)
    assert torch.equal(y, gorsqrt.rsqrt(x))
    print("torch.ops.gorsqrt.rsqrt" in code[0])
    """
    said, ops = run(code).splitlines()
    assert said.count("gorsqrt could not register with torch._inductor.compile_fx: AttributeError(") == 1
    assert ops == "True"
