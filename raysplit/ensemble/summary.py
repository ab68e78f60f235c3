"""What a build came to: accuracy, sizes, operations and time, of the base, of each sub-model and of all together."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from raysplit.config import EnsembleConfig
from raysplit.ensemble.bundle import Ensemble, load_ensemble, write_ensemble
from raysplit.ensemble.classifier import facts_of, samples_of_split
from raysplit.ensemble.cost import cost, latencies
from raysplit.ensemble.fusion import accuracy_without
from raysplit.ensemble.plan import Plan, SubmodelSpec
from raysplit.ensemble.trainer import Samples, outputs
from raysplit.ensemble.weights_file import at_precision, compute_dtype
from raysplit.torch_utils.seeds import generator
from raysplit.utils.storage import Folder

SUMMARY = "summary.json"
_ROUNDS = 15
_MOST_LOST = 3
_SPIKING = 100
"""Test images that spikes are counted on."""


def summarise(config: EnsembleConfig, place: Folder, plan: Plan, base: nn.Module) -> dict[str, Any]:
    """Write the bundle, test it, write `summary.json` and return it; the only place that sees test images.

    Accuracies are in 0..1. `base_latency_ms` is of the base in fp32, `base_latency_like_ms` in the dtype that the
    sub-models compute in, `base_mib_like` its file at their precision.
    """
    bundle = write_ensemble(config, place, plan, f"{place.location}/bundle")
    ensemble = load_ensemble(bundle)
    test, (classes, shape) = samples_of_split(config, "test"), facts_of(config.data)
    base_logits = outputs(base, test, config.base.train.precision)[1]
    answers = [outputs(ensemble.submodel(index), test) for index in range(config.n)]
    features = torch.cat([found for found, _ in answers], 1)
    fused = ensemble.fusion(features).argmax(1)
    own = [_own_accuracy(seat, logits, test) for seat, (_, logits) in zip(plan.seats, answers, strict=True)]
    base_seconds, like_seconds, *seconds = _latencies(config, base, ensemble, shape)
    submodels: list[dict[str, Any]] = [
        {
            "classes": [classes[c] for c in seat.classes],
            "k": seat.k,
            "device": seat.device,
            "params": seat.params,
            "mib": seat.file_bytes / 2**20,
            "gmac": seat.flops / 2e9,
            "latency_ms": 1e3 * taken,
            "feature_bytes": found.shape[1] * _feature_bytes(config),
            "accuracy_own": accuracy,
        }
        for seat, (found, _), accuracy, taken in zip(plan.seats, answers, own, seconds, strict=True)
    ]
    spikes: dict[str, float] = {}
    if plan.kind == "snn":
        spikes = _spikes(base, submodels, ensemble, test)
    whole = cost(base, shape, "fp32")
    lost = range(1, min(_MOST_LOST, config.n - 1) + 1)
    summary = {
        "recipe": config.name,
        "kind": plan.kind,
        "n": config.n,
        "classes": list(classes),
        "accuracy": _accuracy(fused, test),
        "base_accuracy": _accuracy(base_logits.argmax(1), test),
        **{f"lost{count}": accuracy_without(ensemble.fusion, features, test.targets, count) for count in lost},
        "precision": config.precision,
        "base_params": whole.params,
        "base_mib": whole.mib,
        "base_mib_like": cost(base, shape, config.precision).mib,
        "base_gmac": whole.gmac,
        "base_latency_ms": 1e3 * base_seconds,
        "base_latency_like_ms": 1e3 * like_seconds,
        **spikes,
        **per_device(submodels),
        "bytes_per_sample": sum(part["feature_bytes"] for part in submodels),
        "bytes_per_sample_raw": test.images[0].numel(),
        "submodels": submodels,
        "devices": [asdict(load) for load in plan.loads],
        "confusion": _confusion(test.targets, fused, len(classes)),
        "base_confusion": _confusion(test.targets, base_logits.argmax(1), len(classes)),
        "test_images": len(test),
        "seconds": _seconds(config, place, plan),
        "bundle": bundle,
        "bundle_id": ensemble.id,
    }
    place.write(SUMMARY, json.dumps(summary, indent=2).encode())
    return summary


def _spikes(base: nn.Module, submodels: list[dict[str, Any]], ensemble: Ensemble, test: Samples) -> dict[str, float]:
    """Add `spikes` of one image, over all layers and steps, to each sub-model, and return `base_spikes`.

    They are EC-SNN's proxy for energy.
    """
    from raysplit.models.spiking import spike_rate  # needs an extra

    rows = torch.randperm(len(test), generator=generator("spikes"))[:_SPIKING]  # files may lie class by class
    x = ensemble.normalised(test.images[rows])
    for index, part in enumerate(submodels):
        part["spikes"] = spike_rate(ensemble.submodel(index), x)  # type: ignore[arg-type]
    return {"base_spikes": spike_rate(base, test.batch(rows))}  # type: ignore[arg-type]


def per_device(submodels: list[dict[str, Any]]) -> dict[str, float]:
    """Return the most that one device bears, and the sums; without devices each sub-model is on its own."""
    by_device: dict[str, list[dict[str, Any]]] = {}
    for index, part in enumerate(submodels):
        by_device.setdefault(part["device"] or f"device {index}", []).append(part)
    found: dict[str, float] = {}
    for key in ("mib", "gmac", "latency_ms"):
        sums = [sum(part[key] for part in parts) for parts in by_device.values()]
        found |= {f"{key}_device_max": max(sums), f"{key}_total": sum(sums)}
    return found


def _own_accuracy(seat: SubmodelSpec, logits: Tensor, test: Samples) -> float:
    """Share of the test images of a sub-model's own classes that it gives the right class among all its outputs."""
    column = torch.full((seat.of,), -1)
    column[torch.tensor(seat.classes)] = torch.arange(len(seat.classes)) + seat.rest
    wanted = column[test.targets]
    own = wanted >= 0
    right = logits.argmax(1)[own] == wanted[own]
    return right.float().mean().item() if len(right) else 0.0


def _latencies(config: EnsembleConfig, base: nn.Module, ensemble: Ensemble, shape: tuple[int, int, int]) -> list[float]:
    like = at_precision(copy.deepcopy(base), config.precision)
    models = [base, like, *(ensemble.submodel(index) for index in range(config.n))]
    return latencies(models, shape, _ROUNDS)


def _feature_bytes(config: EnsembleConfig) -> int:
    return torch.empty(0, dtype=compute_dtype(config.precision)).element_size()


def _accuracy(answers: Tensor, test: Samples) -> float:
    return (answers == test.targets).float().mean().item()


def _confusion(truth: Tensor, answers: Tensor, classes: int) -> list[list[int]]:
    return (truth * classes + answers).bincount(minlength=classes**2).view(classes, classes).tolist()


def _seconds(config: EnsembleConfig, place: Folder, plan: Plan) -> dict[str, float]:
    """Return the seconds of each stage; common nets and sub-models one after the other, scores included."""

    def record(name: str) -> dict[str, Any]:
        return json.loads(place.find(name) or b"{}")

    parts = [record(f"submodels/{index}/record.json") for index in range(config.n)]
    common = [record(f"common/{k}/record.json") for k in {seat.k for seat in plan.seats}] if config.common else []
    return {
        "base": sum(row["seconds"] for row in record("base/record.json")["epochs"]),
        "score": sum(part["score_s"] for part in parts),
        "common": sum(part["seconds"] for part in common),
        "submodels": sum(part["seconds"] for part in parts),
        "fusion": record("fusion/record.json")["seconds"],
    }
