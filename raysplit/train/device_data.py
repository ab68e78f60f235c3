"""The images that a device owns: its splits, the order of training, batches as its half takes them."""

from __future__ import annotations

import platform
from collections.abc import Mapping

import torch

from raysplit.config import DevicesConfig, SplitConfig
from raysplit.data import ImageSet, batch_order, load_shard, prepare_batch
from raysplit.torch_utils.compute import pick_device
from raysplit.torch_utils.seeds import mix
from raysplit.train.device import DeviceFacts, Split, device_seed
from raysplit.train.halves import Shape
from raysplit.train.normalization import Normalization, choose_normalization


def count_steps(rows: int, batch_size: int, devices: DevicesConfig) -> int:
    """Return the optimizer steps that a device with `rows` training images takes in an epoch.

    >>> count_steps(100, 32, DevicesConfig(local_epochs=2)), count_steps(100, 32, DevicesConfig(round_steps=5))
    (6, 5)
    >>> count_steps(5, 32, DevicesConfig(kind="virtual", count=2))
    1
    """
    a_pass = rows // batch_size_of(rows, batch_size, devices)
    return (devices.round_steps or a_pass * devices.local_epochs) if a_pass else 0


def batch_size_of(rows: int, batch_size: int, devices: DevicesConfig) -> int:
    """Return the images in each batch of a device: all that it has, where a virtual one has fewer than `batch_size`.

    >>> batch_size_of(5, 32, DevicesConfig(kind="virtual", count=2)), batch_size_of(5, 32, DevicesConfig())
    (5, 32)
    """
    return max(1, min(rows, batch_size)) if devices.kind == "virtual" else batch_size


class DeviceData:
    """What device `index` of a run has of each split; raises what loading it raises.

    Args:
        sets: its images of each split, where they are known; else they are loaded.
        normalization: what they are normalized by, where it is known.
    """

    def __init__(
        self,
        config: SplitConfig,
        index: int,
        sets: Mapping[str, ImageSet] | None = None,
        normalization: Normalization | None = None,
    ):
        self._train, self._augment, self._devices = config.train, config.data.augment, config.devices
        self.seed = device_seed(config.train.seed, index)
        """Of all that is random on this device alone; the first device's is the run's."""
        self._torch_device = pick_device(config.train.device)
        if sets is None:
            sets = {
                split: load_shard(config.data, config.devices, index, config.train.batch_size, split)
                for split in ("train", "val", "test")
            }
        self.sets: Mapping[str, ImageSet] = sets
        self.normalization = normalization or choose_normalization(config.model, sets["train"].images)
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
    def micro_batches(self) -> range:
        """Numbers in the run of the micro-batches of the epoch that was shuffled last."""
        return range(self.first, self.first + len(self._micros))

    @property
    def steps(self) -> int:
        """Optimizer steps in an epoch."""
        return count_steps(len(self.sets["train"].labels), self._train.batch_size, self._devices)

    def describe(self, weights: str | None, shared_bytes: int) -> DeviceFacts:
        """Return what the server must know of the data, and of this machine; `weights` and `shared_bytes` as there."""
        train, val, test = (self.sets[split] for split in ("train", "val", "test"))
        normalized_by, mean, std = self.normalization
        return DeviceFacts(
            train_rows=len(train.labels),
            val_rows=len(val.labels),
            test_rows=len(test.labels),
            skipped_rows=train.skipped + test.skipped,
            raw_bytes=train.raw_bytes,
            normalized_by=normalized_by,
            mean=mean,
            std=std,
            classes=train.classes,
            shape=self.shape,
            threads=torch.get_num_threads(),
            weights=weights,
            test_from=test.taken_from,
            node=platform.node(),
            val_chunks=val.chunks,
            test_chunks=test.chunks,
            shared_bytes=shared_bytes,
        )

    def shuffle(self, epoch: int) -> None:
        """Draw the order of an epoch's training images: the steps of passes over the shard, each newly shuffled."""
        rows, in_flight, steps = len(self.sets["train"].labels), self._train.in_flight, self.steps
        size = batch_size_of(rows, self._train.batch_size, self._devices)
        a_pass, first = rows // size, epoch * steps
        passes = range(first // a_pass, -(-(first + steps) // a_pass))
        order = [batch for one in passes for batch in batch_order(rows, size, mix(self.seed, "order"), one)]
        skipped = first - passes[0] * a_pass
        batches = order[skipped : skipped + steps]
        self._micros = [part for batch in batches for part in batch.tensor_split(in_flight)]
        self.first = first * in_flight

    def micro_batch(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images and labels of a micro-batch of the epoch that was shuffled last, augmented."""
        rows, data = self._micros[number - self.first], self.sets["train"]
        seed = mix(self.seed, "augment", number)
        return self._prepare(data.images[rows], self._augment, seed), data.labels[rows]

    def batch(self, split: Split, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images and labels of batch `index` of a split, in its own order and not augmented."""
        data, size = self.sets[split], self._train.batch_size
        rows = slice(index * size, (index + 1) * size)
        return self._prepare(data.images[rows], "none", 0), data.labels[rows]

    def _prepare(self, images: torch.Tensor, augment: str, seed: int) -> torch.Tensor:
        x = prepare_batch(images, *self.normalization[1:], augment, seed).to(self._torch_device)
        return x.to(memory_format=torch.channels_last) if self._train.channels_last else x
