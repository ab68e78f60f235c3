"""Bytes on the link, counted from the messages that were sent, by direction and kind."""

from __future__ import annotations

from collections import Counter

from raysplit.compress.message import Kind, Message

_NAMES = {Kind.ACTIVATION: "activations", Kind.GRADIENT: "gradients", Kind.LABELS: "labels", Kind.WEIGHTS: "weights"}
UP = ("up_activations", "up_labels", "up_weights", "up_headers")
DOWN = ("down_gradients", "down_headers")


class Traffic:
    """Counts of one epoch. Training traffic is UP + DOWN; evaluation passes stand beside it."""

    def __init__(self) -> None:
        self.bytes: Counter[str] = Counter(dict.fromkeys((*UP, *DOWN, "evaluation"), 0))

    def count(self, message: Message, direction: str) -> None:
        """Count one training message, `up` or `down`."""
        self.bytes[f"{direction}_{_NAMES[message.kind]}"] += len(message.body)
        self.bytes[f"{direction}_headers"] += message.header_bytes

    def count_evaluation(self, message: Message) -> None:
        self.bytes["evaluation"] += message.size
