"""Which devices, schedules and parts of a run go together."""

from __future__ import annotations

from raysplit.config.data import DataConfig
from raysplit.config.devices import DevicesConfig
from raysplit.config.training import TrainConfig
from raysplit.schedules import ByteBudget, Fixed, FreezeAndCache, LinkAware, Nested, Prune, Schedule
from raysplit.wire.level import UNCOMPRESSED

GROUP_COLUMNS = ("speaker", "song", "group")
"""What recordings in folders are dealt by: all three are what `data.group` tells apart."""
LEVEL_OF_EACH = (LinkAware, ByteBudget)
"""Schedules that decide for each device on its own link or budget."""


def check_devices(devices: DevicesConfig, schedule: Schedule, data: DataConfig, device_rests: bool) -> None:
    """Raise ValueError for a schedule that a mode cannot follow, and for data that cannot be dealt as asked."""
    _check_column(devices, data)
    if devices.data and data.dataset is not None:
        raise ValueError("devices.data names a data set for each device, and data holds one in memory; leave one out")
    budgets = schedule.megabytes if isinstance(schedule, ByteBudget) else None
    if isinstance(budgets, tuple) and len(budgets) != devices.count:
        raise ValueError(
            f"schedule.megabytes has {len(budgets)} budgets for {devices.count} devices; give one for each, or one "
            "number for all"
        )
    if devices.mode == "splitfed_v1":
        one = "; set devices.mode to splitfed_v2 or merged"
        if isinstance(schedule, FreezeAndCache) or device_rests:
            raise ValueError(
                "splitfed_v1 has a server half for each device, and codes that are cached train one on all of them"
                + one
            )
        if isinstance(schedule, Nested):
            raise ValueError(
                "splitfed_v1 averages server halves, and nested keeps the batch-norm statistics of each level apart"
                + one
            )
    if isinstance(schedule, LEVEL_OF_EACH) and device_rests and devices.count > 1:
        raise ValueError(
            "the codes of frozen device halves are cached at one level, and this schedule decides for each device; set "
            "schedule.kind to fixed"
        )


def _check_column(devices: DevicesConfig, data: DataConfig) -> None:
    if devices.shards.kind != "column" or data.name.startswith("parquet:"):
        return
    if not data.name.startswith("audio:"):
        raise ValueError(
            f"devices.shards={devices.shards} reads a Parquet column or the speakers of audio:PATH, and data.name is "
            f"'{data.name}'"
        )
    if devices.shards.column not in GROUP_COLUMNS:
        raise ValueError(
            f"devices.shards={devices.shards}: recordings in folders have no columns; column(speaker) or column(song) "
            "deals them by what data.group tells apart"
        )


def check_fedavg(schedule: Schedule, plain_network: bool) -> None:
    """Raise ValueError where something is set that FedAvg, in which nothing crosses at a cut, does not have."""
    if not isinstance(schedule, Fixed) or schedule.level != UNCOMPRESSED:
        raise ValueError(
            "fedavg trains the whole network on each device, where nothing is compressed; set schedule.kind=fixed and "
            "schedule.level=all.b32/b32"
        )
    if not plain_network:
        raise ValueError(
            "fedavg has neither a bottleneck nor a local loss; set bottleneck and train.local_loss to null"
        )


def check_cut_back(cut: str, cut_back: str, devices: DevicesConfig, schedule: Schedule, train: TrainConfig) -> None:
    """Raise ValueError where something is set that a run with a second cut cannot follow."""
    one = "; or leave cut_back out"
    if cut == cut_back:
        raise ValueError(f"cut_back is '{cut_back}', which is cut too; name a later cut{one}")
    if devices.kind == "virtual":
        raise ValueError(f"virtual devices have no layers after a second cut; set devices.kind to real{one}")
    if devices.mode == "fedavg":
        raise ValueError(f"fedavg has no cut that anything crosses; set devices.mode to splitfed_v2{one}")
    if isinstance(schedule, FreezeAndCache) or train.local_loss is not None:
        raise ValueError(
            "with cut_back the labels stay on the device, and freeze_and_cache or a local loss trains the server on "
            f"its own; set schedule.kind to fixed and train.local_loss to null{one}"
        )
    if train.device_half == "frozen":
        raise ValueError(
            "train.device_half=frozen leaves the tail, which cut_back puts on the device, nothing to learn; set it to "
            f"trained, and freeze the first layers by train.freeze{one}"
        )
    if isinstance(schedule, Nested):
        raise ValueError(
            "nested keeps the batch-norm statistics of each level apart on the server, and with cut_back the last "
            f"layers are on the device; set schedule.kind to fixed or deprune{one}"
        )


def check_local_checkpoint(devices: DevicesConfig, schedule: Schedule) -> None:
    """Raise ValueError for devices without a disk, and for a schedule that keeps models, device half and all."""
    if devices.kind == "virtual":
        raise ValueError("virtual devices have no disks of their own; set checkpoint.device to server")
    if devices.source == "gateway":
        raise ValueError(
            "checkpoint.folder is one of the cluster's nodes, and a device that joins decides itself where it writes "
            "(raysplit join --states); set checkpoint.device to server"
        )
    if isinstance(schedule, Prune) or (isinstance(schedule, Nested) and any(phase.keep for phase in schedule.phases)):
        what = "prune" if isinstance(schedule, Prune) else "nested with keep"
        raise ValueError(
            f"{what} keeps the network of each level with the run, and checkpoint.device=local leaves the device half "
            "on the device; set checkpoint.device to server"
        )
