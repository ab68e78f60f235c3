"""The config of a run: one frozen object that decides everything. All defaults are here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from raysplit.config.checkpoint import CheckpointConfig
from raysplit.config.data import DataConfig
from raysplit.config.device_checks import check_cut_back, check_devices, check_fedavg, check_local_checkpoint
from raysplit.config.devices import DevicesConfig
from raysplit.config.in_memory import AnyCodec
from raysplit.config.model import ModelConfig
from raysplit.config.monitors import Monitors
from raysplit.config.training import TrainConfig
from raysplit.errors import ConfigError
from raysplit.schedules import (
    AnySchedule,
    Fixed,
    FreezeAndCache,
    Phased,
    Prune,
    ScheduleRecord,
    UserSchedule,
    list_levels,
)
from raysplit.utils.frozen import Frozen, Name
from raysplit.utils.settings import with_settings
from raysplit.wire.level import Level


class BottleneckConfig(Frozen):
    """The trainable compression-decompression module at the cut (docs/methods.md).

    >>> BottleneckConfig(stride=2).mode
    'raysplit'
    """

    mode: Literal["paper", "raysplit"] = "raysplit"
    start: Literal["random", "identity"] = "identity"
    """What encoder and decoder are before training: `identity` adds what they learn to what passes through, so that a
    network with all channels at fp32 starts as the plain network; `random` is the published module."""
    order: Literal["learned", "fixed"] = "fixed"
    """Which channels a budget keeps: those with the largest trained logits, or always the first."""
    stride: Literal[1, 2, 3] = 1
    """r: the convolution's stride; 2 and 3 also shrink the grid."""
    penalty: Annotated[float, Field(ge=0)] = 1000.0
    """ε of the budget penalty."""
    sharpness: Annotated[float, Field(gt=0)] = 0.01
    """δ of the budget penalty; in `raysplit` mode it shrinks by 128/C on cuts of more than 128 channels."""

    @model_validator(mode="before")
    @classmethod
    def _published(cls, value: Any) -> Any:
        """What is not said of start and order is as published in paper mode, with a stride, and in earlier files."""
        if isinstance(value, dict):
            earlier = {"mode", "stride", "penalty", "sharpness"} <= value.keys()
            if earlier or value.get("mode") == "paper" or value.get("stride", 1) != 1:
                return {"start": "random", "order": "learned"} | value
        return value

    @model_validator(mode="after")
    def _parts_fit(self) -> BottleneckConfig:
        if self.mode == "paper" and (self.start, self.order) != ("random", "learned"):
            raise ValueError(
                f"mode=paper is the published module, with start=random and order=learned, not {self.start} and "
                f"{self.order}; set mode to raysplit, or those two"
            )
        if self.start == "identity" and self.stride != 1:
            raise ValueError(
                f"start=identity keeps the grid, which stride={self.stride} shrinks; set stride to 1 or start to random"
            )
        return self


class RayConfig(Frozen):
    """Where a run is stored, and how it uses the cluster.

    >>> RayConfig(storage="s3://bucket/runs").max_failures
    2
    """

    storage: str = "~/ray_results"
    """Folder or URI (any pyarrow file system) that new run directories are made in; shared by all nodes."""
    max_failures: Annotated[int, Field(ge=0)] = 2
    """How often a run restarts from its last checkpoint after a worker or device was lost."""
    device_resource: str = "device"
    """Custom resource of the nodes for device halves, requested if the cluster has it."""
    server_resource: str = "server"
    """Custom resource of the nodes for the server half, requested if the cluster has it."""
    start_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    """How long to wait for resources for the worker, and until each device actor is ready, in seconds."""
    call_timeout_s: Annotated[float, Field(gt=0)] = 600.0
    """How long a device may take for one call before the run fails, in seconds."""


