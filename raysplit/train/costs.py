"""What a step will cost on the link, before it is taken."""

from __future__ import annotations

import torch

from raysplit.compress.codec import Codec, pack_labels
from raysplit.config import Level, SplitConfig
from raysplit.train.local_head import LocalHead, flatten


def step_bytes(
    config: SplitConfig, level: Level, shape: tuple[int, ...], channel_dim: int, classes: int
) -> tuple[int, int, bool]:
    """Return bytes up, bytes down and whether they are exact (else an upper bound) for one optimiser step.

    `shape` is what crosses, without the batch dimension.
    """
    micro = config.train.batch_size // config.train.in_flight
    up = Codec(level, "up", channel_dim).estimate((micro, *shape))
    down = Codec(level, "down", channel_dim).estimate((micro, *shape))
    labels = pack_labels(torch.zeros(micro, dtype=torch.int64), 0, classes).size
    return config.train.in_flight * (up.bytes + labels), config.train.in_flight * down.bytes, up.exact


def head_bytes(head: LocalHead) -> int:
    """Return the bytes of the message that hands the device's head over to the server, in fp16."""
    return Codec(Level(up_bits=16), "up").estimate(flatten(head).shape).bytes
