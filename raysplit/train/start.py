"""Where the weights of a run come from when it goes on."""

from __future__ import annotations

from raysplit.config import SplitConfig


def without_start(config: SplitConfig) -> SplitConfig:
    """Return a config whose network starts from random weights: for a run that goes on from a checkpoint.

    >>> from raysplit import recipes
    >>> config = recipes.get("mnist5k_vgg11_prune").with_settings(["model.weights=vgg11.pth"])
    >>> without_start(config).model.weights
    """
    return config.replaced(model=config.model.without_start())
