"""Networks for inference alone, built with as few imports as they need."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from raysplit.config import ModelConfig
from raysplit.models.build import build


def build_served(
    config: ModelConfig, classes: int, shape: tuple[int, int, int], weights: Mapping[str, Tensor]
) -> nn.Module:
    """Return the network of `build(config, classes, shape)` with these weights, in eval mode.

    A `vit` is plain torch wherever that has its arguments: the same outputs and parameter names, without timm. Raises
    what `build` raises, and RuntimeError for weights that do not fit.

    >>> import torch
    >>> small = ModelConfig(name="vit", args={"patch": 4, "width": 24, "depth": 1, "heads": 3})
    >>> weights = build(small, 10, (1, 8, 8)).state_dict()
    >>> served = build_served(small, 10, (1, 8, 8), weights)
    >>> served(torch.zeros(2, 1, 8, 8)).shape, type(served).__name__
    (torch.Size([2, 10]), 'PlainViT')
    """
    model = _build_plain(config, classes, shape) or build(config, classes, shape)
    model.load_state_dict(weights)
    return model.eval()


def _build_plain(config: ModelConfig, classes: int, shape: tuple[int, int, int]) -> nn.Module | None:
    """Return the network in plain torch, None where that takes other arguments."""
    if config.name != "vit" or config.module is not None:
        return None
    from raysplit.models.plain_vit import PlainViT

    try:
        return PlainViT(classes, shape, **config.args)
    except (TypeError, ValueError, ArithmeticError, RuntimeError):  # of which `build` makes a clear error
        return None
