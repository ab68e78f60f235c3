"""The plan of an ensemble, before anything is pruned: who knows which classes, keeps how much, runs where."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from raysplit.config import EnsembleConfig, Frozen, ModelConfig
from raysplit.ensemble.class_groups import class_groups, confusion_groups
from raysplit.ensemble.cost import Cost, cost
from raysplit.ensemble.placement import Demand, Load, Placement, fit, place
from raysplit.ensemble.prunable.base import PrunableNetwork
from raysplit.models import build


class SubmodelSpec(Frozen):
    """One sub-model's place."""

    classes: tuple[int, ...]
    of: int
    """Number of classes in all."""
    rest: bool
    """Its head's first output stands for all other classes."""
    k: int
    """Of the family's steps h: it keeps k/h."""
    model: ModelConfig
    params: int
    file_bytes: int
    flops: int
    """For one image; a MAC is 2."""
    device: str | None = None
    """Name of its device; None where no devices were given."""

    @property
    def outputs(self) -> int:
        """Width of its head."""
        return len(self.classes) + self.rest


class Plan(Frozen):
    kind: str
    """vit, cnn or snn."""
    steps: int
    shape: tuple[int, int, int]
    seats: tuple[SubmodelSpec, ...]
    loads: tuple[Load, ...] = ()
    """What each device bears; none where no devices were given."""


def make_plan(config: EnsembleConfig, family: PrunableNetwork, shape: tuple[int, int, int], confusion: Tensor) -> Plan:
    """Return who knows which classes, and the largest sub-models that fit the devices.

    `confusion` counts the base's answers on validation images, (classes, classes), true x predicted. Raises
    ConfigError for more sub-models than classes, and for devices that cannot hold even the smallest.
    """
    classes, groups = len(confusion), config.groups
    if groups.by == "confusion":
        chosen = confusion_groups(confusion, config.n, groups.seed)
    elif groups.by == "seed":
        chosen = class_groups(classes, config.n, groups.seed)
    else:
        chosen = (tuple(range(classes)),) * config.n
    rest = [groups.rest and len(group) < classes for group in chosen]

    @cache
    def price(k: int, outputs: int) -> Cost:
        with torch.random.fork_rng(devices=[]):
            return cost(build(family.geometry(k), outputs, shape), shape, config.precision)

    def demand(index: int, k: int) -> Demand:
        found = price(k, len(chosen[index]) + rest[index])
        return Demand(str(index), found.file_bytes, found.flops)

    placed: Placement | None
    if config.prune.keep == "fit":
        ks, placed = fit(demand, config.n, family.steps, config.devices, config.samples)
    else:
        ks, placed = (max(1, round(config.prune.keep * family.steps)),) * config.n, None
        if config.devices:
            placed = place([demand(i, ks[i]) for i in range(config.n)], config.devices, config.samples)
    seats = []
    for index, (group, k) in enumerate(zip(chosen, ks, strict=True)):
        found = price(k, len(group) + rest[index])
        seats.append(
            SubmodelSpec(
                classes=group,
                of=classes,
                rest=rest[index],
                k=k,
                model=family.geometry(k),
                params=found.params,
                file_bytes=found.file_bytes,
                flops=found.flops,
                device=placed.device_of[index] if placed else None,
            )
        )
    return Plan(
        kind=family.kind, steps=family.steps, shape=shape, seats=tuple(seats), loads=placed.loads if placed else ()
    )
