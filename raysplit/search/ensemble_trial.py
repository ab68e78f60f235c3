"""Trials of ensembles: feasibility before training, a base that trials share, and the build in this process."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Sequence

from raysplit.config import EnsembleConfig
from raysplit.config.ensemble_plan import SubmodelSpec
from raysplit.config.search import SearchConfig
from raysplit.data import read_facts
from raysplit.ensemble.base_classifier import train_base
from raysplit.ensemble.build import build_ensemble
from raysplit.ensemble.bundle import KIND
from raysplit.ensemble.check import check_build
from raysplit.ensemble.context import open_build
from raysplit.folders.build_dir import BASE_NORMALIZATION, BASE_RECORD, BASE_WEIGHTS, BuildDir
from raysplit.folders.search_dir import SearchDir
from raysplit.hardware.machine import Machine
from raysplit.records.trial import TrialReport
from raysplit.search.pareto import joins_front
from raysplit.utils.bundle import copy_bundle
from raysplit.utils.storage import Folder

BASE = "base"
_log = logging.getLogger(__name__)


def count_submodel_epochs(config: EnsembleConfig) -> int:
    """Return the training epochs of each sub-model and of the net that it starts from."""
    return sum(fit.epochs for fit in (config.common, config.retrain) if fit is not None)


def find_ensemble_fault(search: SearchConfig, config: EnsembleConfig) -> str | None:
    """Return why a config is infeasible on the search's device, or None.

    Raises RaysplitError for a config that cannot be built at all.
    """
    # The base is trained before the trials; they need not find what it started from.
    submodels = check_build(config.replaced(base=config.base.without_start()), read_facts(config.data)).submodels
    device, mib, seconds = search.device, _largest_mib(submodels), _slowest_s(submodels, search.device)
    if mib > device.memory_mib:
        return f"a sub-model needs {mib:,.1f} MiB, {device.name} has {device.memory_mib:,.1f}"
    if search.rate is not None and seconds * search.rate > 1:
        return (
            f"the device takes {1000 * seconds:,.1f} ms for an image, {search.rate:g} images/s allow "
            f"{1000 / search.rate:,.1f}"
        )
    return None


def train_shared_base(config: EnsembleConfig, folder: Folder) -> None:
    """Train the recipe's own base before the trials that share it; `folder` is the search's."""
    if config.base.weights is None:
        shared = open_shared_base(config, folder)
        if not shared.has(BASE_WEIGHTS):
            train_base(open_build(config, shared.location), _log.info)


def open_shared_base(config: EnsembleConfig, folder: Folder) -> Folder:
    """Return the folder of the base of all trials that train it alike."""
    text = config.model_dump_json(include={"base", "data", "seed"})
    return Folder.at(f"{folder.location}/{BASE}/{hashlib.sha256(text.encode()).hexdigest()[:16]}")


def run_ensemble_trial(search: SearchConfig, number: int, config: EnsembleConfig, folder: SearchDir) -> TrialReport:
    """Build an ensemble in a temporary folder and report once.

    `folder` is the search's, where a trial on the front leaves its bundle.
    """
    with tempfile.TemporaryDirectory() as path:
        build = BuildDir.at(path)
        if config.base.weights is None:
            shared = open_shared_base(config, folder)
            _copy_missing((BASE_NORMALIZATION, BASE_WEIGHTS, BASE_RECORD), shared, build)
            summary = build_ensemble(config, path)
            _copy_missing((BASE_NORMALIZATION, BASE_RECORD, BASE_WEIGHTS), build, shared)
        else:
            summary = build_ensemble(config, path)
        report = _report(search, config, build, summary.bytes_per_sample)
        if joins_front(search, folder, report):
            copy_bundle(summary.bundle, KIND, folder.clear_network(number))
    return report


def _report(search: SearchConfig, config: EnsembleConfig, build: BuildDir, size: int) -> TrialReport:
    """Return what a build has reached; `size` is that of the features of an image, in bytes."""
    fusion_epochs, plan = build.fusion_record().epochs, build.plan()
    assert plan is not None
    epochs = count_submodel_epochs(config)
    return TrialReport(
        epoch=epochs,
        trained=epochs,
        last=True,
        objectives={
            "accuracy": max(epoch.val_accuracy for epoch in fusion_epochs),
            "bytes": size,
            "seconds": _slowest_s(plan.submodels, search.device) + search.link.call_s(size),
            "mib": _largest_mib(plan.submodels),
        },
    )


def _largest_mib(submodels: Sequence[SubmodelSpec]) -> float:
    """Return the size of the largest sub-model's file in 2**20 bytes."""
    return max(submodel.file_bytes for submodel in submodels) / 2**20


def _slowest_s(submodels: Sequence[SubmodelSpec], device: Machine) -> float:
    """Return the seconds that the slowest sub-model takes for an image on a device."""
    return max(submodel.flops for submodel in submodels) / 1e9 / device.gflops_per_s


def _copy_missing(names: Sequence[str], source: Folder, target: Folder) -> None:
    """Copy those files of the source that the target lacks."""
    for name in names:
        data = source.find(name)
        if data is not None and not target.has(name):
            target.write(name, data)
