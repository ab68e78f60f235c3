"""The models that a run keeps: one for each level of its family."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from raysplit.records.epoch import EpochRecord


@dataclass(frozen=True)
class LevelRecord:
    """Results and costs of one level of a family; accuracies are in 0..1."""

    level: str
    epochs: int
    test_accuracy: float
    val_accuracy: float
    bytes_per_sample_up: float
    """Frame bytes of the level's training epochs, per training image sent."""
    bytes_per_sample_down: float
    seconds: float
    """Seconds of the level's epochs, training and validation."""

    @property
    def bytes_per_sample(self) -> float:
        """Training bytes per image, both directions."""
        return self.bytes_per_sample_up + self.bytes_per_sample_down


def level_records(records: Iterable[EpochRecord], batch_size: int) -> list[LevelRecord]:
    """Return the levels of a run in order; an epoch with a `test_accuracy` ends a level.

    `batch_size` is that of the run, to count the images that were sent.

    >>> epochs = [EpochRecord(epoch=i, level="c4·b4/b4", steps=10, test_accuracy=accuracy) for i, accuracy in
    ...           enumerate((None, 0.9))]
    >>> [(level.epochs, level.test_accuracy) for level in level_records(epochs, batch_size=50)]
    [(2, 0.9)]
    """
    levels: list[LevelRecord] = []
    stage: list[EpochRecord] = []
    for record in records:
        stage.append(record)
        if record.test_accuracy is not None:
            levels.append(summarize_level(stage, record.test_accuracy, batch_size))
            stage = []
    return levels


def summarize_level(stage: Sequence[EpochRecord], test_accuracy: float, batch_size: int) -> LevelRecord:
    """Return results and costs of the epochs that a level took, with the test accuracy of the model that they left."""
    samples, last = sum(record.steps for record in stage) * batch_size, stage[-1]
    return LevelRecord(
        level=last.level,
        epochs=len(stage),
        test_accuracy=test_accuracy,
        val_accuracy=last.val_accuracy,
        bytes_per_sample_up=sum(record.bytes_up for record in stage) / samples,
        bytes_per_sample_down=sum(record.bytes_down for record in stage) / samples,
        seconds=sum(record.seconds for record in stage),
    )
