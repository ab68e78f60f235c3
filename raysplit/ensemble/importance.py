"""How much a base's answers for some classes need each of its units (docs/ensembles.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from raysplit.ensemble.apoz import apoz
from raysplit.ensemble.prunable.base import PrunableNetwork
from raysplit.ensemble.prunable.vit import PrunableViT
from raysplit.torch_utils.seeds import mix

_IMAGES = 8
"""In one batch; `fast` needs 0.4 GiB for each of a ViT-B's at 224 pixels."""
_ROWS = 256
"""Images times units in one batch of `exact`."""
_OUTPUTS = 16
"""Outputs that `fast` has gradients of; of more classes, the least likely share one."""


def score(
    kind: Literal["fast", "exact", "apoz", "random"], family: PrunableNetwork, x: Tensor, seed: int
) -> dict[str, Tensor]:
    """Return the score of each unit, float32 (units,) by group; units with higher ones are worth keeping.

    x are normalised images (N, C, H, W) of the classes that matter, on the base's device. All scores are of
    the whole base in eval mode. `seed` decides the `random` ones and nothing else. Raises ConfigError for
    `apoz` of a network without activations that are zero.
    """
    if kind == "apoz":
        return apoz(family, x)
    if kind == "random":
        draws = torch.Generator().manual_seed(mix("scores", seed))
        return {group: torch.rand(count, generator=draws) for group, count in family.units().items()}
    return {group: total.float().cpu() for group, total in {"exact": exact, "fast": fast}[kind](family, x).items()}


@torch.no_grad()
def exact(family: PrunableNetwork, x: Tensor) -> dict[str, Tensor]:
    """Return the sum over images of KL(softmax(base) ‖ softmax(base without the unit)), float64, one unit at a time.

    Of a ViT, what lies before a group is computed once.
    """
    totals = _zeros(family, x)
    for images in x.split(_IMAGES):
        logits = family.masked(images, {})
        for group, total in totals.items():
            without = _without(family, group, images)
            for units in torch.arange(len(total), device=x.device).split(max(1, _ROWS // len(images))):
                masks = torch.ones(len(units), len(total), device=x.device).scatter(1, units[:, None], 0)
                change = without(masks.repeat_interleave(len(images), 0)).unflatten(0, (len(units), -1)) - logits
                total[units] += _divergence(logits, change).sum(1)
    return totals


def fast(family: PrunableNetwork, x: Tensor) -> dict[str, Tensor]:
    """Return `exact` with logits that are linear in the units: one forward and, for each class, one backward pass.

    The gradient of an image's logits with respect to all masks is how they change with each unit. Of more than 16
    classes, each image's 15 likeliest are kept apart and the others joined, which can only lower the divergence.
    """
    totals = _zeros(family, x)
    for images in x.split(_IMAGES):
        masks = {
            group: torch.ones(len(images), len(total), device=x.device, requires_grad=True)
            for group, total in totals.items()
        }
        outputs = _joined(family.masked(images, masks))
        found = [
            torch.autograd.grad(output.sum(), list(masks.values()), retain_graph=True) for output in outputs.unbind(1)
        ]
        for total, slopes in zip(totals.values(), zip(*found, strict=True), strict=True):
            change = -torch.stack(slopes, -1).transpose(0, 1)
            total += _divergence(outputs.detach(), change).sum(1)
    return totals


def _zeros(family: PrunableNetwork, x: Tensor) -> dict[str, Tensor]:
    return {group: torch.zeros(count, dtype=torch.float64, device=x.device) for group, count in family.units().items()}


def _without(family: PrunableNetwork, group: str, images: Tensor) -> Callable[[Tensor], Tensor]:
    """Return what gives the logits of images, repeated, from masks of `group`, one for each of them."""
    if isinstance(family, PrunableViT):
        tokens = family.entering(group, images)
        return lambda masks: family.resume(tokens.repeat(len(masks) // len(tokens), 1, 1), group, {group: masks})
    return lambda masks: family.masked(images.repeat(len(masks) // len(images), 1, 1, 1), {group: masks})


def _joined(logits: Tensor) -> Tensor:
    if logits.shape[1] <= _OUTPUTS:
        return logits
    ordered = logits.gather(1, logits.detach().argsort(1, descending=True))
    return torch.cat([ordered[:, : _OUTPUTS - 1], ordered[:, _OUTPUTS - 1 :].logsumexp(1, keepdim=True)], 1)


def _divergence(logits: Tensor, change: Tensor) -> Tensor:
    """Return KL(softmax(logits) ‖ softmax(logits + change)), float64 (U, B), of (B, C) and (U, B, C).

    In float64, as it is of the second order of a change that is small.
    """
    before = logits.double().log_softmax(-1)
    after = (logits.double() + change).log_softmax(-1)
    return (before.exp() * (before - after)).sum(-1)
