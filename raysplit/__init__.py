"""raysplit: one neural network shared between small devices and a server, on Ray.

from raysplit import SplitTrainer, recipe, train_local

summary = train_local(recipe("mnist5k_vgg11_deprune"))        # in this process
result = SplitTrainer(recipe("mnist5k_vgg11_deprune")).fit()  # on the connected Ray cluster
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raysplit.config import SplitConfig
    from raysplit.recipes import get as recipe
    from raysplit.train.local import train_local
    from raysplit.train.trainer import SplitTrainer

__all__ = ["SplitConfig", "SplitTrainer", "recipe", "train_local"]

_HOMES = {
    "SplitConfig": ("raysplit.config", "SplitConfig"),
    "SplitTrainer": ("raysplit.train.trainer", "SplitTrainer"),
    "recipe": ("raysplit.recipes", "get"),
    "train_local": ("raysplit.train.local", "train_local"),
}


def __getattr__(name: str) -> Any:
    """Import on first use: a device that needs one room should not load Ray for it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'raysplit' has no attribute '{name}'")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)
