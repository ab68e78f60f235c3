"""Experiments: each is a function that returns a full config; a variant calls its base and changes fields."""

from raysplit.config import EnsembleConfig, SplitConfig
from raysplit.recipes import ensembles, registry, split  # noqa: F401
from raysplit.recipes.registry import find
from raysplit.recipes.registry import find_any as get_any

__all__ = ["ensemble_names", "get", "get_any", "get_ensemble", "names"]


def get(name: str) -> SplitConfig:
    """Return a split-training recipe by name, `path.py:function` or JSON file; ConfigError for an unknown one.

    >>> get("mnist5k_vgg11_deprune").cut
    'features.7'
    """
    return find(name, SplitConfig)


def get_ensemble(name: str) -> EnsembleConfig:
    """Return an ensemble recipe by name, `path.py:function` or JSON file; ConfigError for an unknown one.

    >>> get_ensemble("mnist5k_vit_n3").n
    3
    """
    return find(name, EnsembleConfig)


def names() -> list[str]:
    """Return the names of all recipes for split training.

    >>> "mnist5k_vgg11_deprune" in names(), "mnist5k_vit_n3" in names()
    (True, False)
    """
    return registry.names(SplitConfig)


def ensemble_names() -> list[str]:
    """Return the names of all recipes for ensembles.

    >>> "mnist5k_vit_n3" in ensemble_names()
    True
    """
    return registry.names(EnsembleConfig)
