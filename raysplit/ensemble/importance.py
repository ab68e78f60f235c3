"""How much the base's predictions for some classes depend on each of its units (docs/ensembles.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from raysplit.ensemble.apoz import activation_rates
from raysplit.ensemble.prunable.base import PrunableNetwork
from raysplit.ensemble.prunable.vit import PrunableViT
from raysplit.torch_utils.seeds import mix

ScoreKind = Literal["fast", "exact", "apoz", "random"]
_BATCH_SIZE = 8
"""Images at once; `fast` needs 0.4 GiB for each image of a ViT-B at 224 pixels."""
_MASKED_BATCH_SIZE = 256
"""Images times units at once, of `exact`."""
_OUTPUTS = 16
"""Outputs `fast` takes gradients of; with more classes, the least likely ones share the last."""


def score_units(kind: ScoreKind, network: PrunableNetwork, x: Tensor, seed: int) -> dict[str, Tensor]:
    """Return the score of each unit, float32 (units,) by group; the units with the highest are worth keeping.

    x are normalized images (N, C, H, W) of the classes that matter, on the base's device. All scores are those of the
    whole base in eval mode. `exact` is leave-one-out KL divergence (ED-ViT, arXiv 2410.11650, by way of UP-ViTs,
    arXiv 2111.15127), `fast` its linearization, `apoz` the share of nonzero activations; `seed` matters for `random`
    alone. Raises ConfigError for `apoz` of a network whose activations are never zero.

    >>> from raysplit.config import ModelConfig
    >>> from raysplit.ensemble.prunable.base import prunable_network
    >>> from raysplit.models import build
    >>> model = build(ModelConfig(name="vgg5", args={"channels": [4, 6, 8]}), classes=3, shape=(1, 8, 8))
    >>> scores = score_units("apoz", prunable_network(model, (1, 8, 8)), torch.rand(2, 1, 8, 8), seed=0)
    >>> {group: len(values) for group, values in scores.items()}
    {'features.0': 4, 'features.4': 6, 'features.7': 8, 'classifier.1': 8}
    """
    if kind == "apoz":
        return activation_rates(network, x)
    if kind == "random":
        random = torch.Generator().manual_seed(mix("scores", seed))
        return {group: torch.rand(count, generator=random) for group, count in network.units().items()}
    scores = leave_one_out(network, x) if kind == "exact" else linearized_leave_one_out(network, x)
    return {group: total.float().cpu() for group, total in scores.items()}


@torch.no_grad()
def leave_one_out(network: PrunableNetwork, x: Tensor) -> dict[str, Tensor]:
    """Return the sum over images of KL(softmax(base) ‖ softmax(base without the unit)), float64 (units,) by group.

    Every unit costs a forward pass; of a ViT, what precedes a group is computed once.
    """
    totals = _zeros(network, x)
    for images in torch.split(x, _BATCH_SIZE):
        logits = network.forward_masked(images, {})
        for group, total in totals.items():
            forward = _forward_with_masks(network, group, images)
            for units in torch.split(torch.arange(len(total), device=x.device), _units_at_once(images)):
                masks = torch.ones(len(units), len(total), device=x.device).scatter(1, units[:, None], 0)
                masked = forward(masks.repeat_interleave(len(images), 0))
                change = masked.reshape(len(units), len(images), -1) - logits
                total[units] += _divergence(logits, change).sum(1)
    return totals


def linearized_leave_one_out(network: PrunableNetwork, x: Tensor) -> dict[str, Tensor]:
    """Return `leave_one_out` with logits linearized in the units: one forward and, per class, one backward pass.

    The gradient of an image's logits with respect to all masks tells how they change with each unit. With more than
    16 classes, each image's 15 likeliest stay separate and the others are merged, which can only lower the divergence.
    """
    totals = _zeros(network, x)
    for images in torch.split(x, _BATCH_SIZE):
        masks = {
            group: torch.ones(len(images), len(total), device=x.device, requires_grad=True)
            for group, total in totals.items()
        }
        outputs = _merge_unlikely(network.forward_masked(images, masks))
        gradients = [
            torch.autograd.grad(output.sum(), list(masks.values()), retain_graph=True) for output in outputs.unbind(1)
        ]
        for total, slopes in zip(totals.values(), zip(*gradients, strict=True), strict=True):
            change = -torch.stack(slopes, -1).transpose(0, 1)
            total += _divergence(outputs.detach(), change).sum(1)
    return totals


def _zeros(network: PrunableNetwork, x: Tensor) -> dict[str, Tensor]:
    units = network.units().items()
    return {group: torch.zeros(count, dtype=torch.float64, device=x.device) for group, count in units}


def _units_at_once(images: Tensor) -> int:
    return max(1, _MASKED_BATCH_SIZE // len(images))


def _forward_with_masks(network: PrunableNetwork, group: str, images: Tensor) -> Callable[[Tensor], Tensor]:
    """Return a function from masks of `group`, one for each of the repeated images, to their logits."""
    if isinstance(network, PrunableViT):
        tokens = network.tokens_before(group, images)
        return lambda masks: network.forward_from(tokens.repeat(len(masks) // len(tokens), 1, 1), group, {group: masks})
    return lambda masks: network.forward_masked(images.repeat(len(masks) // len(images), 1, 1, 1), {group: masks})


def _merge_unlikely(logits: Tensor) -> Tensor:
    if logits.shape[1] <= _OUTPUTS:
        return logits
    ordered = logits.gather(1, logits.detach().argsort(1, descending=True))
    return torch.cat([ordered[:, : _OUTPUTS - 1], ordered[:, _OUTPUTS - 1 :].logsumexp(1, keepdim=True)], 1)


def _divergence(logits: Tensor, change: Tensor) -> Tensor:
    """Return KL(softmax(logits) ‖ softmax(logits + change)), float64 (U, B), for (B, C) and (U, B, C).

    Computed in float64, as it is of second order in a small change.
    """
    before = logits.double().log_softmax(-1)
    after = (logits.double() + change).log_softmax(-1)
    return (before.exp() * (before - after)).sum(-1)
