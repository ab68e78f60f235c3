"""The deployment that holds one or several sub-models of an ensemble and answers with their features."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from raysplit.ensemble.bundle import Ensemble, load_ensemble
from raysplit.errors import BundleError, ModelError

HUNG_S = 60.0
"""A batch that takes longer will not end: its replica is replaced."""


@dataclass(frozen=True)
class SubmodelOutput:
    """What one sub-model says of a batch."""

    index: int
    features: bytes
    """(B, features) in the dtype that the sub-model computes in."""
    own: bytes
    """float32 (B, outputs): its own probabilities, of its classes, after that of all others if it has a rest class."""
    seconds: float

    @property
    def finite(self) -> bool:
        """Whether its probabilities are numbers."""
        return bool(np.isfinite(np.frombuffer(self.own, np.float32)).all())


@dataclass(frozen=True)
class Reply:
    """What a deployment says of a batch."""

    bundle: str
    """Id of the bundle that the features are of."""
    said: tuple[SubmodelOutput, ...]
    waited: float
    """Seconds behind other batches in this replica."""


def open_same(location: str, bundle_id: str) -> Ensemble:
    """Open an ensemble; BundleError when it is not the one of that id."""
    ensemble = load_ensemble(location)
    if ensemble.id != bundle_id:
        raise BundleError(
            f"ensemble '{location}' was replaced after the application was deployed ({ensemble.id[:12]}, not "
            f"{bundle_id[:12]}); deploy again, with each ensemble in a folder of its own"
        )
    return ensemble


class SubModels:
    """A replica; every call is answered off the event loop, one batch after the other."""

    def __init__(self, location: str, bundle_id: str, indices: Sequence[int]):
        self._ensemble, self._indices = open_same(location, bundle_id), tuple(indices)
        self._shape = self._ensemble.manifest.shape
        self._worker = ThreadPoolExecutor(1)
        self._running = 0
        self._began: float | None = None
        self._forward(np.zeros((1, *self._shape), np.uint8).tobytes(), 1, time.perf_counter())

    async def features(self, images: bytes, count: int) -> Reply:
        """Return features for packed uint8 images (count, C, H, W)."""
        self._running += 1
        try:
            loop, now = asyncio.get_running_loop(), time.perf_counter()
            return await loop.run_in_executor(self._worker, self._forward, images, count, now)
        finally:
            self._running -= 1

    async def check_health(self) -> None:
        """Answer for one image, unless batches are being answered; ModelError for no number, and a batch that hangs."""
        if self._running:
            if self._began is not None and time.perf_counter() - self._began > HUNG_S:
                raise ModelError(f"a batch takes longer than {HUNG_S:.0f} s in '{self._ensemble.location}'")
            return
        reply = await self.features(bytes(int(np.prod(self._shape))), 1)
        for said in reply.said:
            if not said.finite:
                raise ModelError(f"sub-model {said.index} of '{self._ensemble.location}' answers with no number")

    def _forward(self, images: bytes, count: int, since: float) -> Reply:
        self._began = time.perf_counter()
        waited = self._began - since
        pixels = torch.frombuffer(bytearray(images), dtype=torch.uint8).view(count, *self._shape)
        x = self._ensemble.normalize(pixels)
        reply = Reply(self._ensemble.id, tuple(self._say(index, x) for index in self._indices), waited)
        self._began = None
        return reply

    def _say(self, index: int, x: torch.Tensor) -> SubmodelOutput:
        start = time.perf_counter()
        found = self._ensemble.predict_submodel(index, x)
        packed = found.features.contiguous().view(torch.uint8).numpy().tobytes()
        return SubmodelOutput(index, packed, found.probabilities.numpy().tobytes(), time.perf_counter() - start)
