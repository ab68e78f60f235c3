"""Muon against torch's own, which is for matrices and multiplies in bfloat16."""

from __future__ import annotations

import pytest
import torch

from raysplit.torch_utils.muon import Muon, orthogonalize


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4), (1, 5)])
def test_its_steps_are_those_of_torch(shape):
    random = torch.Generator().manual_seed(0)
    start = torch.randn(shape, generator=random)
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    settings = {"lr": 0.05, "weight_decay": 0.1}
    pair = [(ours, Muon([ours], **settings)), (theirs, _torch_muon(theirs, settings))]
    for _ in range(3):
        grad = torch.randn(shape, generator=random)
        for weight, optimizer in pair:
            weight.grad = grad.clone()
            optimizer.step()
    moved = (theirs - start).norm()
    assert moved > 0.05 and (ours - theirs).norm() < 0.03 * moved


def _torch_muon(weight, settings):
    return torch.optim.Muon([weight], **settings, adjust_lr_fn="match_rms_adamw")


@pytest.mark.parametrize("shape", [(8, 3, 3, 3), (4, 16, 3, 3), (16, 4, 1, 1)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_convolution_is_a_matrix_of_its_filters(shape, layout):
    random = torch.Generator().manual_seed(1)
    start, grad = torch.randn(shape, generator=random), torch.randn(shape, generator=random)
    filters = torch.nn.Parameter(start.clone().to(memory_format=layout))
    matrix = torch.nn.Parameter(start.flatten(1).clone())
    filters.grad, matrix.grad = grad.clone().to(memory_format=layout), grad.flatten(1).clone()
    for weight in (filters, matrix):
        Muon([weight], lr=0.1).step()
    assert torch.equal(filters.flatten(1), matrix)
    assert not torch.equal(matrix, start.flatten(1))


def test_what_has_no_gradient_rests_and_zeros_give_no_nan():
    still, zero = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2, 2))
    zero.grad = torch.zeros(2, 2)
    Muon([still, zero], lr=0.1, weight_decay=0.0).step()
    assert torch.equal(still, torch.ones(2, 2)) and torch.equal(zero, torch.ones(2, 2))


def test_a_state_of_torchs_muon_goes_on():
    weight = torch.nn.Parameter(torch.randn(3, 4, generator=torch.Generator().manual_seed(2)))
    weight.grad = torch.ones(3, 4)
    old = _torch_muon(weight, {"lr": 0.1})
    old.step()
    ours = Muon([weight], lr=0.1)
    ours.load_state_dict(old.state_dict())
    ours.step()
    assert weight.isfinite().all() and torch.allclose(ours.state[weight]["momentum_buffer"], torch.full((3, 4), 0.0975))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_orthogonalized_matrices_have_singular_values_about_one(scale):
    random = torch.Generator().manual_seed(3)
    values = torch.linalg.svdvals(orthogonalize(scale * torch.randn(12, 40, generator=random)))
    assert values.min() > 0.6 and values.max() < 1.3


@pytest.mark.parametrize("shape", [(6, 3, 3, 3), (4, 16, 1, 1), (5, 5)])
def test_with_a_fixed_norm_steps_are_airbenchs(shape):
    random = torch.Generator().manual_seed(4)
    weight = torch.nn.Parameter(0.01 * torch.randn(shape, generator=random))
    expected, sums = weight.detach().clone(), torch.zeros(shape)
    optimizer = Muon([weight], lr=0.1, momentum=0.6, fixed_norm=True)
    for _ in range(3):
        weight.grad = torch.randn(shape, generator=random)
        optimizer.step()
        sums = 0.6 * sums + weight.grad
        turned = orthogonalize((weight.grad + 0.6 * sums).flatten(1), steps=3).view(shape)
        expected = expected * len(expected) ** 0.5 / expected.norm() - 0.1 * turned
    torch.testing.assert_close(weight.detach(), expected)
    assert weight.detach().norm().item() == pytest.approx(len(weight) ** 0.5, rel=0.2)


def test_with_a_fixed_norm_a_weight_of_zeros_stays_finite():
    weight = torch.nn.Parameter(torch.zeros(3, 2))
    weight.grad = torch.ones(3, 2)
    Muon([weight], lr=0.1, fixed_norm=True).step()
    assert weight.isfinite().all() and weight.norm() > 0
