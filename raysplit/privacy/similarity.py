"""How alike two batches of images are: PSNR and SSIM."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d

_LEAST_ERROR = 1e-10
"""Mean squared error below which images count as equal: 100 dB."""
_WINDOW, _SIGMA = 11, 1.5
_K1, _K2 = 0.01, 0.03


def psnr(images: Tensor, others: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio of each pair, in dB: float32 (N,), at most 100.

    Both are (N, C, H, W) in 0..1.

    >>> psnr(torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), 0.1)).round().tolist()
    [20.0]
    """
    error = (images.float() - others.float()).square().flatten(1).mean(1)
    return -10 * error.clamp_min(_LEAST_ERROR).log10()


def ssim(images: Tensor, others: Tensor) -> Tensor:
    """Return the structural similarity of each pair, float32 (N,): 1 for equal images, about 0 for unrelated ones.

    Both are (N, C, H, W) in 0..1. As in Wang, Bovik, Sheikh, Simoncelli, "Image Quality Assessment: From Error
    Visibility to Structural Similarity", IEEE TIP 13(4), 2004: a Gaussian window of 11 pixels and σ = 1.5, the mean
    over channels and places where it fits; on smaller images the largest odd window that fits.

    >>> x = torch.rand(2, 3, 16, 16)
    >>> torch.allclose(ssim(x, x), torch.ones(2))
    True
    """
    x, y = images.double(), others.double()
    channels, side = x.shape[1], min(_WINDOW, *x.shape[2:])
    side -= 1 - side % 2
    offsets = torch.arange(side, dtype=torch.float64, device=x.device) - side // 2
    line = (-offsets.square() / (2 * _SIGMA**2)).exp()
    window = torch.outer(line, line) / line.sum() ** 2
    kernel = window.expand(channels, 1, side, side)

    def blur(values: Tensor) -> Tensor:
        return conv2d(values, kernel, groups=channels)

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x.square(), blur(y * y) - mean_y.square()
    covariance = blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _K1**2) / (mean_x.square() + mean_y.square() + _K1**2)
    structure = (2 * covariance + _K2**2) / (var_x + var_y + _K2**2)
    return (luminance * structure).flatten(1).mean(1).float()
