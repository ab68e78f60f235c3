"""From images to predictions: requests are batched, all sub-models are queried at once, their features are fused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from raysplit.data.clips import average_chunks
from raysplit.ensemble.bundle import Ensemble
from raysplit.ensemble.weights_file import compute_dtype
from raysplit.errors import RequestError
from raysplit.serving.args import EnsembleArgs
from raysplit.serving.ensemble.batching import Batcher
from raysplit.serving.ensemble.bundles import Bundles
from raysplit.serving.ensemble.fan_out import DeploymentFanOut, DeploymentResult, FanOutResult, Handle, MissingReason

_CONCURRENT_BATCHES = 2
"""While sub-models compute one batch, the next is decoded and packed."""
_STARTED_AFTER_S = 10
"""`Retry-After` if replicas of sub-models are being started: about what that takes on a busy machine."""


@dataclass(frozen=True)
class FusedPrediction:
    """What an ensemble predicts for some images, and how long each stage took."""

    ensemble: Ensemble
    """That all of it comes from: another than the application's own at times while a new bundle is rolled out."""
    probabilities: np.ndarray
    """float32 (B, classes)."""
    submodel_probabilities: dict[int, np.ndarray]
    """Of each sub-model that answered, by index: its own probabilities, float32 (B, outputs)."""
    missing: dict[int, MissingReason]
    """Why sub-models are missing, by index; their features were filled in."""
    results: tuple[DeploymentResult, ...]
    """Of each deployment, for the whole batch."""
    fusion_s: float
    queue_s: float = 0.0
    """Seconds until the batch's turn came."""

    def select(self, rows: slice, queue_s: float) -> FusedPrediction:
        """Return the prediction for some of the images."""
        own = {index: probabilities[rows] for index, probabilities in self.submodel_probabilities.items()}
        probabilities = self.probabilities[rows]
        return replace(self, probabilities=probabilities, submodel_probabilities=own, queue_s=queue_s)

    def average(self, chunks: Sequence[int]) -> FusedPrediction:
        """Return the prediction for recordings, of which each has this many of the images one after the other."""
        if len(chunks) == len(self.probabilities):
            return self

        def mean(probabilities: np.ndarray) -> np.ndarray:
            averaged: np.ndarray = average_chunks(torch.from_numpy(probabilities.copy()), chunks).numpy()
            return averaged

        own = {index: mean(probabilities) for index, probabilities in self.submodel_probabilities.items()}
        return replace(self, probabilities=mean(self.probabilities), submodel_probabilities=own)


@dataclass(frozen=True)
class _Request:
    images: np.ndarray
    """uint8 (B, C, H, W)."""
    queued_at: float


class Engine:
    """Predicts with an ensemble whose sub-models are in deployments of their own.

    Args:
        ensemble: the same that the deployments hold; its fusion runs here.
        args: of the application.
        deployments: indices of the sub-models in each deployment, by its name.
        handles: of the deployments, by name.
        on_results: called with the results of each batch.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        args: EnsembleArgs,
        deployments: Mapping[str, Sequence[int]],
        handles: Mapping[str, Handle],
        on_results: Callable[[Sequence[DeploymentResult]], None],
    ):
        self.ensemble, self._deployments, self._on_results = ensemble, deployments, on_results
        self._fail = args.missing == "fail"
        self._fan_out = DeploymentFanOut(handles, Bundles(ensemble), args.missing, args.branch_timeout_s)
        self._batcher = Batcher(
            self._predict_batch,
            lambda request: len(request.images),
            args.max_batch,
            _CONCURRENT_BATCHES,
            args.batch_wait_s,
        )

    async def predict(self, images: np.ndarray) -> FusedPrediction:
        """Return the ensemble's prediction for uint8 images (B, C, H, W).

        Raises RequestError, 503, if no sub-model answers, or if any does not and `missing` is `fail`.
        """
        prediction = await self._batcher(_Request(images, time.perf_counter()))
        missing = prediction.missing
        if len(missing) == len(prediction.ensemble.manifest.submodels) or (missing and self._fail):
            reasons = ", ".join(f"{index} is {reason}" for index, reason in missing.items())
            pause_s = None if set(missing.values()) <= {"overloaded", "failed"} else _STARTED_AFTER_S
            raise RequestError(f"sub-models do not answer: {reasons}; try again soon", 503, pause_s)
        return prediction

    async def _predict_batch(self, requests: list[_Request]) -> list[FusedPrediction]:
        start = time.perf_counter()
        images = np.concatenate([request.images for request in requests])
        result = await self._fan_out.query(images.tobytes(), len(images))
        self._on_results(result.deployments)
        whole = await asyncio.to_thread(self._fuse, result, len(images))
        predictions, first = [], 0
        for request in requests:
            rows = slice(first, first + len(request.images))
            predictions.append(whole.select(rows, start - request.queued_at))
            first = rows.stop
        return predictions

    def _fuse(self, result: FanOutResult, count: int) -> FusedPrediction:
        start, ensemble, results = time.perf_counter(), result.ensemble, result.deployments
        manifest = ensemble.manifest
        reasons = {
            index: each.missing for each in results if each.missing for index in self._deployments[each.deployment]
        }
        outputs = {output.index: output for each in results for output in each.outputs}
        missing: dict[int, MissingReason] = {
            # A sub-model that the application has no deployment for belongs to another bundle.
            index: reasons.get(index, "other bundle")
            for index in range(len(manifest.submodels))
            if index not in outputs
        }
        dtype = compute_dtype(manifest.precision)
        features = [
            torch.frombuffer(bytearray(outputs[index].features), dtype=dtype).view(count, part.features)
            if index in outputs
            else None
            for index, part in enumerate(manifest.submodels)
        ]
        if outputs:
            probabilities = ensemble.fuse(features).numpy()
        else:
            probabilities = np.full((count, len(manifest.classes)), np.nan, np.float32)
        own = {
            index: np.frombuffer(output.probabilities, np.float32).reshape(count, -1)
            for index, output in sorted(outputs.items())
        }
        return FusedPrediction(ensemble, probabilities, own, missing, results, time.perf_counter() - start)
