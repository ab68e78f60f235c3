"""What crosses of a half to be averaged, and the average."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from raysplit.compress.quantizing_codec import extract
from raysplit.config import TrainConfig
from raysplit.errors import WireError
from raysplit.torch_utils.optim import HalfOptimizer
from raysplit.train.shared_weights import SharedWeights, average, pack_vector


def learner(optimizer: str = "sgd") -> tuple[nn.Module, HalfOptimizer]:
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, 2))
    return net, HalfOptimizer(net, TrainConfig(optimizer=optimizer, lr=0.1), steps=9, decay_logits=False)


def step(net: nn.Module, optimizer: HalfOptimizer, number: int) -> None:
    x = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(number))
    net.train()(x).square().sum().backward()
    optimizer.step(number)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon", "muon_sgd"])
def test_another_learner_goes_on_with_weights_statistics_and_moments(optimizer):
    (net, own), (other, others) = learner(optimizer), learner(optimizer)
    for number in range(2):
        step(net, own, number)
    SharedWeights(other, others, True, True).load(SharedWeights(net, own, True, True).pack())
    for one, its in ((net, own), (other, others)):
        step(one, its, 2)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))
    assert torch.equal(net[1].running_var, other[1].running_var)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon", "muon_sgd"])
def test_moments_asked_for_before_the_first_step_change_nothing(optimizer):
    (net, own), (other, others) = learner(optimizer), learner(optimizer)
    other.load_state_dict(net.state_dict())
    assert others.moments() and not any(moment.any() for moment in others.moments())
    for one, its in ((net, own), (other, others)):
        for number in range(2):
            step(one, its, number)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))


def test_only_what_is_asked_for_crosses():
    net, optimizer = learner()
    sizes = [
        SharedWeights(net, optimizer, buffers, moments).pack().shape[0]
        for buffers, moments in ((False, False), (True, False), (True, True))
    ]
    trained = 3 * 2 * 9 + 3 + 3 + 3 + 3 * 2 + 2
    assert sizes == [trained, trained + 6, 2 * trained + 6]
    net[0].requires_grad_(False)
    assert SharedWeights(net, optimizer, False, False).pack().shape[0] == trained - 57
    net.requires_grad_(False)
    assert SharedWeights(net, optimizer, False, False).bytes == 0


def test_the_bytes_are_told_before_they_cross():
    net, optimizer = learner()
    shared = SharedWeights(net, optimizer, True, False)
    assert shared.bytes == len(shared.pack().to_bytes())


def test_weights_of_another_network_are_refused():
    net, optimizer = learner()
    with pytest.raises(WireError, match=r"expected WEIGHTS of shape \(\d+,\), got \(5,\)"):
        SharedWeights(net, optimizer, True, False).load(pack_vector(torch.zeros(5)))


def test_an_average_is_summed_exactly_and_rounded_once():
    values = [torch.tensor([16777216.0, 1.0]), torch.tensor([1.0, 3.0]), torch.tensor([1.0, 8.0])]
    mean = extract(average([pack_vector(value) for value in values], [1, 1, 2]))
    assert torch.equal(mean, torch.tensor([16777219 / 4, 5.0], dtype=torch.float64).float())
    assert mean[0] != (values[0][0] + values[1][0] + 2 * values[2][0]) / 4, "float32 sums lose a one"
