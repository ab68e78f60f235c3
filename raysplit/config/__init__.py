"""The config models: one frozen object describes one run. Unknown keys fail with the nearest right one."""

from raysplit.config.audio import AudioConfig
from raysplit.config.data import DataConfig, DataSplits
from raysplit.config.devices import DeviceMode, DevicesConfig, Shards
from raysplit.config.ensemble import (
    BaseConfig,
    ClassifierFit,
    EnsembleConfig,
    FusionConfig,
    GroupsConfig,
    Precision,
    PruneConfig,
    RetrainConfig,
)
from raysplit.config.in_memory import CodecSource
from raysplit.config.run import (
    BottleneckConfig,
    ModelConfig,
    RayConfig,
    SplitConfig,
)
from raysplit.config.search import SearchConfig
from raysplit.config.training import FitConfig, LocalLoss, TrainConfig
from raysplit.hardware.machine import Machine
from raysplit.schedules import (
    AnySchedule,
    ByteBudget,
    Deprune,
    Fixed,
    FreezeAndCache,
    LinkAware,
    Nested,
    NestedPhase,
    Phase,
    Plateau,
    Prune,
    Schedule,
    Stage,
)
from raysplit.utils.frozen import Frozen, describe
from raysplit.utils.settings import loads, parse
from raysplit.wire.level import DEFAULT_LEVEL, UNCOMPRESSED, Bits, Level

__all__ = [
    "DEFAULT_LEVEL",
    "UNCOMPRESSED",
    "AnySchedule",
    "AudioConfig",
    "BaseConfig",
    "Bits",
    "BottleneckConfig",
    "ByteBudget",
    "ClassifierFit",
    "CodecSource",
    "DataConfig",
    "DataSplits",
    "Deprune",
    "DeviceMode",
    "DevicesConfig",
    "EnsembleConfig",
    "FitConfig",
    "Fixed",
    "FreezeAndCache",
    "Frozen",
    "FusionConfig",
    "GroupsConfig",
    "Level",
    "LinkAware",
    "LocalLoss",
    "Machine",
    "ModelConfig",
    "Nested",
    "NestedPhase",
    "Phase",
    "Plateau",
    "Precision",
    "Prune",
    "PruneConfig",
    "RayConfig",
    "RetrainConfig",
    "Schedule",
    "SearchConfig",
    "Shards",
    "SplitConfig",
    "Stage",
    "TrainConfig",
    "describe",
    "loads",
    "parse",
]
