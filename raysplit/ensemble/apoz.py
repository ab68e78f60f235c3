"""How often each filter is active: the average percentage of zeros (Hu et al. 2016, arXiv 1607.03250)."""

from __future__ import annotations

import torch
from torch import Tensor

from raysplit.ensemble.prunable.base import PrunableNetwork
from raysplit.ensemble.prunable.vgg import PrunableVGG
from raysplit.errors import ConfigError
from raysplit.split.tracer import model_name

_BATCH_SIZE = 32


def require_sparse_activations(network: PrunableNetwork) -> PrunableVGG:
    """Return a network whose activations can be zero; ConfigError for any other."""
    if not isinstance(network, PrunableVGG):
        raise ConfigError(
            f"prune.scores: apoz counts zeros, and the activations of {model_name(network.model)} are never zero; "
            "use fast, exact or random"
        )
    return network


@torch.no_grad()
def activation_rates(network: PrunableNetwork, x: Tensor) -> dict[str, Tensor]:
    """Return 1 − APoZ of each unit, float32 (units,) by group.

    That is the share of its activations that are not zero, over the images x (N, C, H, W), the positions of its map
    and, of a spiking network, the time steps. Raises ConfigError for a network whose activations are never zero.
    """
    network = require_sparse_activations(network)
    totals = {group: torch.zeros(count, device=x.device) for group, count in network.units().items()}
    for images in torch.split(x, _BATCH_SIZE):
        rates: dict[str, Tensor] = {}

        def watch(group: str, activations: Tensor, rates: dict[str, Tensor] = rates) -> None:
            active = (activations != 0).movedim(network.unit_dim(group), -1).flatten(0, -2)
            rates[group] = active.float().mean(0)

        with network.watch_activations(watch):
            network.model(images)
        for group, rate in rates.items():
            totals[group] += rate * len(images) / len(x)
    return {group: total.cpu() for group, total in totals.items()}
