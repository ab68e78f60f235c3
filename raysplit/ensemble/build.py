"""From one classifier to an ensemble of sub-models, stage by stage.

Every stage writes its result into the build's folder (`raysplit.folders.build_dir`) before the next one starts; a
build that was stopped continues with the stage, the epoch of the base, or the sub-model it had got to.
"""

from __future__ import annotations

import hashlib
import logging
import time
from functools import partial
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from raysplit.config import EnsembleConfig
from raysplit.data import load
from raysplit.ensemble.base_classifier import import_base, load_base, load_or_compute_teacher_logits
from raysplit.ensemble.check import check_build
from raysplit.ensemble.context import BuildContext, PlannedBuild, open_build
from raysplit.ensemble.forward import compute_outputs
from raysplit.ensemble.fusion_trainer import FeatureSet, train_fusion
from raysplit.ensemble.plan import make_plan
from raysplit.ensemble.prunable.base import prunable_network
from raysplit.ensemble.runner import LocalRunner, Log, Runner
from raysplit.ensemble.samples import Samples
from raysplit.ensemble.submodel import load_submodel, make_common, make_submodel
from raysplit.ensemble.summary import summarize_build
from raysplit.errors import DataError
from raysplit.folders.build_dir import BASE_STATE, BASE_WEIGHTS, FUSION_RECORD, TEACHER_LOGITS, BuildDir
from raysplit.records.build_stages import DataFingerprint, FusionRecord, SplitFingerprint
from raysplit.records.ensemble_summary import EnsembleSummary
from raysplit.torch_utils.compute import compiling
from raysplit.torch_utils.seeds import mix

_log = logging.getLogger(__name__)


def build_ensemble(
    config: EnsembleConfig, location: str, runner: Runner | None = None, log: Log = _log.info
) -> EnsembleSummary:
    """Build an ensemble in a folder, or continue the build in it, and return its summary (docs/ensembles.md).

    `location` is a path or URI; `runner` says where the heavy stages run, by default in this process; `log` gets
    progress, a line at a time. Raises ConfigError for a folder that holds a build of another config, and for class
    groups or devices that are impossible; ModelError for a base that cannot be cut;
    DivergenceError for a training that diverges; DataError for data that cannot be used, or that differ from those the
    build was started with.

    >>> from raysplit.folders.build_dir import BuildDir
    >>> summary = build_ensemble(BuildDir.at("build").config(), "build")  # a finished build is not built again
    >>> len(summary.submodels)
    2
    """
    folder, runner = BuildDir.at(location), runner or LocalRunner()
    folder.check_config(config)
    if (summary := folder.summary()) is not None:
        return summary
    context = open_build(config, location)
    if needs_base := not folder.has(BASE_WEIGHTS):
        begun = folder.has(BASE_STATE)  # what the base started from is not needed any more
        check_build(config.replaced(base=config.base.without_start()) if begun else config, context.data)
    folder.claim(config)
    check_data(context)
    if needs_base:
        if config.base.weights is None:
            runner.train_base(context, log)
        else:
            import_base(context)
    base = load_base(context)
    build = plan_build(context, base, log)
    if _needs_teacher(config) and not folder.has(TEACHER_LOGITS):
        load_or_compute_teacher_logits(context, base)  # now, or all sub-models that are made at once would compute them
    if config.common is not None:
        steps = build.plan.size_steps
        runner.run_each(
            partial(make_common, build), build.plan.sizes, lambda k: f"the common network that keeps {k}/{steps}", log
        )
    runner.run_each(
        partial(make_submodel, build), range(config.n), lambda index: f"sub-model {index} of {config.n}", log
    )
    build_fusion(build)
    return summarize_build(build, base)


