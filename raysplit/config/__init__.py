"""The config models: one frozen object describes one run. Unknown keys fail with the nearest right one."""

from raysplit.config.base import Frozen, describe
from raysplit.config.level import DEFAULT_LEVEL, UNCOMPRESSED, Bits, Level
from raysplit.config.run import (
    BottleneckConfig,
    DataConfig,
    LocalLoss,
    ModelConfig,
    RayConfig,
    SplitConfig,
    TrainConfig,
    loads,
    parse,
)
from raysplit.config.schedules import (
    ByteBudget,
    Deprune,
    Fixed,
    FreezeAndCache,
    LinkAware,
    Phase,
    Plateau,
    Prune,
    Schedule,
    Stage,
)

__all__ = [
    "DEFAULT_LEVEL",
    "UNCOMPRESSED",
    "Bits",
    "BottleneckConfig",
    "ByteBudget",
    "DataConfig",
    "Deprune",
    "Fixed",
    "FreezeAndCache",
    "Frozen",
    "Level",
    "LinkAware",
    "LocalLoss",
    "ModelConfig",
    "Phase",
    "Plateau",
    "Prune",
    "RayConfig",
    "Schedule",
    "SplitConfig",
    "Stage",
    "TrainConfig",
    "describe",
    "loads",
    "parse",
]
