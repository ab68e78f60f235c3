from __future__ import annotations

import pytest
import torch

from raysplit.privacy.similarity import psnr, ssim


def pair(channels, height, width):
    """Return an image and one like it, (1, C, H, W) in 0..1."""
    y, x = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    image = torch.stack([((x / 3 + k).sin() * (y / 4 - k).cos() + 1) / 2 for k in range(channels)])
    return image[None], (image * 0.8 + 0.1 * (x * y / 7 + 1).sin()).clamp(0, 1)[None]


@pytest.mark.parametrize(
    ("shape", "structure", "noise"),
    [
        ((1, 28, 28), 0.8065127150021704, 17.75213474022015),
        ((3, 32, 24), 0.81296798323408, 17.810813058947957),
        ((1, 16, 11), 0.7946682720691856, 19.579593650138438),
    ],
    ids=str,
)
def test_the_scores_are_those_of_scikit_image(shape, structure, noise):
    """Of 0.26.0: structural_similarity(a, b, channel_axis=0, gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, data_range=1) and peak_signal_noise_ratio(a, b, data_range=1)."""
    a, b = pair(*shape)
    assert ssim(a, b).item() == pytest.approx(structure, abs=1e-6)
    assert psnr(a, b).item() == pytest.approx(noise, abs=1e-4)


@pytest.mark.parametrize("side", [4, 8, 9])
def test_an_image_smaller_than_the_window(side):
    a, b = pair(1, side, side + 3)
    assert ssim(a, a).item() == pytest.approx(1)
    assert ssim(a, b).item() < 0.999


def test_each_image_has_its_own_scores():
    a, b = pair(1, 12, 12)
    both = torch.cat([a, a]), torch.cat([a, b])
    assert psnr(*both).tolist() == [pytest.approx(100), psnr(a, b).item()]
    assert ssim(*both)[0] > ssim(*both)[1]
