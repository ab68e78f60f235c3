"""The learning rate as a function of the step, and which parameters decay."""

from __future__ import annotations

import pytest
import torch

from raysplit.compress.bottleneck import Encoder
from raysplit.config import BottleneckConfig, ClassifierFit, TrainConfig
from raysplit.torch_utils.optim import HalfOptimizer, find_matrices, lr_at, make_optimizer


def test_constant():
    assert {lr_at(TrainConfig(lr=0.1, lr_schedule="constant"), step, 10) for step in range(10)} == {0.1}


def test_cosine_rises_to_the_peak_then_falls_towards_zero():
    rates = [lr_at(TrainConfig(lr=0.1, warmup=0.2), step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1 / 20) and rates[19] == rates[20] == pytest.approx(0.1)
    assert rates[:20] == sorted(rates[:20]) and rates[20:] == sorted(rates[20:], reverse=True)
    assert rates[-1] < 1e-4


def test_linear_rises_and_falls_by_equal_steps_to_zero():
    config = TrainConfig(lr=0.1, warmup=0.2, lr_schedule="linear")
    rates = [lr_at(config, step, 10) for step in range(11)]
    assert rates == pytest.approx([0.05, 0.1, 0.1, 0.0875, 0.075, 0.0625, 0.05, 0.0375, 0.025, 0.0125, 0.0])


def test_no_warmup_starts_at_the_peak():
    assert lr_at(TrainConfig(lr=0.1, warmup=0.0), 0, 7) == 0.1


@pytest.mark.parametrize(("paper", "groups"), [(True, [5]), (False, [4, 1])])
def test_logits_decay_in_paper_mode_only(paper, groups):
    config = BottleneckConfig(start="random", order="learned")
    encoder = torch.nn.ModuleDict({"encoder": Encoder(config, (4, 8, 8), 1)})
    made = make_optimizer(encoder, TrainConfig(weight_decay=0.1), decay_logits=paper).param_groups
    assert [len(group["params"]) for group in made] == groups
    assert [group["weight_decay"] for group in made] == [0.1, 0.0][: len(groups)]


def test_a_half_with_nothing_to_learn_can_step():
    optimizer = HalfOptimizer(torch.nn.ReLU(), TrainConfig(), 10, decay_logits=False)
    optimizer.step(0)
    assert optimizer.state()["param_groups"][0]["params"] == []


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_reset_forgets_and_restore_brings_back(name):
    layer = torch.nn.Linear(2, 1)
    optimizer = HalfOptimizer(layer, TrainConfig(optimizer=name), 10, decay_logits=False)
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step(0)
    state = optimizer.state()
    assert state["state"]
    optimizer.reset()
    assert not optimizer.state()["state"]
    optimizer.restore(state)
    assert optimizer.state()["state"].keys() == state["state"].keys()


def test_a_plan_moves_the_schedule_into_a_span_of_the_run_and_scales_its_peak():
    config = TrainConfig(lr=0.1, warmup=0.25)
    optimizer = HalfOptimizer(torch.nn.Linear(1, 1), config, 100, decay_logits=False)
    assert [optimizer.lr(step) for step in range(100)] == [lr_at(config, step, 100) for step in range(100)]
    optimizer.set_span(40, 8, 0.5)
    assert [optimizer.lr(40 + step) for step in range(8)] == [0.5 * lr_at(config, step, 8) for step in range(8)]
    assert optimizer.lr(42) == 0.05


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_step_is_taken_at_the_planned_rate(name):
    layer = torch.nn.Linear(2, 1, bias=False)
    config = TrainConfig(optimizer=name, lr=0.1, lr_schedule="constant", momentum=0, weight_decay=0)
    optimizer = HalfOptimizer(layer, config, 10, decay_logits=False)
    optimizer.set_span(5, 5, 0.25)
    before = layer.weight.detach().clone()
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step(7)
    # A gradient of one: plain SGD moves by the rate, and so does the first step of Adam.
    torch.testing.assert_close(before - layer.weight.detach(), torch.full((1, 2), 0.025), atol=1e-6, rtol=1e-4)
    assert layer.weight.grad is None


def a_block() -> torch.nn.Module:
    """Return a network with one matrix in a block, and a head."""
    torch.manual_seed(0)
    block = torch.nn.ModuleDict({"blocks": torch.nn.Sequential(torch.nn.Linear(4, 4)), "head": torch.nn.Linear(4, 2)})
    return block


def learn(model: torch.nn.Module) -> None:
    x = model["head"](model["blocks"](torch.arange(8.0).view(2, 4)))
    x.square().sum().backward()


def test_muon_turns_the_matrices_of_blocks_by_steps_of_equal_size_in_all_directions():
    model, config = a_block(), ClassifierFit(optimizer="muon", lr=0.1, lr_schedule="constant", weight_decay=0)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = HalfOptimizer(model, config, 10, decay_logits=True)
    model["head"](model["blocks"](torch.eye(4) + 0.3)).square().sum().backward()
    sizes = torch.linalg.svdvals(model["blocks"][0].weight.grad)
    assert sizes[0] / sizes[1] > 4
    optimizer.step(0)
    moved = {name: before[name] - p.detach() for name, p in model.named_parameters()}
    assert moved["head.weight"].abs().max() == pytest.approx(0.1, rel=1e-3)  # Adam's first step
    assert moved["head.weight"].abs().min() == pytest.approx(0.1, rel=1e-3)
    sizes = torch.linalg.svdvals(moved["blocks.0.weight"])
    assert sizes[0] / sizes[1] < 2


def test_muon_restores_to_the_same_weights():
    config = ClassifierFit(optimizer="muon", lr=0.1, weight_decay=0.1)
    one, other = a_block(), a_block()
    first, second = (HalfOptimizer(model, config, 10, decay_logits=True) for model in (one, other))
    for step in range(3):
        learn(one)
        first.step(step)
        learn(other)
        second.step(step)
    fresh = HalfOptimizer(other, config, 10, decay_logits=True)
    fresh.restore(second.state())
    learn(one)
    first.step(3)
    learn(other)
    fresh.step(3)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_muon_is_for_convolutions_and_blocks_wherever_the_network_is_cut():
    net = torch.nn.ModuleDict(
        {
            "patch_embed": torch.nn.Conv2d(3, 8, 4, 4),
            "stem": torch.nn.Conv2d(3, 8, 3),
            "depthwise": torch.nn.Conv2d(8, 8, 3, groups=8),
            "blocks": torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.LayerNorm(8)),
            "head": torch.nn.Linear(8, 2),
        }
    )
    names = {id(p): name for name, p in net.named_parameters()}
    assert [names[id(p)] for p in find_matrices(net)] == ["stem.weight", "blocks.0.weight"]
    parts = ("patch_embed", "stem"), ("blocks", "head")
    halves = [torch.nn.ModuleDict({key: net[key] for key in keys}) for keys in parts]
    assert [names[id(p)] for half in halves for p in find_matrices(half)] == ["stem.weight", "blocks.0.weight"]
    muon, adam = make_optimizer(net, ClassifierFit(optimizer="muon"), decay_logits=True).parts
    assert len(muon.param_groups[0]["params"]) == 2 and len(adam.param_groups[0]["params"]) == 10


