"""What the manifest of a family records."""

from __future__ import annotations

from typing import Literal

from raysplit.utils.frozen import Frozen

KIND = "family"
"""The kind of its bundle."""
FOLDER = "family"
"""Where a finished run has its family, in the run's folder."""


class FamilyLevel(Frozen):
    """One model of a family: the fields of `raysplit.records.levels.LevelRecord`, and its file."""

    level: str
    """As a level prints: `c4·b4/b4·zstd`."""
    file: str
    epochs: int
    test_accuracy: float
    val_accuracy: float
    bytes_per_sample_up: float
    bytes_per_sample_down: float
    seconds: float
    bytes_per_image: int
    """Size of one image's activation message in a batch of one, header included."""
    bytes_per_image_exact: bool
    """False for an upper bound, when an entropy coder follows."""


class FamilyManifest(Frozen):
    """What a family was trained on and what crosses its cut, with the results of each level."""

    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    """Channels, height and width of the images."""
    mean: tuple[float, ...]
    """Mean of each channel of the training images, in 0..1; with `std`, the normalization."""
    std: tuple[float, ...]
    cut: str
    channel_dim: int
    """Dimension of the channels in the batched tensor that crosses."""
    code_shape: tuple[int, ...]
    """Shape of what crosses, without the batch dimension."""
    answered_by: Literal["server", "head", "both"] = "server"
    """What predicts from the code: the server half, the head of a device that learned alone to the end, or the mean of
    the server half and a head that it took over."""
    levels: tuple[FamilyLevel, ...]
    """Those that a run kept, in the order in which they ended; of a run that kept none, the one that it ended with."""
