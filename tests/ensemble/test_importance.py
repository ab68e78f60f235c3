"""Scores of units: the exact ones against single removals, the fast ones against the exact ones."""

from __future__ import annotations

import time

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from raysplit.config import ModelConfig
from raysplit.ensemble.importance import score_units
from raysplit.ensemble.prunable.base import PrunableNetwork, prunable_network
from raysplit.errors import ConfigError
from raysplit.models import build

SHAPE = (1, 28, 28)


def vit(classes: int, width: int, depth: int, heads: int) -> torch.nn.Module:
    torch.manual_seed(0)
    args = {"patch": 7, "width": width, "depth": depth, "heads": heads}
    return build(ModelConfig(name="vit", args=args), classes, SHAPE)


def stirred(model: torch.nn.Module) -> torch.nn.Module:
    """Make a fresh model's answers depend on its image."""
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


@torch.no_grad()
def one_by_one(network: PrunableNetwork, x: Tensor) -> dict[str, Tensor]:
    full = network.model(x).double().log_softmax(1)
    found = {}
    for group, count in network.units().items():
        found[group] = torch.zeros(count)
        for unit in range(count):
            mask = torch.ones(count)
            mask[unit] = 0
            without = network.forward_masked(x, {group: mask}).double().log_softmax(1)
            found[group][unit] = F.kl_div(without, full, reduction="sum", log_target=True)
    return found


def spearman(a: Tensor, b: Tensor) -> float:
    ranks = torch.stack([t.argsort().argsort().double() for t in (a, b)])
    return torch.corrcoef(ranks)[0, 1].item()


def seconds(kind: str, network: PrunableNetwork, x: Tensor) -> tuple[float, dict[str, Tensor]]:
    """Return the processor time and the scores."""
    start = time.process_time()
    found = score_units(kind, network, x, 0)
    return time.process_time() - start, found


@pytest.fixture(scope="module")
def trained() -> tuple[PrunableNetwork, Tensor]:
    """A ViT of 12 heads that tells ten noisy patterns apart, and images of two of them."""
    model = vit(classes=10, width=192, depth=3, heads=12)
    random = torch.Generator().manual_seed(0)
    patterns = torch.randn(10, *SHAPE, generator=random)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(40):
        labels = torch.randint(10, (32,), generator=random)
        x = patterns[labels] + torch.randn(32, *SHAPE, generator=random)
        optimizer.zero_grad()
        F.cross_entropy(model(x), labels).backward()
        optimizer.step()
    x = patterns[[3, 8]].repeat(2, 1, 1, 1) + torch.randn(4, *SHAPE, generator=random)
    assert model.eval()(x).argmax(1).tolist() == [3, 8] * 2
    return prunable_network(model, SHAPE), x


@pytest.mark.slow  # it times what the others compute
def test_fast_scores_rank_units_as_exact_ones_and_are_50_times_faster(trained):
    network, x = trained
    seconds("fast", network, x)  # the first call allocates
    fast_s, fast = min((seconds("fast", network, x) for _ in range(3)), key=lambda found: found[0])
    exact_s, exact = seconds("exact", network, x)
    ranks = {group: spearman(fast[group], exact[group]) for group in network.units()}
    print(f"\nexact / fast: {exact_s:.1f} s / {fast_s:.3f} s = {exact_s / fast_s:.0f}", ranks)
    assert min(ranks.values()) >= 0.9
    assert exact_s / fast_s >= 50


@pytest.mark.parametrize("name", ["vit", "vgg11"])
def test_exact_scores_are_those_of_removing_one_unit_at_a_time(name):
    if name == "vit":
        model, shape = stirred(vit(classes=4, width=12, depth=2, heads=3)), SHAPE
    else:
        model, shape = build(ModelConfig(name=name, args={"width": 0.01}), 4, (1, 32, 32)), (1, 32, 32)
    network, x = prunable_network(model, shape), torch.randn(35, *shape)
    found, expected = score_units("exact", network, x, 0), one_by_one(network, x)
    assert list(found) == list(network.units())
    for group, scores in found.items():
        assert scores.dtype == torch.float32 and scores.shape == (network.units()[group],)
        torch.testing.assert_close(scores, expected[group], rtol=1e-3, atol=1e-7)
        assert scores.std() > 0


@pytest.mark.parametrize("kind", ["fast", "exact"])
def test_scores_are_sums_over_images_of_the_model_in_eval_mode(kind):
    torch.manual_seed(0)
    model = stirred(vit(classes=3, width=12, depth=1, heads=3))
    network, x = prunable_network(model, SHAPE), torch.randn(40, *SHAPE)
    whole, parts = score_units(kind, network, x, 0), [score_units(kind, network, part, 0) for part in (x[:7], x[7:])]
    for group, scores in whole.items():
        torch.testing.assert_close(scores, parts[0][group] + parts[1][group], rtol=1e-4, atol=1e-6)
    assert not model.training and all(p.grad is None for p in model.parameters())


def test_fast_scores_of_many_classes_join_the_unlikely_ones(monkeypatch):
    model = stirred(vit(classes=60, width=24, depth=2, heads=3))
    network, x = prunable_network(model, SHAPE), torch.randn(12, *SHAPE)
    joined = score_units("fast", network, x, 0)
    monkeypatch.setattr("raysplit.ensemble.importance._OUTPUTS", 60)
    apart = score_units("fast", network, x, 0)
    for group in network.units():
        assert (joined[group] < apart[group]).all()
        assert spearman(joined[group], apart[group]) >= 0.9


def test_random_scores_depend_on_the_seed_alone():
    network = prunable_network(vit(classes=3, width=12, depth=1, heads=3), SHAPE)
    one, same, other = (score_units("random", network, torch.zeros(2, *SHAPE), seed) for seed in (1, 1, 2))
    for group, count in network.units().items():
        assert one[group].shape == (count,) and one[group].dtype == torch.float32
        assert torch.equal(one[group], same[group]) and not torch.equal(one[group], other[group])


def test_apoz_is_for_networks_with_zeros():
    with pytest.raises(ConfigError, match="prune.scores: apoz .* of vit are never zero; use fast, exact or random"):
        score_units(
            "apoz", prunable_network(vit(classes=3, width=12, depth=1, heads=3), SHAPE), torch.zeros(2, *SHAPE), 0
        )
    vgg = prunable_network(build(ModelConfig(name="vgg11", args={"width": 0.01}), 3, SHAPE), SHAPE)
    assert set(score_units("apoz", vgg, torch.randn(2, *SHAPE), 0)) == set(vgg.units())
