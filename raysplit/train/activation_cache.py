"""What the server caches of a frozen device half: its messages as they came, replayed in later epochs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from raysplit.wire.message import Message, parse

Pair = tuple[Message, Message]
"""Activation and labels of one micro-batch."""
_MIXED = 16
"""Messages whose samples are shuffled together in a replay."""


def shift_codes(z: torch.Tensor, seed: int) -> torch.Tensor:
    """Shift each sample of a grid z, shape (N, C, H, W), by −1, 0 or 1 cells along both axes, repeating the edge.

    This is the augmentation that remains possible once images no longer cross: a cell of an 8×8 grid covers 4 pixels
    of a 32-pixel image.

    >>> shift_codes(torch.ones(2, 3, 4, 4), seed=0).shape
    torch.Size([2, 3, 4, 4])
    """
    count, _, height, width = z.shape
    generator = torch.Generator().manual_seed(seed)
    dy, dx = torch.randint(-1, 2, (2, count, 1), generator=generator).to(z.device)
    rows = (torch.arange(height, device=z.device) + dy).clamp_(0, height - 1)
    columns = (torch.arange(width, device=z.device) + dx).clamp_(0, width - 1)
    moved = z.gather(2, rows[:, None, :, None].expand_as(z))
    return moved.gather(3, columns[:, None, None, :].expand_as(z))


class ActivationCache:
    """Packed messages, one list for each view of the training data; they take as many bytes as they took to send."""

    def __init__(self) -> None:
        self._views: list[list[tuple[bytes, bytes]]] = []
        self._level: str | None = None
        self.validation: dict[int, list[tuple[bytes, bytes]]] = {}
        """Each device's messages of its validation split, which do not change while the device half is frozen."""

    def begin(self, level: str, fresh: bool) -> None:
        """Prepare for an epoch whose messages are cached; `fresh` discards all earlier views."""
        if fresh:
            self._views = []
        if self._level not in (None, level):
            self.validation = {}  # it crossed at another level
        self._level = level

    def new_view(self) -> None:
        """Begin a pass over the training data."""
        self._views.append([])

    def add(self, activation: Message, labels: Message) -> None:
        """Add a micro-batch to the newest view."""
        self._views[-1].append((activation.to_bytes(), labels.to_bytes()))

    def replay(self, turn: int, seed: int) -> Iterator[list[Pair]]:
        """Yield the messages of view `turn` (modulo the number of views) in groups, shuffled by `seed`."""
        view = self._views[turn % len(self._views)]
        order = torch.randperm(len(view), generator=torch.Generator().manual_seed(seed)).tolist()
        for first in range(0, len(order), _MIXED):
            yield [(parse(view[i][0]), parse(view[i][1])) for i in order[first : first + _MIXED]]

    def state(self) -> dict[str, Any]:
        """Return everything that is cached, for a checkpoint."""
        return {"views": self._views, "validation": self.validation, "level": self._level}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state that `state` returned."""
        self._views = [list(view) for view in state["views"]]
        kept = state["validation"]  # older runs: of one device
        self.validation = {
            device: list(pairs) for device, pairs in (kept.items() if isinstance(kept, dict) else [(0, kept)])
        }
        self._level = state.get("level")  # the checkpoints of older runs lack it
