"""Which filters answer at all: the average percentage of zeros (Hu et al. 2016, arXiv 1607.03250)."""

from __future__ import annotations

import torch
from torch import Tensor

from raysplit.ensemble.prunable.base import PrunableNetwork
from raysplit.ensemble.prunable.vgg import PrunableVGG
from raysplit.errors import ConfigError
from raysplit.split.tracer import name_of

_IMAGES = 32
"""In one batch."""


def require_zeros(family: PrunableNetwork) -> PrunableVGG:
    """Return a family whose activations can be zero; ConfigError for any other."""
    if not isinstance(family, PrunableVGG):
        raise ConfigError(
            f"prune.scores: apoz counts zeros, and the activations of {name_of(family.model)} are none; "
            "use fast, exact or random"
        )
    return family


@torch.no_grad()
def apoz(family: PrunableNetwork, x: Tensor) -> dict[str, Tensor]:
    """Return 1 − APoZ of each unit, float32 (units,) by group.

    That is the share of its activations that are not zero, over the images x (N, C, H, W), the places of its map
    and, of a spiking network, the time steps. Raises ConfigError for a network whose activations are never zero.
    """
    family = require_zeros(family)
    totals = {group: torch.zeros(count, device=x.device) for group, count in family.units().items()}
    for images in x.split(_IMAGES):
        found: dict[str, Tensor] = {}

        def watch(group: str, activations: Tensor, found: dict[str, Tensor] = found) -> None:
            active = (activations != 0).movedim(family.axis(group), -1).flatten(0, -2)
            found[group] = active.float().mean(0)

        with family.watched(watch):
            family.model(images)
        for group, share in found.items():
            totals[group] += share * len(images) / len(x)
    return {group: total.cpu() for group, total in totals.items()}
