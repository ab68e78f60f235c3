"""What a step will cost on the link, before it is taken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from raysplit.compress.codec import Direction
from raysplit.compress.labels import pack_labels
from raysplit.compress.quantizing_codec import QuantizingCodec
from raysplit.compress.user_codec import build_codec
from raysplit.config import Level, SplitConfig
from raysplit.records.epoch import ByteCounts
from raysplit.schedules.base import Decision, RunContext
from raysplit.split import Cut
from raysplit.train.local_head import LocalHead, flatten
from raysplit.train.tail import level_back

_WAYS: tuple[Direction, Direction] = ("up", "down")


@dataclass(frozen=True)
class StepBytes:
    """Frame bytes of one optimizer step, headers and labels included."""

    up: int
    down: int
    exact: bool
    """False: upper bounds, because an entropy stage follows."""


def step_bytes(
    config: SplitConfig, level: Level, shape: Sequence[int], channel_dim: int, classes: int, back: Cut | None = None
) -> StepBytes:
    """Return the bytes of one optimizer step of joint training at a level.

    `shape` is what crosses, without the batch dimension; `back` is the second cut, with which labels do not.
    """
    k = config.train.in_flight
    micro = config.train.batch_size // k
    up = build_codec(config.codec, level, "up", channel_dim).estimate((micro, *shape))
    down = build_codec(config.codec, level, "down", channel_dim).estimate((micro, *shape))
    if back is not None:
        features, gradients = (
            build_codec(config.codec, level_back(level), way, back.channel_dim).estimate((micro, *back.shape)).bytes
            for way in _WAYS
        )
        return StepBytes(k * (up.bytes + gradients), k * (down.bytes + features), up.exact)
    labels = pack_labels(torch.zeros(micro, dtype=torch.int64), 0, classes).size
    return StepBytes(k * (up.bytes + labels), k * down.bytes, up.exact)


def count_levels(config: SplitConfig, decision: Decision, epoch: int, steps: int) -> Counter[Level]:
    """Return how many of the `steps` optimizer steps of an epoch (from 0) are at which level."""
    if not decision.mixture:
        return Counter({decision.level: steps})
    return Counter(decision.level_at(epoch * steps + step, config.train.seed) for step in range(steps))


def epoch_bytes(
    config: SplitConfig,
    decision: Decision,
    shape: Sequence[int],
    channel_dim: int,
    classes: int,
    epoch: int,
    steps: int,
    back: Cut | None = None,
) -> ByteCounts:
    """Return the most training bytes of an epoch (from 0) of `steps` optimizer steps; shapes as in `step_bytes`.

    All that goes up is counted with activations, all that comes down with gradients.
    """
    weights, up, down = 0, 0, 0
    for level, count in count_levels(config, decision, epoch, steps).items():
        step = step_bytes(config, level, shape, channel_dim, classes, back)
        up, down = up + count * step.up, down + count * step.down
    if decision.hand_over and config.train.local_loss is not None:
        with torch.device("meta"):
            weights = head_bytes(LocalHead(config.train.local_loss, tuple(shape), channel_dim, classes))
    return ByteCounts(
        up_activations=up if decision.mode in ("joint", "local", "frozen") else 0,
        up_weights=weights,
        down_gradients=down if decision.mode == "joint" else 0,
    )


def run_context(
    config: SplitConfig, shape: Sequence[int], channel_dim: int, classes: int, steps: int, back: Cut | None = None
) -> RunContext:
    """Return what a schedule knows of a run of `steps` optimizer steps an epoch; shapes as in `step_bytes`."""
    local_loss, frozen = config.train.local_loss is not None, config.device_rests

    def bound(level: Level) -> int:
        found = step_bytes(config, level, shape, channel_dim, classes, back)
        return found.up if local_loss or frozen else found.up + found.down

    return RunContext(config.train.epochs, steps, bound, local_loss, frozen, config.data.augment == "none")


def head_bytes(head: LocalHead) -> int:
    """Return the bytes of the message that hands the device's head over to the server, in fp16."""
    return QuantizingCodec(Level(up_bits=16), "up").estimate(flatten(head).shape).bytes
