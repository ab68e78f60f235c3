from __future__ import annotations

import pytest
import torch

from raysplit.privacy.inverse_network import InverseNetwork


@pytest.mark.parametrize(
    ("code", "channel_dim", "image"),
    [
        ((16, 4, 4), 1, (1, 28, 28)),
        ((8, 32, 32), 1, (3, 32, 32)),
        ((8, 40, 40), 1, (3, 32, 32)),  # larger than the image
        ((16, 3, 7), 1, (1, 24, 56)),
        ((50, 24), 2, (3, 28, 28)),  # a token for the class, then 7×7
        ((8, 24), 2, (1, 16, 32)),  # 2×4 patches
        ((11, 24), 2, (3, 28, 20)),  # no grid
        ((7, 7, 24), 3, (3, 28, 28)),  # channels last, as in Swin
        ((64,), 1, (1, 28, 28)),
    ],
    ids=str,
)
def test_every_code_becomes_images(code, channel_dim, image):
    network = InverseNetwork(code, channel_dim, image, width=32)
    images = network(torch.randn(2, *code))
    assert images.shape == (2, *image)
    assert 0 <= images.min() <= images.max() <= 1
    images.sum().backward()
    assert all(weight.grad is not None for weight in network.parameters())


def test_patch_tokens_lie_where_the_patches_were():
    """The class token, in front, is left out; token 1 + 2·row + column is the patch there."""
    network = InverseNetwork((5, 3), 2, (1, 8, 8))
    tokens = torch.arange(15.0).view(1, 5, 3)
    grid = network._arrange(tokens)
    assert grid.shape == (1, 3, 2, 2)
    assert grid[0, :, 1, 0].tolist() == tokens[0, 3].tolist()
