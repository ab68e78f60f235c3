"""raysplit: one neural network shared between small devices and a server, on Ray.

    from raysplit import SplitTrainer, recipe, train_local

    config = recipe("mnist5k_vgg11_deprune").with_settings(["train.epochs=3"])
    summary = train_local(config)        # in this process
    result = SplitTrainer(config).fit()  # on the Ray cluster that is connected

The names here are the table of contents; each is imported on first use, so that a device which needs one of them does
not load Ray for it.

>>> import raysplit
>>> "train_local" in dir(raysplit)
True
>>> str(raysplit.Level("c4.b4/b4.zstd"))
'c4·b4/b4·zstd'
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raysplit.compress.codec import Codec
    from raysplit.compress.layer import CompressedCut
    from raysplit.config import EnsembleConfig, SplitConfig
    from raysplit.device import DeviceClient
    from raysplit.ensemble.build import build_ensemble
    from raysplit.ensemble.bundle import load_ensemble
    from raysplit.errors import RaysplitError
    from raysplit.family import load_family, load_run, write_family
    from raysplit.folders.reader import read_run
    from raysplit.recipes import get as recipe
    from raysplit.recipes import get_ensemble as ensemble_recipe
    from raysplit.records.epoch import EpochRecord
    from raysplit.records.summary import RunSummary
    from raysplit.report import write_report
    from raysplit.schedules import Decision, RunContext, Schedule
    from raysplit.train.device import Device
    from raysplit.train.local import train_local
    from raysplit.train.trainer import SplitTrainer
    from raysplit.wire.level import Level

__version__: str

_HOMES = {
    # What to train: a recipe by name, or a config of one's own.
    "recipe": "raysplit.recipes:get",
    "ensemble_recipe": "raysplit.recipes:get_ensemble",
    "SplitConfig": "raysplit.config",
    "EnsembleConfig": "raysplit.config",
    "Level": "raysplit.wire.level",
    # Training, and what it leaves behind.
    "train_local": "raysplit.train.local",
    "SplitTrainer": "raysplit.train.trainer",
    "read_run": "raysplit.folders.reader",
    "write_report": "raysplit.report",
    "RunSummary": "raysplit.records.summary",
    "EpochRecord": "raysplit.records.epoch",
    # Models to serve, and the client of a served one.
    "write_family": "raysplit.family",
    "load_family": "raysplit.family",
    "load_run": "raysplit.family",
    "build_ensemble": "raysplit.ensemble.build",
    "load_ensemble": "raysplit.ensemble.bundle",
    "DeviceClient": "raysplit.device",
    # A cut in a network and a training loop of one's own.
    "CompressedCut": "raysplit.compress.layer",
    # What parts of one's own implement, receive or raise.
    "Codec": "raysplit.compress.codec",
    "Schedule": "raysplit.schedules",
    "RunContext": "raysplit.schedules",
    "Decision": "raysplit.schedules",
    "Device": "raysplit.train.device",
    "RaysplitError": "raysplit.errors",
}
"""Each name and where it is from, `module:name` where it has another name there."""

__all__ = [
    "Codec",
    "CompressedCut",
    "Decision",
    "Device",
    "DeviceClient",
    "EnsembleConfig",
    "EpochRecord",
    "Level",
    "RaysplitError",
    "RunContext",
    "RunSummary",
    "Schedule",
    "SplitConfig",
    "SplitTrainer",
    "build_ensemble",
    "ensemble_recipe",
    "load_ensemble",
    "load_family",
    "load_run",
    "read_run",
    "recipe",
    "train_local",
    "write_family",
    "write_report",
]


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = import_module("raysplit.utils.version").find_version()
    elif name in _HOMES:
        module, _, attribute = _HOMES[name].partition(":")
        value = getattr(import_module(module), attribute or name)
    else:
        raise AttributeError(f"module 'raysplit' has no attribute '{name}'", name=name, obj=sys.modules[__name__])
    globals()[name] = value
    return value
