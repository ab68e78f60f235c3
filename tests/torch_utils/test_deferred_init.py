"""Modules that are built without memory get the values that they would have had."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
import timm
import torch
import torchvision.models as zoo
from torch import nn

from raysplit.torch_utils.deferred_init import DeferredInit, held_tensors
from raysplit.torch_utils.op_log import ReplayError
from tests.split.networks import FAMILIES, NETWORKS
from tests.torch_utils.memory import CountBytes


def build_directly(build: Callable[[], nn.Module], seed: int = 3) -> nn.Module:
    torch.manual_seed(seed)
    return build()


def build_deferred(build: Callable[[], nn.Module], seed: int = 3) -> tuple[nn.Module, DeferredInit]:
    deferred = DeferredInit(seed)
    with deferred:
        return build(), deferred


def assert_same(found: nn.Module, expected: nn.Module) -> None:
    pairs = list(zip(held_tensors(found), held_tensors(expected), strict=True))
    assert pairs
    for one, other in pairs:
        assert type(one) is type(other) and one.requires_grad == other.requires_grad
        assert one.stride() == other.stride() and torch.equal(one, other)
    assert [name for name, _ in found.named_parameters()] == [name for name, _ in expected.named_parameters()]


def check(build: Callable[[], nn.Module]) -> None:
    """Build directly, and deferred; then in two parts, the first parameters apart from the last ones."""
    expected = build_directly(build)
    outside = torch.get_rng_state()
    model, deferred = build_deferred(build)
    deferred.materialize([model])
    assert_same(model, expected)
    names = list(dict(expected.named_parameters()))
    for left in (names[: len(names) // 2], names[len(names) // 2 :]):
        model, deferred = build_deferred(build)
        deferred.materialize([model], leave=[model.get_parameter(name) for name in left])
        for (name, found), wanted in zip(model.named_parameters(), expected.parameters(), strict=True):
            assert found.is_meta if name in left else found.equal(wanted), name
        assert not any(buffer.is_meta for buffer in model.buffers())
    assert torch.get_rng_state().equal(outside)


@pytest.mark.parametrize("name", FAMILIES)
def test_networks_of_many_families(name):
    check(NETWORKS[name])


@pytest.mark.parametrize(
    "build",
    [
        functools.partial(timm.create_model, "convnext_atto", num_classes=5),
        functools.partial(timm.create_model, "beit_base_patch16_224", depth=1, embed_dim=48, num_heads=2),
        functools.partial(zoo.swin_transformer.SwinTransformer, [4, 4], 24, [1, 1], [2, 4], [4, 4], num_classes=5),
        functools.partial(nn.Transformer, 16, 2, 1, 1, batch_first=True),
    ],
    ids=["convnext_timm", "beit", "swin_v1", "transformer"],
)
def test_more_networks(build):
    check(build)


class Everything(nn.Module):
    """Ways to come by a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(30, 20)
        nn.init.orthogonal_(self.first.weight)
        self.tied = nn.Linear(30, 20)
        self.tied.weight = self.first.weight
        self.sparse = nn.Parameter(nn.init.sparse_(torch.empty(20, 30), 0.5))
        self.cut_off = nn.Parameter(nn.init.trunc_normal_(torch.empty(50, 40), std=1.0, a=-0.5, b=2.0))
        self.narrow = nn.Parameter(nn.init.trunc_normal_(torch.empty(40), std=1.0, a=2.0, b=2.5))
        self.view = nn.Parameter(torch.randn(8, 6).t())
        self.dropped = nn.Parameter(nn.functional.dropout(torch.ones(5, 7), 0.5))
        self.register_buffer("order", torch.randperm(100))
        self.register_buffer("table", torch.linspace(0, 1, 5)[:, None] * torch.rand(3), persistent=False)
        self.plain = torch.bernoulli(torch.full((40,), 0.3))
        self.listed = [torch.rand(3), {"a": torch.rand(2)}]
        self.rates = [rate.item() for rate in torch.linspace(0, 0.3, 4)]
        self.drawn = torch.rand(2).tolist()
        self.device = self.first.weight.device
        with torch.no_grad():
            self.first.bias[2:5] = torch.rand(3)
            self.first.bias[0] = 7
        self.last = nn.Linear(20, 3).to(torch.float64)
        self.norm = nn.BatchNorm1d(20)
        self.size = self.norm(self.first(torch.rand(4, 30))).shape[1]
        for parameter in (self.sparse, self.view):
            parameter.requires_grad_(False)


