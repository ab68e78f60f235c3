"""Makes one sub-model: scores the base's units on its own classes, cuts it out, retrains it.

With `config.common` a common network of all classes is made that way for each size, and the sub-models of that size
are cut out of it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import torch
from safetensors.torch import save
from torch import Tensor, nn

from raysplit.config import EnsembleConfig, Precision, RetrainConfig
from raysplit.config.ensemble_plan import EnsemblePlan, SubmodelSpec
from raysplit.ensemble.base_classifier import load_base, load_or_compute_teacher_logits
from raysplit.ensemble.context import PlannedBuild
from raysplit.ensemble.forward import compute_outputs
from raysplit.ensemble.importance import score_units
from raysplit.ensemble.prunable.base import PrunableNetwork, prunable_network
from raysplit.ensemble.samples import Samples, select_samples
from raysplit.ensemble.trainer import ClassifierTrainer, Objective
from raysplit.ensemble.weights_file import pack, set_precision, unpack
from raysplit.errors import DataError
from raysplit.folders.build_dir import NetworkFiles
from raysplit.models import build as build_network
from raysplit.records.build_stages import ClassifierEpoch, SubmodelRecord
from raysplit.torch_utils.seeds import generator, mix, seeded


@dataclass(frozen=True)
class SubmodelTask:
    """How one planned network is made: a sub-model, or a common network."""

    spec: SubmodelSpec
    seed_key: int | str
    """Separates its random numbers from those of the others."""
    name: str
    """In errors and progress lines."""
    files: NetworkFiles
    retrain: RetrainConfig | None
    """None: it stays as it was cut out."""
    precision: Precision
    """Of its file."""

    @staticmethod
    def submodel(config: EnsembleConfig, plan: EnsemblePlan, index: int) -> SubmodelTask:
        """Return the task of a sub-model."""
        files, spec = NetworkFiles.submodel(index), plan.submodels[index]
        return SubmodelTask(spec, index, f"sub-model {index}", files, config.retrain, config.precision)

    @staticmethod
    def common(config: EnsembleConfig, plan: EnsemblePlan, k: int) -> SubmodelTask:
        """Return the task of the common network of size k, which knows all classes and is kept in float32."""
        spec = next(spec for spec in plan.submodels if spec.k == k)
        spec = spec.replaced(classes=tuple(range(spec.total_classes)), rest=False)
        name = f"the common network that keeps {k}/{plan.size_steps}"
        return SubmodelTask(spec, f"common {k}", name, NetworkFiles.common(k), config.common, "fp32")


def make_common(build: PlannedBuild, k: int) -> None:
    """Write the common network of size k, as `make_submodel` writes a sub-model."""
    _make(build, SubmodelTask.common(build.config, build.plan, k), None)


def make_submodel(build: PlannedBuild, index: int) -> None:
    """Write `scores.safetensors`, `model.safetensors` and `record.json` of one sub-model, unless that was done.

    With `config.common` it is cut out of the common network of its size, which must exist, and has no scores.
    """
    task = SubmodelTask.submodel(build.config, build.plan, index)
    common = None if build.config.common is None else SubmodelTask.common(build.config, build.plan, task.spec.k)
    _make(build, task, common)


def load_submodel(build: PlannedBuild, index: int) -> nn.Module:
    """Return a finished sub-model in eval mode, in the dtype that its precision computes in."""
    return _load(build, SubmodelTask.submodel(build.config, build.plan, index))


def _make(build: PlannedBuild, task: SubmodelTask, common: SubmodelTask | None) -> None:
    """Cut a network out of the base, or out of `common`, whose head alone changes; retrain it and write it."""
    if build.folder.has(task.files.record):
        return
    start, spec = time.perf_counter(), task.spec
    base, train = load_base(build), build.load_samples("train")
    own = torch.isin(train.targets, torch.tensor(spec.classes)).nonzero().flatten()
    if not len(own):
        raise DataError(
            f"{build.config.data.name} has no training image of the classes of {task.name}; give more images "
            "(data.train_rows), or lower groups.n"
        )
    if common is None:
        network, k = prunable_network(base, build.data.shape), spec.k
        kept = network.select_units(_score(build, task, network, train, own), k)
    else:
        network = prunable_network(_load(build, common), build.data.shape)
        k, kept = network.size_steps, {group: torch.arange(count) for group, count in network.units().items()}
    model = network.shrink(kept, k, spec.classes, spec.rest)
    score_s = time.perf_counter() - start
    epochs: tuple[ClassifierEpoch, ...] = ()
    if task.retrain is not None:
        teacher = load_or_compute_teacher_logits(build, base) if task.retrain.distill else None
        epochs = _retrain(build.config, task, task.retrain, model, replace(train, teacher=teacher))
    weights = pack(model.state_dict(), task.precision)
    record = SubmodelRecord(score_s=score_s, seconds=time.perf_counter() - start, epochs=epochs)
    build.folder.write_submodel(task.files, weights, record)


def _load(build: PlannedBuild, task: SubmodelTask) -> nn.Module:
    model = build_network(task.spec.model, task.spec.outputs, build.plan.shape)
    model.load_state_dict(unpack(build.folder.read(task.files.weights), task.files.weights))
    return set_precision(model, task.precision)


def _score(
    build: PlannedBuild, task: SubmodelTask, network: PrunableNetwork, train: Samples, own: Tensor
) -> dict[str, Tensor]:
    """Return the scores of the base's units on the training images `own` (rows, int64), computed once and kept."""
    if (data := build.folder.find(task.files.scores)) is not None:
        return unpack(data, task.files.scores)
    prune, seed = build.config.prune, build.config.seed
    shuffled = own[torch.randperm(len(own), generator=generator("proxy", seed, task.seed_key))]
    images = train.batch(shuffled[: prune.proxy])
    scores = score_units(prune.scores, network, images, mix(seed, "scores", task.seed_key))
    build.folder.write(task.files.scores, save(scores))
    return scores


def _retrain(
    config: EnsembleConfig, task: SubmodelTask, retrain: RetrainConfig, model: nn.Module, train: Samples
) -> tuple[ClassifierEpoch, ...]:
    settings = retrain.replaced(seed=mix(config.seed, retrain.seed, "retrain", task.seed_key) % 2**31)
    objective = Objective(model, settings.label_smoothing, settings.distill, settings.temperature)
    if train.teacher is not None:
        one = replace(train, images=train.images[:1], targets=train.targets[:1])
        width = compute_outputs(model, one).features.shape[1]
        with seeded(mix(config.seed, "probe", task.seed_key), torch.device("cpu")):
            objective.add_probe(width, task.spec.total_classes)

    def samples(epoch: int) -> Samples:
        return select_samples(train, task.spec, config.groups, settings.seed, epoch)

    trainer = ClassifierTrainer(objective, samples, settings, config.data.augment, task.name)
    for _ in trainer.epochs():
        pass
    return trainer.records
