"""What one of many devices has of a data set."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch

from raysplit.config import DataConfig, DevicesConfig
from raysplit.data.clips import label_clips
from raysplit.data.images import ImageSet, find_part, load, load_source, split_items, take_items
from raysplit.data.parquet import read_column
from raysplit.data.shards import deal, deal_values, draw_shares
from raysplit.errors import DataError, nearest

Split = Literal["train", "val", "test"]


def load_shard(data: DataConfig, devices: DevicesConfig, index: int, batch_size: int, split: Split) -> ImageSet:
    """Return what device `index` has of a split: all of it where there is one device, or where it has data of its own.

    The shards of all devices are drawn by `data.split_seed`; together they hold every row of the split once. Of
    recordings, all chunks of one are on the same device. Raises DataError where a device has fewer training rows than a
    batch of `batch_size`, and as `load`.

    >>> pairs = [(torch.rand(1, 8, 8), index % 2) for index in range(50)]
    >>> devices = DevicesConfig(count=2, shards="classes(1)")
    >>> load_shard(DataConfig(dataset=pairs), devices, 0, batch_size=4, split="test").labels.unique().numel()
    1
    """
    if devices.data:
        own = load(data.replaced(name=devices.data[index]), split)
        return _number_alike(own, devices.classes, f"device {index} ({devices.data[index]})")
    if devices.count == 1:
        return load(data, split)
    full = load_source(data, "test" if split == "test" else "train")
    items = torch.arange(_count(full)) if split == "test" else split_items(full, data, split)
    owners = find_owners(data, devices, batch_size, split, full, items)
    return take_items(full, items[owners == index])


def _number_alike(own: ImageSet, classes: tuple[str, ...], who: str) -> ImageSet:
    """Return a device's images with labels that number `classes`; DataError for a class that is not one of them."""
    if not classes:
        return own
    for name in own.classes:
        if name not in classes:
            raise DataError(
                f"{who} has the class '{name}', which is not one of devices.classes. {nearest(name, classes)} Add it "
                "there, or rename it on the device"
            )
    numbers = torch.tensor([classes.index(name) for name in own.classes])
    return replace(own, labels=numbers[own.labels], classes=classes)


def find_owners(
    data: DataConfig, devices: DevicesConfig, batch_size: int, split: Split, full: ImageSet, items: torch.Tensor
) -> torch.Tensor:
    """Return the device of each of the `items` of a split of the source split `full`, int64 (len(items),).

    A virtual device may have fewer training rows than a batch, or none, where there are not enough for all.
    """
    shards, seed = devices.shards, data.split_seed
    train_source = load_source(data, "train") if split == "test" else full
    trained = split_items(train_source, data, "train")
    if shards.kind == "column":
        column = shards.column or ""
        train = _values(data, "train", column, train_source)
        own = _values(data, "test", column, full) if split == "test" else train
        return deal_values(
            [own[item] for item in items.tolist()], [train[item] for item in trained.tolist()], devices.count, column
        )
    labels = _labels(train_source)[trained]
    virtual = devices.kind == "virtual"
    least = 0 if virtual and devices.count * batch_size > len(labels) else batch_size
    shares = draw_shares(shards, labels, len(full.classes), devices.count, seed, least, required=not virtual)
    return deal(shards, shares, _labels(full)[items], seed, split)


def _values(data: DataConfig, split: Literal["train", "test"], column: str, full: ImageSet) -> list[str]:
    if data.name.startswith("audio:"):
        values = [row.group for row in find_part(data, split).rows()]
    else:
        values = read_column(data, split, column)
    if len(values) != _count(full):
        raise DataError(
            f"devices.shards=column({column}): {len(values) - _count(full)} bad rows of the {split} split were left "
            "out, so that its values do not fit the rows; set data.on_bad_rows=raise, and mend or remove them"
        )
    return values


def _labels(full: ImageSet) -> torch.Tensor:
    return full.labels if full.clips is None else label_clips(full.labels, full.clips.chunks.tolist())


def _count(full: ImageSet) -> int:
    return len(full.labels) if full.clips is None else len(full.clips.chunks)
