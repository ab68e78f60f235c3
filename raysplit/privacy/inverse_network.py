"""The network that an attacker trains to turn activations back into images."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

_MOST_PREFIX = 8
"""Tokens in front of those of the patches: for the class, for distillation, registers."""
_LEAST_WIDTH = 16


class InverseNetwork(nn.Module):
    """From a code at the cut, (N, *code_shape), to images in 0..1, (N, C, H, W).

    Convolutions at the resolution of the code, then a doubling of the resolution with a convolution of half the width,
    as often as it takes; as the inverse networks of He, Zhang, Lee, "Model Inversion Attacks Against Collaborative
    Inference", ACSAC 2019. Tokens are laid out as the grid that they were cut from; a code without a grid is first
    mapped to one.

    >>> InverseNetwork((16, 8, 8), 1, (3, 32, 32))(torch.zeros(2, 16, 8, 8)).shape
    torch.Size([2, 3, 32, 32])
    >>> InverseNetwork((17, 24), 2, (1, 8, 8))(torch.zeros(2, 17, 24)).shape
    torch.Size([2, 1, 8, 8])

    Args:
        code_shape: shape of what crosses, without the batch dimension.
        channel_dim: dimension of the channels in the batched code.
        image_shape: channels, height and width of the images.
        width: channels of the first layers.
    """

    def __init__(
        self, code_shape: tuple[int, ...], channel_dim: int, image_shape: tuple[int, int, int], width: int = 48
    ):
        super().__init__()
        self._channel_dim, self._size = channel_dim, image_shape[1:]
        channels = code_shape[channel_dim - 1]
        grid = tuple(size for dim, size in enumerate(code_shape, 1) if dim != channel_dim)
        self._tokens = _find_grid(grid[0], self._size) if len(grid) == 1 else None
        found = grid if len(grid) == 2 else self._tokens
        self.spread: nn.Module | None = None
        if found is None:
            found, flat = (4, 4), math.prod(code_shape)
            self.spread = nn.Sequential(nn.Flatten(), nn.Linear(flat, width * 16), nn.Unflatten(1, (width, 4, 4)))
            channels = width
        doublings = max(0, math.ceil(math.log2(max(have / of for have, of in zip(self._size, found, strict=True)))))
        layers = [_layer(channels, width), _layer(width, width)]
        for _ in range(doublings):
            half = max(width // 2, _LEAST_WIDTH)
            layers += [nn.Upsample(scale_factor=2), _layer(width, half)]
            width = half
        self.body = nn.Sequential(*layers)
        self.to_pixels = nn.Conv2d(width, image_shape[0], 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """Return the images, in the dtype of the computation."""
        x: Tensor = self.body(z if self.spread is None and z.ndim == 4 and self._channel_dim == 1 else self._arrange(z))
        if x.shape[2:] != self._size:
            x = interpolate(x, self._size, mode="bilinear", antialias=True)
        return torch.sigmoid(self.to_pixels(x))

    def _arrange(self, z: Tensor) -> Tensor:
        """Lay a code out as (N, channels, height, width)."""
        if self.spread is not None:
            arranged: Tensor = self.spread(z)
            return arranged
        z = z.movedim(self._channel_dim, 1)
        if self._tokens is None:
            return z
        grid: Tensor = z[:, :, -math.prod(self._tokens) :].unflatten(2, self._tokens)
        return grid


def _find_grid(tokens: int, size: tuple[int, int]) -> tuple[int, int] | None:
    """Return rows and columns of the patches that some tokens stand for, the last ones; None where they are no grid."""
    for count in range(tokens, max(tokens - _MOST_PREFIX - 1, 0), -1):
        rows = round(math.sqrt(count * size[0] / size[1]))
        if rows and count % rows == 0 and rows * size[1] == count // rows * size[0]:
            return rows, count // rows
    return None


def _layer(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )
