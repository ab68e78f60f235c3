"""The deployment that holds one or several sub-models of an ensemble and computes their features."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from raysplit.ensemble.bundle import Ensemble, load_ensemble
from raysplit.errors import BundleError, ModelError
from raysplit.serving.serial_executor import HUNG_AFTER_S, SerialExecutor


@dataclass(frozen=True)
class SubmodelOutput:
    """What one sub-model computes for a batch."""

    index: int
    features: bytes
    """(B, features) in the dtype that the sub-model computes in."""
    probabilities: bytes
    """float32 (B, outputs): of its own classes, preceded by that of all other classes if it has a rest class."""
    compute_s: float

    @property
    def is_finite(self) -> bool:
        """Whether all probabilities are finite."""
        return bool(np.isfinite(np.frombuffer(self.probabilities, np.float32)).all())


@dataclass(frozen=True)
class SubmodelReply:
    """What a deployment returns for a batch."""

    bundle_id: str
    """Id of the bundle that the sub-models belong to."""
    location: str
    """The path or URI that it was loaded from."""
    outputs: tuple[SubmodelOutput, ...]
    queue_s: float
    """Seconds spent waiting for other batches in this replica."""


def load_deployed_ensemble(location: str, bundle_id: str, submodels: Collection[int], fusion: bool) -> Ensemble:
    """Load these sub-models of the ensemble that an application was built with, and its fusion.

    Raises BundleError if it was replaced since.
    """
    ensemble = load_ensemble(location, submodels, fusion)
    if ensemble.id != bundle_id:
        raise BundleError(
            f"ensemble '{location}' was replaced after the application was deployed (now {ensemble.id[:12]}, then "
            f"{bundle_id[:12]}); deploy again, and keep each ensemble in a folder of its own"
        )
    return ensemble


class SubmodelDeployment:
    """A replica that computes batches one after the other, off the event loop."""

    def __init__(self, location: str, bundle_id: str, indices: Sequence[int]):
        """Load the sub-models with these indices.

        Raises BundleError for a damaged bundle, or one with another id than the application's.
        """
        self._indices = tuple(indices)
        self._ensemble = load_deployed_ensemble(location, bundle_id, self._indices, fusion=False)
        self._shape = self._ensemble.manifest.shape
        self._executor = SerialExecutor()
        self._compute(np.zeros((1, *self._shape), np.uint8).tobytes(), 1, time.perf_counter())

    async def features(self, images: bytes, count: int) -> SubmodelReply:
        """Return the features of packed uint8 images (count, C, H, W)."""
        return await self._executor.run(self._compute, images, count, time.perf_counter())

    async def check_health(self) -> None:
        """Compute the features of one image, unless batches are being computed.

        Raises ModelError if a probability is not finite, or if a batch hangs; Serve then replaces the replica.
        """
        if self._executor.busy:
            if self._executor.hung:
                raise ModelError(f"a batch takes longer than {HUNG_AFTER_S:.0f} s in '{self._ensemble.location}'")
            return
        reply = await self.features(bytes(int(np.prod(self._shape))), 1)
        for output in reply.outputs:
            if not output.is_finite:
                raise ModelError(
                    f"sub-model {output.index} of '{self._ensemble.location}' computes probabilities that are not "
                    "finite"
                )

    def _compute(self, images: bytes, count: int, queued_at: float) -> SubmodelReply:
        queue_s = time.perf_counter() - queued_at
        pixels = torch.frombuffer(bytearray(images), dtype=torch.uint8).view(count, *self._shape)
        x = self._ensemble.normalize(pixels)
        outputs = tuple(self._run_submodel(index, x) for index in self._indices)
        return SubmodelReply(self._ensemble.id, self._ensemble.location, outputs, queue_s)

    def _run_submodel(self, index: int, x: torch.Tensor) -> SubmodelOutput:
        start = time.perf_counter()
        output = self._ensemble.predict_submodel(index, x)
        features = output.features.contiguous().view(torch.uint8).numpy().tobytes()
        return SubmodelOutput(index, features, output.probabilities.numpy().tobytes(), time.perf_counter() - start)
