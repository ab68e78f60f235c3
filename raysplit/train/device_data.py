"""The images that a device owns: its splits, the order of training, batches as its half takes them."""

from __future__ import annotations

import torch

from raysplit.config import SplitConfig
from raysplit.data import batch_order, load, prepare_batch
from raysplit.torch_utils.compute import pick_device
from raysplit.torch_utils.seeds import mix
from raysplit.train.device import Split
from raysplit.train.halves import Shape
from raysplit.train.normalization import Normalization, choose_normalization


class DeviceData:
    """The splits of a run's data set; raises what loading them raises."""

    def __init__(self, config: SplitConfig):
        self._train, self._augment = config.train, config.data.augment
        self._torch_device = pick_device(config.train.device)
        self.sets = {split: load(config.data, split) for split in ("train", "val", "test")}
        self.normalization: Normalization = choose_normalization(config.model, self.sets["train"].images)
        self._micros: list[torch.Tensor] = []
        self.first = 0
        """The number in the run of the epoch's first micro-batch."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.sets["train"].classes

    @property
    def shape(self) -> Shape:
        """Shape of an image."""
        channels, height, width = self.sets["train"].images.shape[1:]
        return channels, height, width

    @property
    def steps(self) -> int:
        """Optimizer steps in an epoch."""
        return len(self.sets["train"].labels) // self._train.batch_size

    def shuffle(self, epoch: int) -> None:
        """Draw the order of an epoch's training images."""
        train, rows = self._train, len(self.sets["train"].labels)
        order = batch_order(rows, train.batch_size, mix(train.seed, "order"), epoch)
        self._micros = [part for rows in order for part in rows.split(train.batch_size // train.in_flight)]
        self.first = epoch * len(self._micros)

    def micro_batch(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images and labels of a micro-batch of the epoch that was shuffled last, augmented."""
        rows, data = self._micros[number - self.first], self.sets["train"]
        seed = mix(self._train.seed, "augment", number)
        return self._prepare(data.images[rows], self._augment, seed), data.labels[rows]

    def batch(self, split: Split, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images and labels of batch `index` of a split, in its own order and not augmented."""
        data, size = self.sets[split], self._train.batch_size
        rows = slice(index * size, (index + 1) * size)
        return self._prepare(data.images[rows], "none", 0), data.labels[rows]

    def _prepare(self, images: torch.Tensor, augment: str, seed: int) -> torch.Tensor:
        x = prepare_batch(images, *self.normalization[1:], augment, seed).to(self._torch_device)
        return x.to(memory_format=torch.channels_last) if self._train.channels_last else x
