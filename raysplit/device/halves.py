"""The device halves of a family: from images to the message of a level."""

from __future__ import annotations

import torch

from raysplit.compress.noise import add_noise
from raysplit.data.batches import prepare_batch
from raysplit.errors import DataError
from raysplit.family.bundle import Family
from raysplit.torch_utils.compute import autocast, pick_device
from raysplit.wire.message import Message


class DeviceHalves:
    """The device half and the codec of every level, ready to run, on CUDA if available.

    They compute as the family was trained. All levels share one module and the tensors that are equal: a further level
    takes the memory of its own weights. For use by one thread. Raises BundleError for a family without the weights of
    its device halves.

    >>> from raysplit.family import load_family
    >>> halves = DeviceHalves(load_family("family"))
    >>> halves.encode(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), "c2·b4/b4·zstd").shape
    (2, 8, 4, 4)
    """

    def __init__(self, family: Family):
        self.levels = tuple(entry.level for entry in family.levels)
        self._manifest, self._train = family.manifest, family.config.train
        self._device = pick_device("auto")
        self._codecs = {level: family.codec(level) for level in self.levels}
        self._noise = {level: family.level(level).noise for level in self.levels}
        self._halves = family.device_levels(self._device)
        self._channels: dict[str, tuple[int, ...] | None] = {}
        for level in self.levels:
            encoder = self._halves.at(level).encoder
            budget = family.level(level).channels
            self._channels[level] = None if encoder is None else encoder.choose_channels(budget)
            self.encode(torch.zeros(1, *self._manifest.shape, dtype=torch.uint8), level)  # the first pass is slow

    def encode(self, images: torch.Tensor, level: str) -> Message:
        """Return the message at a level for uint8 images (N, C, H, W); DataError for anything else.

        The noise of a level that has some is drawn anew, from the operating system's randomness.
        """
        expected = tuple(self._manifest.shape)
        if images.dtype != torch.uint8 or tuple(images.shape[1:]) != expected or not len(images):
            raise DataError(
                f"images of {images.dtype} in shape {tuple(images.shape)}; this family takes uint8 images in shape "
                f"(N, {', '.join(map(str, expected))})"
            )
        x = prepare_batch(images.to(self._device), self._manifest.mean, self._manifest.std, "none", 0)
        if self._train.channels_last:
            x = x.to(memory_format=torch.channels_last)
        with torch.inference_mode(), autocast(self._device, self._train.precision):
            z = self._halves.at(level)(x)
        channels = self._channels[level]
        noisy = add_noise(z, self._noise[level], None, channels, self._manifest.channel_dim)
        return self._codecs[level].compress(noisy, 0, channels, None)

    def max_message_bytes(self, level: str, count: int) -> int:
        """Return the largest possible size of a message of `count` images, in bytes."""
        return self._codecs[level].estimate((count, *self._manifest.code_shape)).bytes
