"""Finds what makes a build impossible before hours of training."""

from __future__ import annotations

import torch

from raysplit.config import EnsembleConfig
from raysplit.config.ensemble_plan import EnsemblePlan
from raysplit.data import Facts, load
from raysplit.ensemble.apoz import require_sparse_activations
from raysplit.ensemble.base_classifier import find_frozen, initial_base
from raysplit.ensemble.plan import make_plan
from raysplit.ensemble.prunable.base import prunable_network
from raysplit.errors import ConfigError, DataError
from raysplit.torch_utils.compute import pick_device


def check_build(config: EnsembleConfig, data: Facts) -> EnsemblePlan:
    """Raise ConfigError, DataError or ModelError for a config that cannot be built; return its plan.

    `data` are the facts of `config.data`. Groups by confusion depend on the trained base: here they are those of a
    base that confuses nothing.
    """
    classes, channels = len(data.classes), data.shape[0]
    if classes < 2:
        raise DataError(f"{config.data.name} has {classes} class; a classifier needs data with at least 2")
    base, _ = initial_base(config, data)
    find_frozen(config, base)
    network = prunable_network(base, data.shape)
    _check_training(config)
    if config.base.mean is not None and len(config.base.mean) != channels:
        raise ConfigError(
            f"base.mean and base.std have {len(config.base.mean)} numbers, the images of {config.data.name} have "
            f"{channels} channels; give one for each"
        )
    if config.prune.scores == "apoz":
        require_sparse_activations(network)
    plan = make_plan(config, network, data.shape, torch.zeros(classes, classes, dtype=torch.int64))
    _check_images(config, plan)
    return plan


def _check_training(config: EnsembleConfig) -> None:
    """Check devices and workers; the base without workers, and the fusion, are trained in this process."""
    base = config.base
    if base.weights is None and not base.workers:
        pick_device(base.train.device, "base.train.device")
    pick_device(config.fusion.device, "fusion.device")
    if base.weights is None and base.workers:
        batch = min(base.train.batch_size, len(load(config.data, "train").labels))
        if batch % base.workers:
            raise ConfigError(
                f"batches of {batch} images cannot be divided equally among {base.workers} workers; set "
                "base.train.batch_size to a multiple of base.workers"
            )


def _check_images(config: EnsembleConfig, plan: EnsemblePlan) -> None:
    """Check that each sub-model has training images of its classes, and more than one class to tell apart."""
    present = set(load(config.data, "train").labels.tolist())
    hard_labels_only = config.retrain is not None and not config.retrain.distill
    for index, spec in enumerate(plan.submodels):
        if config.groups.by != "confusion" and not present & set(spec.classes):
            raise DataError(
                f"{config.data.name} has no training image of the classes of sub-model {index}; give more images "
                "(data.train_rows), or lower groups.n"
            )
        if hard_labels_only and len(spec.classes) == 1 and not (spec.rest and config.groups.negatives != 0):
            key, value = ("negatives", 0) if spec.rest else ("rest", "false")
            raise ConfigError(
                f"groups.{key} is {value} and sub-model {index} has one class: it has nothing to learn; set "
                "groups.rest to true with groups.negatives above 0, retrain.distill above 0, or retrain to null"
            )
