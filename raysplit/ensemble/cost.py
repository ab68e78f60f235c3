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


@dataclass(frozen=True)
class Cost:
    params: int
    file_bytes: int
    """Of its safetensors file at a precision."""
    flops: int
    """Operations of one forward pass on one image; a MAC is 2. A spiking network: over all its steps."""

    @property
    def mib(self) -> float:
        return self.file_bytes / 2**20

    @property
    def gmac(self) -> float:
        return self.flops / 2e9


def cost(model: nn.Module, shape: tuple[int, int, int], precision: Precision) -> Cost:
    """Return what a model costs for images of `shape` (C, H, W) when it is stored at `precision`."""
    params = sum(p.numel() for p in model.parameters())
    return Cost(params, len(pack(model.state_dict(), precision)), count_flops(model, shape))


def latencies(models: Sequence[nn.Module], shape: tuple[int, int, int], rounds: int) -> list[float]:
    """Return each model's seconds for one image on one thread: medians of `rounds`, the models taking turns.

    A turn begins with a call that does not count: on a device the caches hold this model, not the one before it.
    A model without parameters (a frozen script) gets its image in fp32.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        times: list[list[float]] = [[] for _ in models]
        with torch.inference_mode():
            dtypes = [next((p.dtype for p in model.parameters()), torch.float32) for model in models]
            images = [torch.zeros(1, *shape, dtype=dtype) for dtype in dtypes]
            for number in range(rounds + 2):
                for model, image, taken in zip(models, images, times, strict=True):
                    model(image)
                    start = time.perf_counter()
                    model(image)
                    if number >= 2:
                        taken.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    return [statistics.median(taken) for taken in times]
