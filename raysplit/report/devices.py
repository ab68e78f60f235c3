"""The devices of a run side by side: as text for a terminal and as cells for a page."""

from __future__ import annotations

from collections.abc import Sequence

from raysplit.config import DevicesConfig
from raysplit.folders.reader import RunRecord
from raysplit.records.device import DeviceRecord
from raysplit.utils.text_table import align_table, megabytes, number, percent

DEVICE_COLUMNS = (
    "device",
    "levels",
    "rounds",
    "samples",
    "own acc.",
    "MB up",
    "MB down",
    "of them\nweights",
    "evaluation\nMB",
    "device s",
    "link s",
)
DEVICE_TEXT_COLUMNS = 2


def describe_devices(devices: DevicesConfig) -> str:
    """Return in a few words how the devices of a run train.

    >>> describe_devices(DevicesConfig(count=4, mode="merged", shards="dirichlet(0.5)", batch_norm="local"))
    '4 devices, merged, shards dirichlet(0.5), batch norm local'
    """
    parts = [f"{devices.count} devices", devices.mode]
    parts.append("data of their own" if devices.data else f"shards {devices.shards}")
    if devices.per_round is not None:
        parts.append(f"{devices.per_round} in a round")
    if devices.batch_norm == "local":
        parts.append("batch norm local")
    return ", ".join(parts)


def device_table(run: RunRecord) -> str:
    """Return the devices of a run as an aligned plain-text table; "" for a run of one device.

    Accuracy is that on the device's own validation images after its last round; MB are 10⁶ bytes of training traffic.
    """
    cells = device_cells(run)
    return align_table(DEVICE_COLUMNS, cells, DEVICE_TEXT_COLUMNS) if cells else ""


def device_cells(run: RunRecord) -> list[tuple[str, ...]]:
    """Return a row of cells for each device of a run that took part, in the order of DEVICE_COLUMNS."""
    own: dict[int, list[DeviceRecord]] = {}
    for record in run.devices:
        own.setdefault(record.device, []).append(record)
    return [_row(device, own[device]) for device in sorted(own)]


def _row(device: int, records: Sequence[DeviceRecord]) -> tuple[str, ...]:
    epochs = [record.epoch for record in records]
    levels = list(dict.fromkeys(epoch.level for epoch in epochs))
    weights = sum(epoch.bytes.up_weights + epoch.bytes.down_weights for epoch in epochs)
    return (
        str(device),
        " → ".join(levels),
        str(len(epochs)),
        f"{sum(record.samples for record in records):,}",
        percent(epochs[-1].val_accuracy),
        megabytes(sum(epoch.bytes_up for epoch in epochs)),
        megabytes(sum(epoch.bytes_down for epoch in epochs)),
        megabytes(weights),
        megabytes(sum(epoch.bytes.evaluation for epoch in epochs)),
        number(sum(epoch.device_s for epoch in epochs)),
        number(sum(epoch.link_s for epoch in epochs)),
    )
