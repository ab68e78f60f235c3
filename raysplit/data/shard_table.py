"""Which rows of a data set each of many devices has, for all of them together: the images stay memory-mapped."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from raysplit.config import DataConfig, DevicesConfig
from raysplit.data.device_shard import Split, find_owners
from raysplit.data.images import ImageSet, load_source, split_items, take_items

SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class _Dealt:
    """One split: its source, the items of it in the order of their devices, and where each device's begin."""

    source: ImageSet
    items: torch.Tensor
    starts: torch.Tensor


class ShardTable:
    """The shards of all devices of a run; together they take 8 bytes for each image.

    >>> pairs = [(torch.rand(1, 8, 8), index % 2) for index in range(50)]
    >>> table = ShardTable(DataConfig(dataset=pairs), DevicesConfig(count=20, kind="virtual"), batch_size=4)
    >>> table.rows(0, "train"), table.load(0, "train").images.shape
    (2, torch.Size([2, 1, 8, 8]))
    """

    def __init__(self, data: DataConfig, devices: DevicesConfig, batch_size: int):
        """Deal a data set as `load_shard` does; raises what it raises."""
        self._dealt = {split: _deal(data, devices, batch_size, split) for split in SPLITS}

    def source(self, split: Split) -> ImageSet:
        """Return what a split is taken from: all images of the source's split, memory-mapped."""
        return self._dealt[split].source

    def rows(self, device: int, split: Split) -> int:
        """Return how many images a device has of a split."""
        source, items = self.source(split), self._items(device, split)
        return len(items) if source.clips is None else int(source.clips.chunks[items].sum())

    def chunks(self, device: int, split: Split) -> tuple[int, ...] | None:
        """Return how many rows each of a device's recordings has; None where every row stands for itself."""
        clips = self.source(split).clips
        counts = () if clips is None else tuple(clips.chunks[self._items(device, split)].tolist())
        return counts if set(counts) - {1} else None

    def load(self, device: int, split: Split) -> ImageSet:
        """Return what a device has of a split, as copies."""
        return take_items(self.source(split), self._items(device, split))

    def _items(self, device: int, split: Split) -> torch.Tensor:
        dealt = self._dealt[split]
        return dealt.items[dealt.starts[device] : dealt.starts[device + 1]]


def _deal(data: DataConfig, devices: DevicesConfig, batch_size: int, split: Split) -> _Dealt:
    source = load_source(data, "test" if split == "test" else "train")
    count = len(source.labels) if source.clips is None else len(source.clips.chunks)
    items = torch.arange(count) if split == "test" else split_items(source, data, split)
    owners = find_owners(data, devices, batch_size, split, source, items)
    starts = torch.zeros(devices.count + 1, dtype=torch.int64)
    starts[1:] = owners.bincount(minlength=devices.count).cumsum(0)
    return _Dealt(source, items[owners.argsort(stable=True)], starts)
