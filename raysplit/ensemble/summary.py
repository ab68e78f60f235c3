"""What a build came to: accuracy, size, operations and time of the base, of each sub-model and of all together."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from raysplit.config import Precision
from raysplit.config.ensemble_plan import SubmodelSpec
from raysplit.ensemble.bundle import Ensemble, load_ensemble, write_ensemble
from raysplit.ensemble.context import PlannedBuild
from raysplit.ensemble.cost import measure_cost, measure_latencies
from raysplit.ensemble.forward import NetworkOutputs, answer, compute_outputs
from raysplit.ensemble.fusion_trainer import FeatureSet, accuracy_without
from raysplit.ensemble.samples import Samples
from raysplit.ensemble.weights_file import compute_dtype, set_precision
from raysplit.folders.build_dir import NetworkFiles
from raysplit.records.ensemble_summary import (
    ConfusionMatrix,
    EnsembleSummary,
    StageSeconds,
    SubmodelSummary,
    sum_by_device,
)
from raysplit.torch_utils.seeds import generator

_LATENCY_ROUNDS = 15
_MAX_LOST = 3
_SPIKE_IMAGES = 100
"""Test images that spikes are counted on."""


def summarize_build(build: PlannedBuild, base: nn.Module) -> EnsembleSummary:
    """Write the bundle, test it, write `summary.json` and return it; nothing else uses the test images."""
    config, data = build.config, build.data
    bundle = write_ensemble(build)
    ensemble = load_ensemble(bundle)
    test = build.load_samples("test")
    base_predictions = compute_outputs(base, test, config.base.train.precision).answer(test)
    outputs = [compute_outputs(ensemble.submodel(index), test) for index in range(config.n)]
    features = torch.cat([one.features for one in outputs], 1)
    predictions = answer(ensemble.fusion(features), test.chunks)
    base_s, base_like_s, *submodels_s = _measure_latencies(build, base, ensemble)
    submodels = tuple(
        _summarize_submodel(build, index, one, test, seconds)
        for index, (one, seconds) in enumerate(zip(outputs, submodels_s, strict=True))
    )
    base_spikes = None
    if build.plan.kind == "snn":
        spikes, base_spikes = _count_spikes(ensemble, base, test)
        submodels = tuple(
            one.model_copy(update={"spikes": count}) for one, count in zip(submodels, spikes, strict=True)
        )
    devices = [one.device for one in submodels]
    mib, gmac, latency_ms = (
        sum_by_device(costs, devices)
        for costs in (
            [one.mib for one in submodels],
            [one.gmac for one in submodels],
            [one.latency_ms for one in submodels],
        )
    )
    tested = FeatureSet(features, test.targets, test.chunks)
    lost = {
        f"lost{count}": accuracy_without(ensemble.fusion, tested, count)
        for count in range(1, min(_MAX_LOST, config.n - 1) + 1)
    }
    cost = measure_cost(base, data.shape, "fp32")
    summary = EnsembleSummary(
        recipe=config.name,
        kind=build.plan.kind,
        n=config.n,
        classes=data.classes,
        accuracy=_accuracy(predictions, test),
        test_from=data.test_from,
        weights=build.folder.base_record().weights,
        base_accuracy=_accuracy(base_predictions, test),
        lost1=lost.get("lost1"),
        lost2=lost.get("lost2"),
        lost3=lost.get("lost3"),
        precision=config.precision,
        base_params=cost.params,
        base_mib=cost.mib,
        base_mib_like=measure_cost(base, data.shape, config.precision).mib,
        base_gmac=cost.gmac,
        base_latency_ms=1e3 * base_s,
        base_latency_like_ms=1e3 * base_like_s,
        base_spikes=base_spikes,
        mib_device_max=max(mib),
        mib_total=sum(mib),
        gmac_device_max=max(gmac),
        gmac_total=sum(gmac),
        latency_ms_device_max=max(latency_ms),
        latency_ms_total=sum(latency_ms),
        bytes_per_sample=sum(one.feature_bytes for one in submodels),
        bytes_per_sample_raw=test.images[0].numel(),
        submodels=submodels,
        devices=build.plan.loads,
        confusion=_confusion_matrix(test.answered, predictions, len(data.classes)),
        base_confusion=_confusion_matrix(test.answered, base_predictions, len(data.classes)),
        test_images=len(predictions),
        seconds=_sum_seconds(build),
        bundle=bundle,
        bundle_id=ensemble.id,
    )
    build.folder.write_summary(summary)
    return summary


def _summarize_submodel(
    build: PlannedBuild, index: int, outputs: NetworkOutputs, test: Samples, seconds: float
) -> SubmodelSummary:
    spec = build.plan.submodels[index]
    return SubmodelSummary(
        classes=tuple(build.data.classes[c] for c in spec.classes),
        k=spec.k,
        device=spec.device,
        params=spec.params,
        mib=spec.file_bytes / 2**20,
        gmac=spec.flops / 2e9,
        latency_ms=1e3 * seconds,
        feature_bytes=outputs.features.shape[1] * _bytes_per_feature(build.config.precision),
        accuracy_own=_own_accuracy(spec, outputs.answer(test), test),
    )


def _own_accuracy(spec: SubmodelSpec, predictions: Tensor, test: Samples) -> float:
    """Return the accuracy of a sub-model on test images of its own classes; "any other class" counts as wrong."""
    output_of = torch.full((spec.total_classes,), -1)
    output_of[torch.tensor(spec.classes)] = torch.arange(len(spec.classes)) + spec.rest
    expected = output_of[test.answered]
    own = expected >= 0
    correct = predictions[own] == expected[own]
    return correct.float().mean().item() if len(correct) else 0.0


def _measure_latencies(build: PlannedBuild, base: nn.Module, ensemble: Ensemble) -> list[float]:
    """Return the seconds of the base in fp32, of the base at the sub-models' precision, and of each sub-model."""
    base_like = set_precision(copy.deepcopy(base), build.config.precision)
    models = [base, base_like, *(ensemble.submodel(index) for index in range(build.config.n))]
    return measure_latencies(models, build.data.shape, _LATENCY_ROUNDS)


