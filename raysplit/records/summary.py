"""The summary of a finished run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from raysplit.utils.frozen import Record

SplitName = Literal["train", "validation", "test"]
"""A split as data sets have it, before `data.val_fraction` of train is held out."""


def describe_test_from(split: SplitName | None) -> str | None:
    """Return what serves as the test split in words; None where it is one, or not recorded.

    >>> describe_test_from("validation")
    'the validation split'
    """
    if split == "train":
        return "a fifth of the training split, held out"
    return "the validation split" if split == "validation" else None


class RunSummary(Record):
    """Results and costs of a finished run: `summary.json` of its folder (docs/run-record.md).

    Bytes are frame bytes: bodies and headers of messages.

    >>> from raysplit import read_run
    >>> summary = read_run("run").summary
    >>> summary.traffic == summary.bytes_up + summary.bytes_down < summary.bytes_fp32
    True
    """

    recipe: str
    accuracy: float
    """Test accuracy, in 0..1."""
    test_from: SplitName | None = None
    """The split of the data set that the test images are from: `test`; `validation`, where no test split has labels;
    `train`, where there is neither: a fifth of it, drawn with a fixed seed, not trained on. None: not recorded."""
    bytes_up: int
    """Training bytes from device to server."""
    bytes_down: int
    """Training bytes from server to device."""
    seconds: float
    """Seconds of all epochs, training and validation."""
    run_dir: str
    val_accuracy: float
    """Validation accuracy after the last epoch, in 0..1."""
    bytes_evaluation: int
    """Bytes of all validation and test passes."""
    bytes_checkpoint: int
    """Bytes of the device half's state that crossed for checkpoints (up) and restores (down)."""
    bytes_fp32: int
    """Bytes of uncompressed fp32 split training for the same number of epochs."""
    bytes_raw_upload: int
    """Bytes of the training images as uint8 pixels, uploaded once."""
    times_less: float
    """Reduction: `bytes_fp32` divided by the run's training traffic, which counts as one byte where nothing crosses."""
    times_less_than_upload: float
    """`bytes_raw_upload` divided by the run's training traffic; below 1, the upload would have been cheaper.
    Traffic as above."""
    device_s: float
    """Seconds in which the device computed; this and the next three are sums over all epochs."""
    server_s: float
    link_s: float
    """Seconds in which neither half computed."""
    wait_s: float
    """Seconds in which the server waited for the device."""
    predicted_s: dict[str, float] = Field(default_factory=dict)
    """Seconds that the run would have taken over each named link."""
    skipped_rows: int
    """Rows of the data set that could not be read."""
    classes: tuple[str, ...]
    """Names of the classes."""
    shape: tuple[int, int, int]
    """Channels, height and width of the images."""
    mean: tuple[float, ...]
    """Of each channel, in 0..1; with `std`, the normalization of the images."""
    std: tuple[float, ...]
    normalized_by: Literal["data", "weights"] = "data"
    """Whether those are of the training images or what the weights expect."""
    weights: str | None = None
    """sha256 of the weights that the run started from; None: they were random."""

    @property
    def traffic(self) -> int:
        """Training bytes in both directions."""
        return self.bytes_up + self.bytes_down
