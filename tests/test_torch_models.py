"""Contract 7 in models: training with gorsqrt and with torch gives the same losses, bit for bit."""

import copy
import itertools

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.functional import scaled_dot_product_attention, silu
from torch.utils.data import DataLoader, Dataset

import gorsqrt

STEPS = 50


@pytest.fixture(autouse=True)
def deterministic():
    """One thread and torch's deterministic algorithms: two runs of one model give the same bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(5)
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


class RMSNorm(nn.Module):
    def __init__(self, width, rsqrt):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.rsqrt = rsqrt

    def forward(self, x):
        return x * self.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


class Block(nn.Module):
    """A transformer block as in Llama: RMSNorm before attention and before a gated feed-forward
    net."""

    def __init__(self, rsqrt, width=16, heads=2):
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_feed = RMSNorm(width, rsqrt), RMSNorm(width, rsqrt)
        self.qkv, self.project = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.gate, self.up, self.down = nn.Linear(width, 32), nn.Linear(width, 32), nn.Linear(32, width)

    def forward(self, x):
        batch, length, width = x.shape
        qkv = self.qkv(self.before_attention(x)).reshape(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = scaled_dot_product_attention(*qkv, is_causal=True)
        x = x + self.project(attended.transpose(1, 2).reshape(batch, length, width))
        fed = self.before_feed(x)
        return x + self.down(silu(self.gate(fed)) * self.up(fed))


class GraphNet(nn.Module):
    """Two graph convolutions. The adjacency is learnt, and normalised to D^-1/2 A D^-1/2 in each
    step."""

    def __init__(self, rsqrt, nodes=12, width=8):
        super().__init__()
        self.rsqrt = rsqrt
        self.edges = nn.Parameter(torch.rand(nodes, nodes))
        self.first, self.second = nn.Linear(width, 16), nn.Linear(16, width)

    def forward(self, x):
        adjacency = self.edges.abs() + self.edges.abs().T
        scale = self.rsqrt(adjacency.sum(1))
        laplacian = scale[:, None] * adjacency * scale
        return laplacian @ self.second(torch.relu(laplacian @ self.first(x)))


MODELS = {"transformer": (Block, (4, 7, 16)), "graph": (GraphNet, (12, 8))}


class Samples(Dataset):
    """Normalised in the worker: what a loader's workers compute is part of the test."""

    def __init__(self, rsqrt, shape, dtype):
        self.rsqrt = rsqrt
        generator = torch.Generator().manual_seed(7)
        self.data = torch.randn(STEPS, *shape, generator=generator, dtype=torch.float64).to(dtype)

    def __len__(self):
        return STEPS

    def __getitem__(self, i):
        x = self.data[i]
        return x * self.rsqrt(x.var(-1, keepdim=True) + 1e-3)


def train(rsqrt, name, dtype, wrap=lambda model: model, workers=0):
    """The losses of all steps, and the parameters at the end."""
    kind, shape = MODELS[name]
    torch.manual_seed(11)
    model = kind(rsqrt).to(dtype)
    called = wrap(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for x in DataLoader(Samples(rsqrt, shape, dtype), batch_size=None, num_workers=workers):
        optimizer.zero_grad()
        loss = (called(x) - x.flip(-1)).pow(2).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, [p.detach().clone() for p in model.parameters()]


def same_training(name, dtype, **options):
    ours, theirs = (train(f.rsqrt, name, dtype, **options) for f in (gorsqrt, torch))
    assert len(theirs[0]) == STEPS
    assert theirs[0][-1] < theirs[0][0]
    assert ours[0] == theirs[0]
    assert all(torch.equal(mine, other) for mine, other in zip(ours[1], theirs[1], strict=True))


DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])


@pytest.mark.spec("7.1", "7.2")
@DTYPES
@pytest.mark.parametrize("name", MODELS)
def test_training(name, dtype):
    same_training(name, dtype)


@pytest.mark.spec("7.2", "8.2")
@DTYPES
@pytest.mark.parametrize("name", MODELS)
def test_training_with_loader_workers(name, dtype):
    same_training(name, dtype, workers=2)


@pytest.mark.spec("7.2", "7.3")
@pytest.mark.parametrize("name", MODELS)
def test_training_in_place(name):
    """rsqrt_ inside the model, on what autograd has no other use for."""
    results = [train(lambda x, f=f: f.rsqrt_(x * 1), name, torch.float64) for f in (gorsqrt, torch)]
    assert results[0][0] == results[1][0]
    assert all(torch.equal(*pair) for pair in zip(results[0][1], results[1][1], strict=True))


@pytest.mark.spec("7.2", "7.7")
@pytest.mark.parametrize("name", MODELS)
def test_training_under_autocast(name):
    """Matrix products in bfloat16, rsqrt in what it is given."""

    def wrap(model):
        def called(x):
            with torch.autocast("cpu", torch.bfloat16):
                return model(x)

        return called

    same_training(name, torch.float32, wrap=wrap)


@pytest.fixture
def one_process_group(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.spec("7.2")
@DTYPES
@pytest.mark.parametrize("name", MODELS)
def test_training_in_distributed_data_parallel(one_process_group, name, dtype):
    same_training(name, dtype, wrap=nn.parallel.DistributedDataParallel)


@pytest.mark.spec("7.8", "7.2")
@pytest.mark.filterwarnings("ignore:Skipping serialization of skipfiles")  # of torch 2.6's own configuration
@pytest.mark.parametrize(("name", "backend"), [*itertools.product(MODELS, ["eager", "aot_eager"]), ("graph", "inductor")])
def test_training_compiled(name, backend):
    """The model in one graph. Inductor fuses the code around rsqrt, so losses need only be
    close."""
    torch.compiler.reset()

    def wrap(model):
        return torch.compile(model, backend=backend, fullgraph=True)

    if backend != "inductor":
        same_training(name, torch.float32, wrap=wrap)
        return
    ours, theirs = (train(f.rsqrt, name, torch.float32, wrap=wrap)[0] for f in (gorsqrt, torch))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)


@pytest.mark.spec("7.2", "7.7")
@pytest.mark.parametrize("name", MODELS)
def test_copies_checkpointing_and_state(name):
    """Deep copies, state dicts and activation checkpointing go as they do with torch's."""
    kind, shape = MODELS[name]
    x = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    torch.manual_seed(11)
    model = kind(gorsqrt.rsqrt)
    copied, other = copy.deepcopy(model), kind(torch.rsqrt)
    other.load_state_dict(model.state_dict())
    want = other(x)
    want.sum().backward()
    checkpointed = torch.utils.checkpoint.checkpoint(copied, x, use_reentrant=False)
    checkpointed.sum().backward()
    assert torch.equal(checkpointed, want)
    assert torch.equal(model(x), want)
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(copied.parameters(), other.parameters(), strict=True))