def _count_spikes(ensemble: Ensemble, base: nn.Module, test: Samples) -> tuple[list[float], float]:
    """Return the spikes per image of each sub-model, and of the base: EC-SNN's proxy for energy."""
    from raysplit.models.spiking import spike_rate  # needs an extra

    rows = torch.randperm(len(test), generator=generator("spikes"))[:_SPIKE_IMAGES]  # files may be sorted by class
    x = ensemble.normalize(test.images[rows])
    submodels = (ensemble.submodel(index) for index in range(len(ensemble.manifest.submodels)))
    spikes = [spike_rate(model, x) for model in submodels]  # type: ignore[arg-type]
    return spikes, spike_rate(base, test.batch(rows))  # type: ignore[arg-type]


def _bytes_per_feature(precision: Precision) -> int:
    return torch.empty(0, dtype=compute_dtype(precision)).element_size()


def _accuracy(predictions: Tensor, test: Samples) -> float:
    return (predictions == test.answered).float().mean().item()


def _confusion_matrix(targets: Tensor, predictions: Tensor, classes: int) -> ConfusionMatrix:
    counts = (targets * classes + predictions).bincount(minlength=classes**2).view(classes, classes)
    return tuple(tuple(row) for row in counts.tolist())


def _sum_seconds(build: PlannedBuild) -> StageSeconds:
    folder = build.folder
    submodels = [folder.submodel_record(NetworkFiles.submodel(index)) for index in range(build.config.n)]
    common = [folder.submodel_record(NetworkFiles.common(k)) for k in build.plan.sizes if build.config.common]
    return StageSeconds(
        base=folder.base_record().seconds,
        score=sum(record.score_s for record in submodels),
        common=sum(record.seconds for record in common),
        submodels=sum(record.seconds for record in submodels),
        fusion=folder.fusion_record().seconds,
    )
