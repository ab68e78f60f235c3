"""One epoch of a run: a row of the run record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Literal

Mode = Literal["joint", "local", "alone", "frozen", "cached"]
"""What an epoch sends and which half it trains (docs/methods.md).

joint: activations go up, gradients come down. local: the device trains on its own loss, the server on the activations;
nothing comes down. alone: the device trains on its own loss; nothing crosses. frozen: the device half is frozen, the
server trains on the activations and caches them. cached: the server trains on its cache; nothing crosses."""

Cell = str | int | float | None
_PREDICTED = ("predicted_", "_s")


@dataclass(frozen=True)
class ByteCounts:
    """Bytes of the messages that crossed, by direction and kind; headers are counted separately from bodies.

    >>> counts = ByteCounts(up_activations=900, up_headers=27, down_gradients=800, down_headers=27, evaluation=300)
    >>> counts.up, counts.down, counts.traffic
    (927, 827, 1754)
    """

    up_activations: int = 0
    up_labels: int = 0
    up_gradients: int = 0
    """At a second cut."""
    up_weights: int = 0
    up_headers: int = 0
    down_gradients: int = 0
    down_activations: int = 0
    """At a second cut."""
    down_weights: int = 0
    down_headers: int = 0
    evaluation: int = 0
    """Bytes of the validation pass, headers included; not part of the training traffic."""

    @property
    def up(self) -> int:
        """Training bytes from device to server."""
        return self.up_activations + self.up_labels + self.up_gradients + self.up_weights + self.up_headers

    @property
    def down(self) -> int:
        """Training bytes from server to device."""
        return self.down_gradients + self.down_activations + self.down_weights + self.down_headers

    @property
    def traffic(self) -> int:
        """Training bytes in both directions."""
        return self.up + self.down


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """Results and costs of one epoch: a row of `metrics.parquet` (docs/run-record.md).

    Accuracies are in 0..1. A value that was not measured is 0.

    >>> EpochRecord(epoch=0, level="c4·b4/b4", steps=3, bytes=ByteCounts(up_activations=90, down_gradients=80)).traffic
    170
    """

    epoch: int
    """From 0."""
    level: str
    """The text of the level: `c4·b4/b4·zstd`."""
    mode: Mode = "joint"
    reason: str = ""
    """Why the schedule chose the level."""
    lr: float = 0.0
    """Learning rate of the epoch's last optimizer step."""
    lr_device: float = 0.0
    """The same of the device half; 0 where it is not trained."""
    train_loss: float = 0.0
    train_accuracy: float = 0.0
    val_loss: float = 0.0
    val_accuracy: float = 0.0
    steps: int
    """Optimizer steps."""
    val_batches: int = 0
    bytes: ByteCounts = field(default_factory=ByteCounts)
    test_accuracy: float | None = None
    """Test accuracy of the model that was kept at the end of the epoch; None if none was kept."""
    evaluation_test: int = 0
    """Bytes of the test pass of a kept model."""
    train_s: float = 0.0
    """Seconds of training, without validation."""
    train_compute_s: float = 0.0
    """The part of `train_s` in which either half computed."""
    seconds: float = 0.0
    """Seconds of training and validation."""
    device_s: float = 0.0
    server_s: float = 0.0
    link_s: float = 0.0
    """Seconds in which neither half computed: exact in lock-step, a lower bound with micro-batches in flight."""
    wait_s: float = 0.0
    """Seconds in which the server waited for the device."""
    threads_device: int = 0
    threads_server: int = 0
    node_device: str = ""
    """Where the device half ran: the host's name; on a Ray cluster, the first digits of the node's id too."""
    node_server: str = ""
    virtual_s: float = 0.0
    """Seconds that a round of virtual devices would have taken, and before it the wait for the first of them."""
    predicted_s: Mapping[str, float] = field(default_factory=dict)
    """Seconds that the epoch would have taken over each named link."""

    @property
    def bytes_up(self) -> int:
        """Training bytes from device to server."""
        return self.bytes.up

    @property
    def bytes_down(self) -> int:
        """Training bytes from server to device."""
        return self.bytes.down

    @property
    def traffic(self) -> int:
        """Training bytes in both directions."""
        return self.bytes.traffic

    @property
    def train_link_s(self) -> float:
        """Seconds of training in which neither half computed."""
        return max(0.0, self.train_s - self.train_compute_s)

    def to_row(self) -> dict[str, Cell]:
        """Return the record as a flat row, its columns in the order they have on disk."""
        row: dict[str, Cell] = {}
        for entry in fields(self):
            value = getattr(self, entry.name)
            if entry.name == "bytes":
                row |= asdict(value)
            elif entry.name == "predicted_s":
                row |= {name.join(_PREDICTED): seconds for name, seconds in value.items()}
            else:
                row[entry.name] = value
        return row

    @classmethod
    def from_row(cls, row: Mapping[str, Cell]) -> EpochRecord:
        """Read a row of `metrics.parquet`, written by any version; unknown columns and empty cells are ignored.

        Raises KeyError or TypeError for a row without the columns that every record has.

        >>> record = EpochRecord(epoch=0, level="c4·b4/b4", steps=3, predicted_s={"lte": 1.5})
        >>> record.to_row()["predicted_lte_s"], EpochRecord.from_row(record.to_row()) == record
        (1.5, True)
        """
        _ = row["epoch"], row["level"], row["steps"]
        start, end = _PREDICTED
        predicted = {
            name.removeprefix(start).removesuffix(end): value
            for name, value in row.items()
            if name.startswith(start) and name.endswith(end) and value is not None
        }
        own = {entry.name for entry in fields(cls)} - {"bytes", "predicted_s"}
        counts = {entry.name: row[entry.name] for entry in fields(ByteCounts) if row.get(entry.name) is not None}
        return cls(
            **{name: value for name, value in row.items() if name in own and value is not None},  # type: ignore[arg-type]
            bytes=ByteCounts(**counts),  # type: ignore[arg-type]
            predicted_s=predicted,  # type: ignore[arg-type]
        )


def total_traffic(records: Iterable[EpochRecord]) -> int:
    """Return the training bytes of some epochs, both directions.

    >>> total_traffic([EpochRecord(epoch=i, level="c4·b4/b4", steps=3, bytes=ByteCounts(up_labels=5)) for i in (0, 1)])
    10
    """
    return sum(record.traffic for record in records)