@pytest.mark.parametrize("half", [torch.nn.Linear(2, 2), torch.nn.ReLU(), torch.nn.Conv2d(3, 4, 1, bias=False)])
def test_muon_trains_a_half_of_one_kind_of_weights(half):
    config = TrainConfig(optimizer="muon", lr=0.1, warmup=0)
    optimizer = HalfOptimizer(half, config, 10, decay_logits=False)
    before = [p.detach().clone() for p in half.parameters()]
    for p in half.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step(0)
    assert all(not torch.equal(a, b) for a, b in zip(before, half.parameters(), strict=True))
    optimizer.restore(optimizer.state())


def test_muon_does_not_decay_logits_in_raysplit_mode():
    encoder = torch.nn.ModuleDict({"encoder": Encoder(BottleneckConfig(order="learned"), (4, 8, 8), 1)})
    made = make_optimizer(encoder, TrainConfig(optimizer="muon", weight_decay=0.1), decay_logits=False)
    assert [(len(g["params"]), g["weight_decay"]) for g in made.param_groups] == [(1, 0.1), (1, 0.1), (1, 0.0)]


@pytest.mark.parametrize("momentum", [0.0, 0.6])
def test_muon_sgd_trains_convolutions_with_muon_and_the_rest_with_sgd(momentum):
    net = torch.nn.ModuleDict({"conv": torch.nn.Conv2d(3, 8, 3), "blocks": torch.nn.Linear(4, 4)})
    config = TrainConfig(optimizer="muon_sgd", lr=0.1, momentum=momentum, weight_decay=0.01)
    muon, sgd = make_optimizer(net, config, decay_logits=True).parts
    (convolutions,), (rest,) = muon.param_groups, sgd.param_groups
    assert [p.ndim for p in convolutions["params"]] == [4] and convolutions["momentum"] == momentum
    assert len(rest["params"]) == 3 and rest["momentum"] == momentum and rest["nesterov"] == (momentum > 0)
