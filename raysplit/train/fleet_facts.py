"""What the devices of a run tell, held against each other and added up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from raysplit.config import SplitConfig
from raysplit.errors import ConfigError, DataError
from raysplit.train.device import DeviceFacts


def name_device(config: SplitConfig, index: int) -> str:
    """Return how errors name a device: by its number, and its data where they are its own."""
    own = f" ({config.devices.data[index]})" if index < len(config.devices.data) else ""
    return f"device {index}{own}"


def require_rows(config: SplitConfig, found: Sequence[DeviceFacts]) -> None:
    """Raise DataError for a device whose training rows do not fill a batch.

    A virtual device trains on batches of what it has, or on none.
    """
    if config.devices.kind == "virtual":
        _require_micro_batches(config, found)
        return
    for index, facts in enumerate(found):
        if facts.train_rows < config.train.batch_size:
            who = f" on {name_device(config, index)}" if len(found) > 1 else ""
            raise DataError(
                f"{config.data.name}: {facts.train_rows} training rows{who} do not fill a batch of "
                f"{config.train.batch_size}; lower train.batch_size"
            )


def _require_micro_batches(config: SplitConfig, found: Sequence[DeviceFacts]) -> None:
    in_flight = config.train.in_flight
    for index, facts in enumerate(found):
        if 0 < facts.train_rows < in_flight:
            raise DataError(
                f"{config.data.name}: {facts.train_rows} training rows on device {index} cannot be {in_flight} "
                "micro-batches; set train.in_flight=1, or lower devices.count"
            )


def join_facts(config: SplitConfig, found: Sequence[DeviceFacts]) -> DeviceFacts:
    """Return what is known of all devices together.

    Raises DataError where they do not have the same classes, in the same order, and the same shape of images, and
    ConfigError where they start from other weights.
    """
    first = found[0]
    for index, facts in enumerate(found[1:], start=1):
        who, one = name_device(config, index), name_device(config, 0)
        if facts.classes != first.classes:
            raise DataError(_describe_classes(who, facts.classes, one, first.classes))
        if facts.shape != first.shape:
            raise DataError(
                f"{who} has images of {_times(facts.shape)} (channels×height×width), {one} of {_times(first.shape)}; "
                "set data.size and data.channels"
            )
        if facts.weights != first.weights or facts.normalized_by != first.normalized_by:
            raise ConfigError(
                f"{who} starts from other weights than {one}: '{config.model.weights or config.model.name}' differs "
                "between the two machines; copy the same file to both"
            )
    if len(found) == 1:
        return first
    mean, std = agree_on(found) or (first.mean, first.std)
    return replace(
        first,
        train_rows=sum(facts.train_rows for facts in found),
        val_rows=sum(facts.val_rows for facts in found),
        test_rows=sum(facts.test_rows for facts in found),
        skipped_rows=sum(facts.skipped_rows for facts in found) if config.devices.own_data else first.skipped_rows,
        raw_bytes=sum(facts.raw_bytes for facts in found),
        mean=mean,
        std=std,
        node=", ".join(dict.fromkeys(facts.node for facts in found)),
        val_chunks=None,
        test_chunks=None,
    )


def agree_on(found: Sequence[DeviceFacts]) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return mean and deviation of all devices' training images from those of each; None where weights say them."""
    if found[0].normalized_by == "weights":
        return None
    if len({(facts.mean, facts.std) for facts in found}) == 1:
        return found[0].mean, found[0].std
    rows = [facts.train_rows for facts in found]
    mean, std = [], []
    for channel in range(len(found[0].mean)):
        means, stds = [facts.mean[channel] for facts in found], [facts.std[channel] for facts in found]
        mean.append(_mean(means, rows))
        square = _mean([m * m + s * s for m, s in zip(means, stds, strict=True)], rows)
        std.append(math.sqrt(max(square - mean[-1] ** 2, 1 / 255**2)))
    return tuple(mean), tuple(std)


def _mean(values: Sequence[float], weights: Sequence[int]) -> float:
    return math.fsum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)


def _describe_classes(who: str, own: Sequence[str], other: str, classes: Sequence[str]) -> str:
    lacking = [name for name in classes if name not in own]
    more = [name for name in own if name not in classes]
    remedy = "give all devices the same classes, or name those of all in devices.classes"
    if more:
        return f"{who} has the class '{more[0]}', which {other} does not have; {remedy}"
    if lacking:
        return f"{who} does not have the class '{lacking[0]}', which {other} has; {remedy}"
    return f"{who} numbers its classes otherwise than {other} ({own[0]}, … and {classes[0]}, …); {remedy}"


def _times(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))
