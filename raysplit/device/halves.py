"""The device halves of a family: from images to the message of a level."""

from __future__ import annotations

import torch

from raysplit.data.batches import prepare_batch
from raysplit.errors import DataError
from raysplit.family.bundle import Family
from raysplit.torch_utils.compute import autocast, pick_device
from raysplit.wire.message import Message


class DeviceHalves:
    """The device half and the codec of every level, ready to run; they compute as the family was trained.

    On CUDA where there is one. Raises BundleError for a family without the weights of its device halves.
    """

    def __init__(self, family: Family):
        self.levels = tuple(entry.level for entry in family.levels)
        self._about, self._train = family.about, family.config.train
        self._device = pick_device("auto")
        self._codecs = {level: family.codec(level) for level in self.levels}
        self._halves = {level: family.device(level).to(self._device) for level in self.levels}
        self._kept = {}
        for level, half in self._halves.items():
            if self._train.channels_last:
                half.to(memory_format=torch.channels_last)
            budget = family.level(level).channels
            self._kept[level] = None if half.encoder is None else half.encoder.choose_channels(budget)
            self.message(torch.zeros(1, *self._about.shape, dtype=torch.uint8), level)  # the first pass is slow

    def message(self, images: torch.Tensor, level: str) -> Message:
        """Return the message at a level for uint8 images (N, C, H, W); DataError for anything else."""
        expected = tuple(self._about.shape)
        if images.dtype != torch.uint8 or tuple(images.shape[1:]) != expected or not len(images):
            raise DataError(
                f"images of {images.dtype} in shape {tuple(images.shape)}; this family takes uint8 images in shape "
                f"(N, {', '.join(map(str, expected))})"
            )
        x = prepare_batch(images.to(self._device), self._about.mean, self._about.std, "none", 0)
        if self._train.channels_last:
            x = x.to(memory_format=torch.channels_last)
        with torch.inference_mode(), autocast(self._device, self._train.precision):
            z = self._halves[level](x)
        return self._codecs[level].compress(z, 0, self._kept[level], None)

    def most_bytes(self, level: str, count: int) -> int:
        """Return the bytes that a message of `count` images has at most."""
        return self._codecs[level].estimate((count, *self._about.code_shape)).bytes
