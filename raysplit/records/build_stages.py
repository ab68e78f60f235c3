"""What each stage of an ensemble's build leaves on record: the `record.json` files and `data.json` of its folder."""

from __future__ import annotations

from typing import Any

from pydantic import SerializerFunctionWrapHandler, model_serializer

from raysplit.utils.frozen import Record


class ClassifierEpoch(Record):
    """One epoch of a plain classifier's training."""

    epoch: int
    """From 0."""
    loss: float
    """Mean over the training steps."""
    seconds: float
    """Of training, validation excluded."""
    val_accuracy: float | None = None
    """In 0..1; None, and left out of the JSON: not measured."""

    @model_serializer(mode="wrap")
    def _omit_unmeasured(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in serialize(self).items() if value is not None}


class Normalization(Record):
    """What the channels of an image are normalized by: a number for each, in 0..1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


class BaseRecord(Record):
    """The base's training; an imported base has no epochs."""

    epochs: tuple[ClassifierEpoch, ...] = ()
    weights: str | None = None
    """sha256 of the weights that it started from, or is; None: it started from random ones, or it is not recorded."""

    @property
    def seconds(self) -> float:
        """Seconds of training, all epochs."""
        return sum(epoch.seconds for epoch in self.epochs)


class SubmodelRecord(Record):
    """How one sub-model, or a common network, was made."""

    score_s: float
    """Seconds of scoring and pruning."""
    seconds: float
    """Seconds of all its work, `score_s` included."""
    epochs: tuple[ClassifierEpoch, ...] = ()
    """Of retraining."""


class FusionEpoch(Record):
    """One epoch of the fusion's training, no sub-model missing in validation."""

    epoch: int
    """From 0."""
    loss: float
    """Mean over the training steps."""
    val_loss: float
    val_accuracy: float
    """In 0..1."""


class FusionRecord(Record):
    """How the fusion was trained."""

    widths: tuple[int, ...]
    """Features of each sub-model."""
    epochs: tuple[FusionEpoch, ...]
    seconds: float
    """Of computing the features and training."""


class SplitFingerprint(Record):
    """Identifies the labels of one split."""

    rows: int
    sha256: str
    """Of the labels as int64, in hex."""


class DataFingerprint(Record):
    """Identifies the data a build was started with."""

    train: SplitFingerprint
    val: SplitFingerprint
    test: SplitFingerprint

    def first_difference(self, other: DataFingerprint) -> str | None:
        """Return the first split in which two data sets differ, or None.

        >>> split = SplitFingerprint(rows=8, sha256="ab")
        >>> one = DataFingerprint(train=split, val=split, test=split)
        >>> one.first_difference(one.model_copy(update={"val": SplitFingerprint(rows=7, sha256="ab")}))
        'val'
        """
        return next((split for split in type(self).model_fields if getattr(self, split) != getattr(other, split)), None)
