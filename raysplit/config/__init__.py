"""The config models: one frozen object describes one run. Unknown keys fail with the nearest right one.

Each name is imported on first use: what serves a sub-model needs few of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raysplit.config.audio import AudioConfig
    from raysplit.config.availability import AvailabilityConfig
    from raysplit.config.checkpoint import CheckpointConfig
    from raysplit.config.data import DataConfig, DataSplits
    from raysplit.config.devices import DeviceMode, DevicesConfig, Shards
    from raysplit.config.ensemble import (
        BaseConfig,
        ClassifierFit,
        EnsembleConfig,
        FusionConfig,
        GroupsConfig,
        PruneConfig,
        RetrainConfig,
    )
    from raysplit.config.in_memory import CodecSource
    from raysplit.config.model import ModelConfig, Precision
    from raysplit.config.run import BottleneckConfig, RayConfig, SplitConfig
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

_NAMES = {
    "raysplit.config.audio": "AudioConfig",
    "raysplit.config.checkpoint": "CheckpointConfig",
    "raysplit.config.data": "DataConfig DataSplits",
    "raysplit.config.availability": "AvailabilityConfig",
    "raysplit.config.devices": "DeviceMode DevicesConfig Shards",
    "raysplit.config.ensemble": "BaseConfig ClassifierFit EnsembleConfig FusionConfig GroupsConfig PruneConfig "
    "RetrainConfig",
    "raysplit.config.in_memory": "CodecSource",
    "raysplit.config.model": "ModelConfig Precision",
    "raysplit.config.run": "BottleneckConfig RayConfig SplitConfig",
    "raysplit.config.search": "SearchConfig",
    "raysplit.config.training": "FitConfig LocalLoss TrainConfig",
    "raysplit.hardware.machine": "Machine",
    "raysplit.schedules": "AnySchedule ByteBudget Deprune Fixed FreezeAndCache LinkAware Nested NestedPhase Phase "
    "Plateau Prune Schedule Stage",
    "raysplit.utils.frozen": "Frozen describe",
    "raysplit.utils.settings": "loads parse",
    "raysplit.wire.level": "DEFAULT_LEVEL UNCOMPRESSED Bits Level",
}
"""The names of each module."""
_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = [
    "DEFAULT_LEVEL",
    "UNCOMPRESSED",
    "AnySchedule",
    "AudioConfig",
    "AvailabilityConfig",
    "BaseConfig",
    "Bits",
    "BottleneckConfig",
    "ByteBudget",
    "CheckpointConfig",
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


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value
