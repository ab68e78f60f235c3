"""What cannot be built, told before hours of training."""

from __future__ import annotations

import torch

from raysplit.config import EnsembleConfig
from raysplit.data import load
from raysplit.ensemble.apoz import require_zeros
from raysplit.ensemble.classifier import start_base
from raysplit.ensemble.plan import Plan, make_plan
from raysplit.ensemble.prunable.base import prunable_network
from raysplit.errors import ConfigError, DataError
from raysplit.torch_utils.compute import pick_device


def checked(config: EnsembleConfig, classes: int, shape: tuple[int, int, int]) -> Plan:
    """Raise what is wrong with data, groups, devices, scores, training or the kind of network.

    Returns the plan; groups by confusion, which no base has told yet, are as those of a base that confuses nothing.
    """
    if classes < 2:
        raise DataError(f"{config.data.name} has {classes} class: there is nothing to tell apart; give data of two")
    family = prunable_network(start_base(config, classes, shape), shape)
    _check_fits(config, family.kind)
    if config.base.mean is not None and len(config.base.mean) != shape[0]:
        raise ConfigError(
            f"base.mean and base.std have {len(config.base.mean)} numbers, the images of {config.data.name} have "
            f"{shape[0]} channels; give one for each"
        )
    if config.prune.scores == "apoz":
        require_zeros(family)
    plan = make_plan(config, family, shape, torch.zeros(classes, classes, dtype=torch.int64))
    _check_images(config, plan)
    return plan


def _check_fits(config: EnsembleConfig, kind: str) -> None:
    """Check optimisers, devices and workers; the base without workers, and the fusion, are trained in this process."""
    fits = {"base.train": config.base.train, "common": config.common, "retrain": config.retrain}
    for name, fit in fits.items():
        if kind != "vit" and fit is not None and fit.optimizer == "muon":
            raise ConfigError(
                f"{name}.optimizer 'muon' is for networks with transformer blocks, not for {config.base.model.name}; "
                "set it to adamw or sgd"
            )
    base = config.base
    if base.weights is None and not base.workers:
        pick_device(base.train.device, "base.train.device")
    pick_device(config.fusion.device, "fusion.device")
    if base.weights is None and base.workers:
        batch = min(base.train.batch_size, len(load(config.data, "train").labels))
        if batch % base.workers:
            raise ConfigError(
                f"batches of {batch} images cannot be shared equally by {base.workers} workers; set "
                "base.train.batch_size to a multiple of base.workers"
            )


def _check_images(config: EnsembleConfig, plan: Plan) -> None:
    """Check that each sub-model has images of its classes, and something to tell apart."""
    there = set(load(config.data, "train").labels.unique().tolist())
    untaught = config.retrain is not None and not config.retrain.distill
    for index, seat in enumerate(plan.seats):
        if config.groups.by != "confusion" and not there & set(seat.classes):
            raise DataError(
                f"{config.data.name} has no training image of the classes of sub-model {index}; give more images "
                "(data.train_rows), or set groups.n to less"
            )
        if untaught and len(seat.classes) == 1 and not (seat.rest and config.groups.negatives != 0):
            key, value = ("negatives", 0) if seat.rest else ("rest", "false")
            raise ConfigError(
                f"groups.{key} is {value} and a sub-model has one class: it has nothing to tell apart; set groups.rest "
                "to true with groups.negatives above 0, retrain.distill above 0, or retrain to null"
            )
