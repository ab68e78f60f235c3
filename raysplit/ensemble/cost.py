"""What a network costs a device: file, operations, time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from raysplit.config import Precision
from raysplit.ensemble.weights_file import pack
from raysplit.split import count_flops

_WARM_UP_ROUNDS = 2


@dataclass(frozen=True)
class NetworkCost:
    """What a network needs, whatever device it runs on.

    >>> NetworkCost(params=1000, file_bytes=2**20, flops=4 * 10**9).mib
    1.0
    """

    params: int
    file_bytes: int
    """Of its safetensors file at a precision."""
    flops: int
    """Operations of one forward pass on one image; a MAC is 2. A spiking network: over all its time steps."""

    @property
    def mib(self) -> float:
        """Size of the file in 2**20 bytes."""
        return self.file_bytes / 2**20

    @property
    def gmac(self) -> float:
        """Multiply-accumulate operations of one image, in 1e9."""
        return self.flops / 2e9


def measure_cost(model: nn.Module, shape: tuple[int, int, int], precision: Precision) -> NetworkCost:
    """Return what a model costs for images of `shape` (C, H, W) when it is stored at `precision`.

    >>> from torch import nn
    >>> measure_cost(nn.Conv2d(1, 4, 3, padding=1, bias=False), (1, 8, 8), "fp32").flops
    4608
    """
    params = sum(p.numel() for p in model.parameters())
    return NetworkCost(params, len(pack(model.state_dict(), precision)), count_flops(model, shape))


def measure_latencies(models: Sequence[nn.Module], shape: tuple[int, int, int], rounds: int) -> list[float]:
    """Return each model's seconds for one image on one thread: medians of `rounds`, the models taking turns.

    Each turn starts with a call that is not timed, so that the caches hold this model, as on a device that runs no
    other. A model without parameters (a frozen script) gets its image in fp32.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        times: list[list[float]] = [[] for _ in models]
        with torch.inference_mode():
            dtypes = [next((p.dtype for p in model.parameters()), torch.float32) for model in models]
            images = [torch.zeros(1, *shape, dtype=dtype) for dtype in dtypes]
            for number in range(rounds + _WARM_UP_ROUNDS):
                for model, image, taken in zip(models, images, times, strict=True):
                    model(image)
                    start = time.perf_counter()
                    model(image)
                    if number >= _WARM_UP_ROUNDS:
                        taken.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    return [statistics.median(taken) for taken in times]