def check_data(context: BuildContext) -> None:
    """Record what identifies the data when a build starts; DataError for one that continues with other data.

    The teacher's logits belong to rows, and which rows are for validation depends on how many there are.
    """
    config, folder = context.config, context.folder
    now = DataFingerprint.model_validate({split: _fingerprint(config, split) for split in DataFingerprint.model_fields})
    before = folder.data_fingerprint()
    if before is None:
        folder.write_data_fingerprint(now)
    elif (split := now.first_difference(before)) is not None:
        rows, rows_before = getattr(now, split).rows, getattr(before, split).rows
        raise DataError(
            f"{config.data.name} differs from the data that the build in '{folder.location}' was started with: the "
            f"{split} split has {rows} images and had {rows_before}, or other labels; restore that data, or start a "
            "new build"
        )


def plan_build(context: BuildContext, base: nn.Module, log: Log = _log.info) -> PlannedBuild:
    """Return the build with its plan, which is made once and kept."""
    plan = context.folder.plan()
    if plan is None:
        confusion = _confusion_on_validation(context, base)
        accuracy = confusion.diagonal().sum().item() / confusion.sum().item()
        shape = context.data.shape
        plan = make_plan(context.config, prunable_network(base, shape), shape, confusion)
        context.folder.write_plan(plan)
        log(f"the base's validation accuracy is {100 * accuracy:.1f} %")
    return context.with_plan(plan)


def build_fusion(build: PlannedBuild) -> None:
    """Train the fusion MLP on features of the frozen sub-models and write it, unless that was done."""
    config, folder = build.config, build.folder
    if folder.has(FUSION_RECORD):
        return
    start = time.perf_counter()
    train, val = build.load_samples("train"), build.load_samples("val")
    views = config.fusion.views if config.data.augment != "none" else 1
    features = [_view_features(build, train, view) for view in range(views)]
    widths = [one.shape[1] for one in features[0]]
    trained = train_fusion(
        FeatureSet(torch.cat([torch.cat(one, 1) for one in features]), train.targets.repeat(views)),
        FeatureSet(torch.cat(compute_features(build, val), 1), val.targets, val.chunks),
        widths,
        len(build.data.classes),
        config.fusion,
        mix(config.seed, config.fusion.seed, "fusion"),
    )
    seconds = time.perf_counter() - start
    weights = save({name: value.contiguous() for name, value in trained.fusion.state_dict().items()})
    folder.write_fusion(weights, FusionRecord(widths=tuple(widths), epochs=trained.epochs, seconds=seconds))


def compute_features(build: PlannedBuild, samples: Samples, augment: str = "none", seed: int = 0) -> list[Tensor]:
    """Return the features (N, F) of each finished sub-model."""
    found = []
    for index in range(build.config.n):
        model: Any = load_submodel(build, index)
        if build.config.fusion.compile:
            model.forward_features = torch.compile(model.forward_features)
        with compiling():
            found.append(compute_outputs(model, samples, augment=augment, seed=seed).features)
    return found


def _needs_teacher(config: EnsembleConfig) -> bool:
    return any(fit is not None and fit.distill for fit in (config.common, config.retrain))


def _view_features(build: PlannedBuild, train: Samples, view: int) -> list[Tensor]:
    """Return the features of one pass over the training images: the first without augmentation, the others with it."""
    augment = build.config.data.augment if view else "none"
    return compute_features(build, train, augment, mix(build.config.seed, "view", view))


def _confusion_on_validation(context: BuildContext, base: nn.Module) -> Tensor:
    """Return the counts of the base's predictions, int64 (classes, classes), true × predicted."""
    classes, val = len(context.data.classes), context.load_samples("val")
    predictions = compute_outputs(base, val, context.config.base.train.precision).answer(val)
    confusion = torch.zeros(classes, classes, dtype=torch.int64)
    return confusion.index_put_((val.answered, predictions), torch.tensor(1), accumulate=True)


def _fingerprint(config: EnsembleConfig, split: str) -> SplitFingerprint:
    labels = load(config.data, split).labels.numpy()  # type: ignore[arg-type]
    return SplitFingerprint(rows=len(labels), sha256=hashlib.sha256(labels.tobytes()).hexdigest())
