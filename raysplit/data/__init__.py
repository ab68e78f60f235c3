"""Small data sets of images and recordings to classify, as memory-mapped uint8 tensors."""

from raysplit.data.batches import batch_order, mean_std, prepare_batch
from raysplit.data.device_shard import load_shard
from raysplit.data.export import export, export_all
from raysplit.data.export_audio import export_recordings
from raysplit.data.images import Facts, ImageSet, load, read_facts

__all__ = [
    "Facts",
    "ImageSet",
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
