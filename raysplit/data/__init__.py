"""Small image classification data sets as memory-mapped uint8 tensors."""

from raysplit.data.batches import batch_order, mean_std, prepare_batch
from raysplit.data.export import export, export_all
from raysplit.data.images import Facts, ImageSet, load, read_facts

__all__ = [
    "Facts",
    "ImageSet",
    "batch_order",
    "export",
    "export_all",
    "load",
    "mean_std",
    "prepare_batch",
    "read_facts",
]
