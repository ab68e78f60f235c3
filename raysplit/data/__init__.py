"""Small data sets of images and recordings to classify, as memory-mapped uint8 tensors.

Each name is imported on first use: what serves a network needs no data set.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raysplit.data.batches import batch_order, mean_std, prepare_batch
    from raysplit.data.device_shard import load_shard
    from raysplit.data.export import export, export_all
    from raysplit.data.export_audio import export_recordings
    from raysplit.data.images import Facts, ImageSet, load, read_facts
    from raysplit.data.shard_table import ShardTable

_HOMES = {
    "batch_order": "batches",
    "mean_std": "batches",
    "prepare_batch": "batches",
    "load_shard": "device_shard",
    "export": "export",
    "export_all": "export",
    "export_recordings": "export_audio",
    "Facts": "images",
    "ImageSet": "images",
    "load": "images",
    "read_facts": "images",
    "ShardTable": "shard_table",
}
"""Each name and the module that it is from."""

__all__ = [
    "Facts",
    "ImageSet",
    "ShardTable",
    "batch_order",
    "export",
    "export_all",
    "export_recordings",
    "load",
    "load_shard",
    "mean_std",
    "prepare_batch",
    "read_facts",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value
