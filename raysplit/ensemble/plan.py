"""Plans an ensemble before anything is pruned: which classes, what size and which device each sub-model has."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from raysplit.config import EnsembleConfig, GroupsConfig
from raysplit.config.ensemble_plan import EnsemblePlan, SubmodelSpec
from raysplit.ensemble.class_groups import ClassGroups, group_at_random, group_by_confusion
from raysplit.ensemble.cost import NetworkCost, measure_cost
from raysplit.ensemble.placement import Placement, fit_sizes, place_submodels
from raysplit.ensemble.prunable.base import PrunableNetwork
from raysplit.models import build


def make_plan(
    config: EnsembleConfig, network: PrunableNetwork, shape: tuple[int, int, int], confusion: Tensor
) -> EnsemblePlan:
    """Return the plan of an ensemble: its class groups, and the largest sub-models that fit the devices.

    `shape` is that of the images (C, H, W), `confusion` int64 (classes, classes): the base's predictions on
    validation images, true × predicted. Raises ConfigError for more sub-models than classes, and for devices that
    cannot hold even the smallest sub-models.
    """
    classes = len(confusion)
    groups = _group_classes(config.groups, config.n, confusion)
    rest = [config.groups.rest and len(group) < classes for group in groups]

    @cache
    def cost_at(k: int, outputs: int) -> NetworkCost:
        with torch.random.fork_rng(devices=[]):
            return measure_cost(build(network.geometry(k), outputs, shape), shape, config.precision)

    def cost_of(index: int, k: int) -> NetworkCost:
        return cost_at(k, len(groups[index]) + rest[index])

    sizes: Sequence[int]
    placement: Placement | None = None
    if config.prune.keep == "fit":
        sizes, placement = fit_sizes(cost_of, config.n, network.size_steps, config.devices, config.samples)
    else:
        sizes = [max(1, round(config.prune.keep * network.size_steps))] * config.n
        if config.devices:
            costs = [cost_of(index, k) for index, k in enumerate(sizes)]
            placement = place_submodels(costs, config.devices, config.samples)

    def spec(index: int, k: int) -> SubmodelSpec:
        cost = cost_of(index, k)
        return SubmodelSpec(
            classes=groups[index],
            total_classes=classes,
            rest=rest[index],
            k=k,
            model=network.geometry(k),
            params=cost.params,
            file_bytes=cost.file_bytes,
            flops=cost.flops,
            device=placement.device_of[index] if placement else None,
        )

    return EnsemblePlan(
        kind=network.kind,
        size_steps=network.size_steps,
        shape=shape,
        submodels=tuple(spec(index, k) for index, k in enumerate(sizes)),
        loads=placement.loads if placement else (),
    )


def _group_classes(groups: GroupsConfig, n: int, confusion: Tensor) -> ClassGroups:
    if groups.by == "confusion":
        return group_by_confusion(confusion, n, groups.seed)
    if groups.by == "seed":
        return group_at_random(len(confusion), n, groups.seed)
    return (tuple(range(len(confusion))),) * n
