"""A finished run in one object."""

from __future__ import annotations

from pydantic import Field

from raysplit.utils.frozen import Record


class RunSummary(Record):
    """What a run came to: `summary.json` of its folder (docs/run-record.md). Bytes are frame bytes."""

    recipe: str
    accuracy: float
    """Of the test split, in 0..1."""
    bytes_up: int
    """Training bytes from device to server."""
    bytes_down: int
    seconds: float
    """Of all epochs, training and validation."""
    run_dir: str
    val_accuracy: float
    """After the last epoch, in 0..1."""
    bytes_evaluation: int
    bytes_checkpoint: int
    """Of the device half's state that checkpoints brought up and restores took down."""
    bytes_fp32: int
    """Of uncompressed fp32 split training of as many epochs."""
    bytes_raw_upload: int
    """Of the training images as uint8 pixels, uploaded once."""
    times_less: float
    """Training traffic as a reduction factor against `bytes_fp32`."""
    times_less_than_upload: float
    """The same against `bytes_raw_upload`."""
    device_s: float
    server_s: float
    link_s: float
    wait_s: float
    predicted_s: dict[str, float] = Field(default_factory=dict)
    """Seconds that the run would have taken over each named link."""
    skipped_rows: int
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    """Channels, height and width of the images."""
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def traffic(self) -> int:
        """Training bytes in both directions."""
        return self.bytes_up + self.bytes_down
