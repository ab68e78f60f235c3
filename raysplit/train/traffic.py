"""Bytes on the link, counted from the messages that were sent, by direction and kind."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from raysplit.records.epoch import ByteCounts
from raysplit.wire.message import Kind, Message

_NAMES = {Kind.ACTIVATION: "activations", Kind.GRADIENT: "gradients", Kind.LABELS: "labels", Kind.WEIGHTS: "weights"}


class Traffic:
    """Counts the messages of one epoch; the evaluation pass stands beside the training traffic."""

    def __init__(self) -> None:
        self._bytes: Counter[str] = Counter()

    def count(self, message: Message, direction: Literal["up", "down"]) -> None:
        """Count one training message."""
        self._bytes[f"{direction}_{_NAMES[message.kind]}"] += len(message.body)
        self._bytes[f"{direction}_headers"] += message.header_bytes

    def count_evaluation(self, message: Message) -> None:
        """Count one message of an evaluation pass."""
        self._bytes["evaluation"] += message.size

    @property
    def counts(self) -> ByteCounts:
        """What was counted so far."""
        return ByteCounts(**self._bytes)
