"""How many sub-models, how small, and how they are fused."""

from __future__ import annotations

from typing import Any

from ray import tune

from raysplit.config import EnsembleConfig


def param_space(base: EnsembleConfig) -> dict[str, Any]:
    """Return number × kept share × scores × groups × depth of the fusion, for a recipe's base."""
    scores = ["fast", "random"] if base.base.model.name == "vit" else ["apoz", "random"]
    return {
        "groups.n": tune.choice([2, 3, 5]),
        "prune.keep": tune.choice([0.34, 0.5, 0.67]),
        "prune.scores": tune.choice(scores),
        "groups.by": tune.choice(["seed", "confusion"]),
        "fusion.layers": tune.choice([1, 2, 3]),
    }
