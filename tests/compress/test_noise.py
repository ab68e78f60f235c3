from __future__ import annotations

import pytest
import torch

from raysplit.compress.layer import CompressedCut
from raysplit.compress.noise import SECRET, add_noise

Z = torch.linspace(0, 3, 4096).view(4, 8, 16, 8)


def test_without_noise_the_code_is_the_code():
    assert add_noise(Z, 0, seed=1) is Z


@pytest.mark.parametrize("percent", [5, 50, 300])
def test_the_noise_is_gaussian_and_a_share_of_the_deviation(percent):
    noise = (add_noise(Z, percent, seed=1) - Z) / Z.std(correction=0) / (percent / 100)
    assert abs(noise.mean()) < 0.05 and abs(noise.std() - 1) < 0.05
    assert abs((noise.abs() < 1).float().mean() - 0.683) < 0.03  # of a normal distribution


def test_the_deviation_is_that_of_the_channels_sent():
    z = Z.clone()
    z[:, 3] *= 1_000
    noise = add_noise(z, 50, seed=1, channels=[0, 1]) - z
    assert noise[:, :2].std() == pytest.approx(0.5 * z[:, :2].std().item(), rel=0.1)


def test_the_seed_decides(monkeypatch):
    first, again, other = (add_noise(Z, 50, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    monkeypatch.setenv(SECRET, "only this device knows")
    secret = add_noise(Z, 50, 1)
    assert not torch.equal(first, secret) and torch.equal(secret, add_noise(Z, 50, 1))


def test_without_a_seed_it_is_drawn_anew():
    torch.manual_seed(0)
    first = add_noise(Z, 50, None)
    torch.manual_seed(0)
    assert not torch.equal(first, add_noise(Z, 50, None))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_the_dtype_stays(dtype):
    noisy = add_noise(Z.to(dtype), 50, 1)
    assert noisy.dtype is dtype and not torch.equal(noisy, Z.to(dtype))


def test_a_layer_adds_it_in_training_and_evaluation():
    cut = CompressedCut("all.b32/b32.n50")
    z = torch.randn(64, 32, requires_grad=True)
    y = cut(z)
    assert (y - z).std().item() == pytest.approx(0.5 * z.std().item(), rel=0.1)
    y.backward(torch.ones_like(y))
    assert torch.equal(z.grad, torch.ones_like(z))  # the gradient passes as it is
    cut.batch = 0
    assert torch.equal(cut(z), y)
    assert not torch.equal(cut.eval()(z), z)
