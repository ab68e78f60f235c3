"""The models that a run kept along the way, from the rows of its record: the members of a prune family."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Member:
    """One level of a family; accuracies are in 0..1."""

    level: str
    epochs: int
    test_accuracy: float
    val_accuracy: float
    bytes_per_sample_up: float
    """Frame bytes of the level's training epochs for each training image that was sent."""
    bytes_per_sample_down: float
    seconds: float
    """Of the level's epochs, training and validation."""

    @property
    def bytes_per_sample(self) -> float:
        return self.bytes_per_sample_up + self.bytes_per_sample_down


def members(rows: Iterable[dict[str, Any]], batch_size: int) -> list[Member]:
    """Return what was kept in a run's rows, in order: an epoch with a `test_accuracy` ends a level."""
    found: list[Member] = []
    stage: list[dict[str, Any]] = []
    for row in rows:
        stage.append(row)
        if row.get("test_accuracy") is not None:
            found.append(_member(stage, batch_size))
            stage = []
    return found


def _member(stage: list[dict[str, Any]], batch_size: int) -> Member:
    samples, last = sum(row["steps"] for row in stage) * batch_size, stage[-1]

    def moved(direction: str) -> float:
        return sum(size for row in stage for key, size in row.items() if key.startswith(direction)) / samples

    return Member(
        level=last["level"],
        epochs=len(stage),
        test_accuracy=last["test_accuracy"],
        val_accuracy=last["val_accuracy"],
        bytes_per_sample_up=moved("up_"),
        bytes_per_sample_down=moved("down_"),
        seconds=sum(row["seconds"] for row in stage),
    )
