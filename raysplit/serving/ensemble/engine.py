"""From images to answers: requests are put together, every sub-model is asked at once, and what came is fused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from raysplit.ensemble.bundle import Ensemble
from raysplit.ensemble.weights_file import compute_dtype
from raysplit.errors import RequestError
from raysplit.serving.args import EnsembleArgs
from raysplit.serving.ensemble.batching import Batcher
from raysplit.serving.ensemble.fan_out import DeploymentFanOut, DeploymentResult, Handle, Reason

_AT_ONCE = 2
"""Batches in flight: while sub-models compute one, the next is decoded and packed."""


@dataclass(frozen=True)
class FusedPrediction:
    """What an ensemble says of some images, and how long each part took."""

    probabilities: np.ndarray
    """float32 (B, classes)."""
    own: dict[int, np.ndarray]
    """Of each sub-model that answered, by number: its own probabilities, float32 (B, outputs)."""
    missing: dict[int, Reason]
    """Sub-models whose features were filled in, by number."""
    heard: tuple[DeploymentResult, ...]
    fusion_s: float
    queue_s: float = 0.0
    """Seconds until the batch's turn came."""

    def of(self, rows: slice, queue_s: float) -> FusedPrediction:
        """Return the answer for some of the images."""
        own = {index: values[rows] for index, values in self.own.items()}
        return replace(self, probabilities=self.probabilities[rows], own=own, queue_s=queue_s)


Asked = tuple[np.ndarray, float]
"""Images and when they were asked about."""


class Engine:
    """Answers with one ensemble through the deployments that hold its sub-models.

    `groups` are the sub-models of each deployment, `handles` how it is reached, by its name;
    `watch` hears what came of each batch.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        args: EnsembleArgs,
        groups: Mapping[str, Sequence[int]],
        handles: Mapping[str, Handle],
        watch: Callable[[Sequence[DeploymentResult]], None],
    ):
        self.ensemble, self._groups = ensemble, groups
        self._watch = watch
        self._fail = args.missing == "fail"
        self._branches = DeploymentFanOut(handles, ensemble.id, args.missing, args.branch_timeout_s)
        self._dtype = compute_dtype(ensemble.manifest.precision)
        self._batcher = Batcher(
            self._answer_all, lambda asked: len(asked[0]), args.max_batch, _AT_ONCE, args.batch_wait_s
        )

    async def answer(self, images: np.ndarray) -> FusedPrediction:
        """Return what the ensemble says of uint8 images (B, C, H, W).

        Raises RequestError, 503, when no sub-model answers, or one does not and `missing` is `fail`.
        """
        answer = await self._batcher((images, time.perf_counter()))
        if len(answer.missing) == len(self.ensemble.manifest.submodels) or (answer.missing and self._fail):
            reasons = ", ".join(f"{index} is {reason}" for index, reason in answer.missing.items())
            raise RequestError(f"sub-models do not answer: {reasons}; try again soon", 503)
        return answer

    async def _answer_all(self, asked: list[Asked]) -> list[FusedPrediction]:
        start = time.perf_counter()
        images = np.concatenate([images for images, _ in asked])
        heard = await self._branches.ask(images.tobytes(), len(images))
        self._watch(heard)
        whole = await asyncio.to_thread(self._fuse, heard, len(images))
        answers, first = [], 0
        for some, since in asked:
            answers.append(whole.of(slice(first, first + len(some)), start - since))
            first += len(some)
        return answers

    def _fuse(self, heard: Sequence[DeploymentResult], count: int) -> FusedPrediction:
        start, parts = time.perf_counter(), self.ensemble.manifest.submodels
        missing = dict(sorted((i, one.reason) for one in heard if one.reason for i in self._groups[one.name]))
        said = {one.index: one for branch in heard for one in branch.said}
        features = [
            torch.frombuffer(bytearray(said[index].features), dtype=self._dtype).view(count, part.features)
            if index in said
            else None
            for index, part in enumerate(parts)
        ]
        if said:
            probabilities = self.ensemble.fuse(features).numpy()
        else:
            probabilities = np.full((count, len(self.ensemble.manifest.classes)), np.nan, np.float32)
        own = {index: np.frombuffer(one.own, np.float32).reshape(count, -1) for index, one in sorted(said.items())}
        return FusedPrediction(probabilities, own, missing, tuple(heard), time.perf_counter() - start)