def test_a_module_of_ones_own():
    check(Everything)
    model, deferred = build_deferred(Everything)
    deferred.materialize([model])
    expected = build_directly(Everything)
    assert model.tied.weight is model.first.weight
    assert (model.rates, model.drawn, model.size) == (expected.rates, expected.drawn, 20)
    assert model.device == torch.device("cpu")


class Seeded(nn.Module):
    """Sets torch's seed while it is built, as some do."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(20, 20)
        torch.manual_seed(7)
        self.second = nn.Linear(20, 20)
        state = torch.get_rng_state()
        torch.manual_seed(7)
        self.third = nn.Linear(20, 20)
        self.same = state.equal(torch.get_rng_state())


def test_a_module_that_sets_the_seed():
    check(Seeded)
    assert torch.equal(build_directly(Seeded).second.weight, build_directly(Seeded).third.weight)


def forked() -> nn.Module:
    model = nn.Linear(3, 3)
    with torch.random.fork_rng(devices=[]):
        nn.Linear(3, 3)
    return nn.Sequential(model, nn.Linear(3, 3))


def with_own_generator() -> nn.Module:
    model = nn.Linear(3, 3)
    nn.init.normal_(model.weight, generator=torch.Generator().manual_seed(0))
    return model


def with_large_tensor() -> nn.Module:
    model = nn.Linear(100, 100)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.5] * 100] * 100))
    return model


def on_meta() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 3, device="meta"), nn.Linear(3, 3))


def written_constant() -> nn.Module:
    model = nn.Linear(3, 3)
    model.register_buffer("constant", torch.tensor([1.0, 2.0, 3.0]))
    model.constant.uniform_()
    return model


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (forked, "puts the state of torch's generator back"),
        (with_own_generator, "draws from a generator of its own"),
        (with_large_tensor, "10000 values on cpu that it has not computed"),
        (on_meta, "uses the meta device itself"),
        (written_constant, "writes into a constant"),
    ],
)
def test_what_cannot_be_deferred_is_refused(build, text):
    outside = torch.get_rng_state()
    with pytest.raises(ReplayError, match=text):
        build_deferred(build)
    assert torch.get_rng_state().equal(outside)


def test_a_tensor_that_only_a_closure_holds_is_refused():
    """A parameter that no module holds cannot be found, nor can the closure do without its values."""
    kept = []

    def build() -> nn.Module:
        hidden = nn.Parameter(torch.rand(3))
        kept.append(lambda: hidden)
        return nn.Linear(3, 3)

    model, deferred = build_deferred(build)
    with pytest.raises(ReplayError, match="a tensor outside of its modules"):
        deferred.materialize([model])


CACHE: dict[str, torch.Tensor] = {}


def with_cache(fails: bool) -> nn.Module:
    if "mask" not in CACHE:
        CACHE["mask"] = torch.ones(100, 100).tril()
    if fails:
        CACHE["mask"].numpy(force=True)
        raise ValueError("a fault")
    return nn.Linear(3, 3)


def test_a_cache_of_the_program_gets_its_values():
    CACHE.clear()
    model, deferred = build_deferred(lambda: with_cache(fails=False))
    assert CACHE["mask"].is_meta
    deferred.materialize([model], leave=model.parameters())
    assert CACHE["mask"].equal(torch.ones(100, 100).tril()) and model.weight.is_meta


def test_a_cache_of_a_program_that_failed_gets_its_values():
    CACHE.clear()
    deferred = DeferredInit(0)
    with pytest.raises(ValueError, match="a fault"), deferred:
        with_cache(fails=True)
    assert CACHE["mask"].is_meta
    deferred.release()
    assert CACHE["mask"].equal(torch.ones(100, 100).tril())


def test_memory_is_allocated_for_what_is_wanted():
    def build() -> nn.Module:
        layers = [nn.Linear(400, 400) for _ in range(20)]
        for layer in layers:
            nn.init.kaiming_normal_(layer.weight)
        return nn.Sequential(*layers)

    with CountBytes() as counted:
        model, deferred = build_deferred(build)
        deferred.materialize([model], leave=[p for layer in model[:-1] for p in layer.parameters()])
    wanted = sum(p.nbytes for p in model[-1].parameters())
    assert model[-1].weight.equal(build_directly(build)[-1].weight)
    assert wanted <= counted.total < wanted + 2**17


def test_a_model_learns_once_it_has_values():
    model, deferred = build_deferred(lambda: nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1)))
    deferred.materialize([model])
    optimizer, x = torch.optim.SGD(model.parameters(), 0.1), torch.randn(16, 4)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = (model(x) - x.sum(1, keepdim=True)).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] and model(x).shape == (16, 1)