class SplitConfig(Frozen):
    """The config of one split-training run.

    >>> from raysplit import recipe
    >>> config = recipe("mnist5k_vgg11_deprune").with_settings(["train.epochs=3"])
    >>> config.train.epochs, [str(level) for level in config.levels()]
    (3, ['c4·b4/b4·zstd', 'c16·b4/b4·zstd'])
    """

    name: Name
    data: DataConfig
    model: ModelConfig
    cut: Annotated[str, BeforeValidator(lambda name: str(name) if type(name) is int else name)]
    """Where the network is cut, a name that `raysplit profile MODEL` lists."""
    cut_back: Annotated[str | None, BeforeValidator(lambda name: str(name) if type(name) is int else name)] = None
    """A second, later cut, from which on the network is on the device again, with the labels and the loss; None: the
    server has all that follows `cut`, and gets the labels."""
    bottleneck: BottleneckConfig | None = BottleneckConfig()
    """None: nothing is inserted at the cut, and the halves compose to the plain network."""
    schedule: AnySchedule = Fixed()
    """One of `raysplit.schedules`, or your own: `path.py:Class`, or an object with `levels` and `decide`."""
    codec: AnyCodec = None
    """None: `raysplit.compress.QuantizingCodec`. Your own: `path.py:Class`, or the class (docs/extending.md)."""
    train: TrainConfig = TrainConfig()
    devices: DevicesConfig = DevicesConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    monitors: Monitors = ()
    """Who is told of each epoch: `csv`, `tensorboard`, `mlflow`, or your own: `path.py:Class`, or an object with
    `begin`, `epoch` and `end` (docs/extending.md#monitors). They change nothing of the training."""
    ray: RayConfig = RayConfig()

    @model_serializer(mode="wrap")
    def _without_devices(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        """Write a run of one device and one cut, and one without monitors, as files have always held it."""
        written: dict[str, object] = write(self)
        left_out = {"devices", "checkpoint", "cut_back", "monitors"}
        return {key: value for key, value in written.items() if key not in left_out or value}

    @model_validator(mode="after")
    def _devices_fit(self) -> SplitConfig:
        check_devices(self.devices, self.schedule, self.data, self.device_rests)
        if self.devices.mode == "fedavg":
            check_fedavg(self.schedule, self.bottleneck is None and self.train.local_loss is None)
        if self.cut_back is not None:
            check_cut_back(self.cut, self.cut_back, self.devices, self.schedule, self.train)
        if self.checkpoint.device == "local":
            check_local_checkpoint(self.devices, self.schedule)
        return self

    @model_validator(mode="after")
    def _schedule_fits(self) -> SplitConfig:
        # A user's file runs when a run is planned or started, not when its record is read.
        if not isinstance(self.schedule, UserSchedule | ScheduleRecord):
            try:
                self.levels()
            except ConfigError as err:
                raise ValueError(str(err)) from None
        if isinstance(self.schedule, Phased) and len(self.schedule.phases) > self.train.epochs:
            raise ValueError(f"{len(self.schedule.phases)} phases do not fit into train.epochs={self.train.epochs}")
        if isinstance(self.schedule, Prune) and self.train.local_loss is not None:
            raise ValueError("a prune family is trained jointly; set train.local_loss to null")
        if self.train.device_half == "frozen":
            self._check_frozen_device()
        return self

    def _check_frozen_device(self) -> None:
        head, schedule = self.train.local_loss is not None, self.schedule
        if self.bottleneck is not None:
            return
        if isinstance(schedule, FreezeAndCache) and not head:
            raise ValueError(
                "freeze_and_cache first trains the device half, of which train.device_half=frozen leaves nothing to "
                "train; set schedule.kind to fixed (with data.augment=none its codes cross once), or set a bottleneck"
            )
        hands_over = not isinstance(schedule, FreezeAndCache) or schedule.hands_over
        if head and not (hands_over and isinstance(schedule, FreezeAndCache | UserSchedule | ScheduleRecord)):
            raise ValueError(
                "train.device_half=frozen leaves a local head nothing to train but itself; set train.local_loss to null"
            )
        if self.train.device_lr is not None and not head:
            raise ValueError(
                "train.device_half=frozen leaves nothing to train at train.device_lr; set train.device_lr to null"
            )

    @property
    def device_rests(self) -> bool:
        """Whether nothing of the device half is trained: no gradient comes down."""
        train = self.train
        return train.device_half == "frozen" and self.bottleneck is None and train.local_loss is None

    def levels(self) -> tuple[Level, ...]:
        """Return every level that the schedule can choose, without repeats, in order.

        Raises ConfigError for a level with a budget if there is no bottleneck to rank the channels, and for a user's
        schedule that cannot be loaded.
        """
        levels = list_levels(self.schedule)
        for level in levels:
            if level.channels is not None and self.bottleneck is None:
                raise ConfigError(f"level {level} keeps {level.channels} channels, which needs a bottleneck")
        return levels

    def with_settings(self, settings: Iterable[str]) -> SplitConfig:
        """Return a copy with `key.path=value` settings applied; values are YAML, but text where the field holds text.

        Raises ConfigError for a setting without `=`, an unknown key or a value of the wrong kind.
        """
        return with_settings(self, settings, where=f"recipe {self.name}")
