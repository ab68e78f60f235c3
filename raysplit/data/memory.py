"""Data sets in memory: any map-style data set of pairs (image, label), torch's and torchvision's among them.

An image is a PIL image; a uint8 tensor (1 or 3, H, W) or (H, W); a floating tensor of these shapes with values in 0..1,
as torchvision's ToTensor gives them; or a uint8 array (H, W) or (H, W, 3). A label is an integer from 0.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from raysplit.config import DataConfig
from raysplit.config.in_memory import PREFIX, InMemoryData
from raysplit.data.decoded import Decoded, decode_part
from raysplit.data.schema import MOST_UNNAMED_CLASSES, Classes, Part, Row, Source, draw_test_rows, number_classes
from raysplit.errors import DataError
from raysplit.utils.user_code import lost_object


def data_in_memory(config: DataConfig) -> InMemoryData | None:
    """Return the data sets that a config holds; None for a config that names its data.

    Raises ConfigError for a config that was read from a record of data in memory.

    >>> data_in_memory(DataConfig(name="cifar10")) is None
    True
    """
    if config.dataset is None and config.name.startswith(PREFIX):
        raise lost_object("data", config.name.removeprefix(PREFIX), "write it to files with raysplit.data.export")
    return config.dataset


def memory_part(data: InMemoryData, config: DataConfig, split: Source) -> Part:
    """Return one split; of a data set without a test split, a fifth drawn with a fixed seed is the test split.

    Class names are the data set's `classes` where it has them (a Subset's those of its data set), else numbers; for
    these, and to leave out those that do not occur, every label is read. Raises DataError for what is not a pair of
    image and label.
    """
    return _part(data, config, split, _classes(data, config).names)


def decode_memory(data: InMemoryData, config: DataConfig, split: Source) -> Decoded:
    """Return the decoded images and labels of a split; each sample is read once, however often they are asked for."""
    decoded, numbers = _decode(data, config, split), _classes(data, config).numbers
    if not numbers:
        return decoded
    return decoded._replace(labels=torch.tensor([numbers[label] for label in decoded.labels.tolist()]))


def _classes(data: InMemoryData, config: DataConfig) -> Classes:
    names = _class_names(data.train)
    if names is not None and config.unused_labels == "keep":
        return Classes(names, {})
    used = {label for split in ("train", "test") for label in _decode(data, config, split).labels.tolist()}
    return number_classes(config.name, used, names, config.unused_labels)


def _decode(data: InMemoryData, config: DataConfig, split: Source) -> Decoded:
    """Return a split's images with the labels as the data set has them."""
    key = split, config.size, config.channels, config.on_bad_rows
    if key not in data.decoded:
        names = _class_names(data.train) or tuple(map(str, range(MOST_UNNAMED_CLASSES)))
        data.decoded[key] = decode_part(_part(data, config, split, names), config, config.channels)
    decoded: Decoded = data.decoded[key]
    return decoded


def _part(data: InMemoryData, config: DataConfig, split: Source, classes: tuple[str, ...]) -> Part:
    dataset = data.train
    indices: Sequence[int] = range(len(dataset))
    where = f"{config.name} ({split})"
    if data.test is None:
        mask = draw_test_rows(len(dataset))
        indices = np.flatnonzero(mask if split == "test" else ~mask).tolist()
    elif split == "test":
        dataset, indices = data.test, range(len(data.test))
    taken_from = "train" if data.test is None else split
    return Part(where, classes, (), len(indices), taken_from, lambda: _rows(dataset, indices, where))


def _rows(dataset: Any, indices: Sequence[int], where: str) -> Iterator[Row]:
    for index in indices:
        sample = dataset[index]
        if not isinstance(sample, tuple | list) or len(sample) != 2:
            raise DataError(f"{where} item {index} is a {type(sample).__name__}, expected a pair (image, label)")
        image, label = sample
        try:
            number = operator.index(label)
        except (TypeError, ValueError):
            raise DataError(f"{where} item {index}: label {label!r} is not an integer") from None
        yield Row(f"{where} item {index}", image, number)


def _class_names(dataset: Any) -> tuple[str, ...] | None:
    while (names := getattr(dataset, "classes", None)) is None and hasattr(dataset, "dataset"):
        dataset = dataset.dataset
    return tuple(map(str, names)) if names else None
