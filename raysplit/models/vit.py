"""timm's Vision Transformer (Dosovitskiy et al. 2021) by its geometry, for images of any size."""

from __future__ import annotations

from functools import partial
from typing import Any

from timm.layers.norm import LayerNorm
from timm.models.vision_transformer import VisionTransformer


def vit(
    classes: int,
    shape: tuple[int, int, int],
    patch: int | tuple[int, int],
    width: int,
    depth: int,
    heads: int,
    mlp_ratio: float = 4.0,
    norm_eps: float = 1e-6,
    **args: Any,
) -> VisionTransformer:
    """Return a freshly initialised VisionTransformer that maps (B, *shape) floats to (B, classes) logits.

    `shape` is (C, H, W) and `patch` the height and width of a patch, in pixels; `width` is the number of channels of
    a token, `mlp_ratio` the ratio of an MLP's hidden units to it, and `norm_eps` what the layer norms add to a
    variance. Other keywords go to timm's VisionTransformer. Raises ValueError for patches that do not divide the
    image.

    >>> import torch
    >>> vit(classes=10, shape=(1, 8, 8), patch=4, width=24, depth=1, heads=3)(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """
    sides = (patch, patch) if isinstance(patch, int) else patch
    if shape[1] % sides[0] or shape[2] % sides[1]:
        raise ValueError(
            f"images of {shape[1]}×{shape[2]} pixels cannot be divided into patches of {sides[0]}×{sides[1]}"
        )
    return VisionTransformer(
        img_size=(shape[1], shape[2]),
        in_chans=shape[0],
        num_classes=classes,
        patch_size=patch,
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        mlp_ratio=mlp_ratio,
        **{"norm_layer": partial(LayerNorm, eps=norm_eps), **args},
    )
