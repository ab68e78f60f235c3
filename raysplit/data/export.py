"""Any data set as a Parquet file, which loads anywhere, offline, as parquet:PATH."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from raysplit.config import DataConfig
from raysplit.data.cache import replacing
from raysplit.data.images import ImageSet, load_source
from raysplit.data.parquet_columns import arrow_schema
from raysplit.data.schema import Source
from raysplit.errors import DataError

_GROUP_ROWS = 1000


def export(config: DataConfig, split: Source, path: Path) -> ImageSet:
    """Write a source's whole split (train: with the validation part) to a Parquet file and return it.

    Images are stored as PNG, so pixels and labels do not change. The file is written completely or not at all.
    Raises DataError for data that cannot be read and for a path that cannot be written.

    >>> pixels = torch.zeros(1, 8, 8)
    >>> data = DataConfig(dataset=([(pixels, 0), (pixels, 1)], [(pixels, 1)]))
    >>> export(data, "test", Path("digits/test.parquet")).labels
    tensor([1])
    """
    images = load_source(config, split)
    schema = arrow_schema(images.classes)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file, pq.ParquetWriter(file, schema) as writer:
            for pixels, labels in zip(images.images.split(_GROUP_ROWS), images.labels.split(_GROUP_ROWS), strict=True):
                cells = [{"bytes": _png(image), "path": None} for image in pixels]
                writer.write_table(pa.table([cells, labels.numpy()], schema=schema))
    except OSError as err:
        raise DataError(f"cannot write {path} ({err})") from None
    return images


def _png(image: torch.Tensor) -> bytes:
    channels = image.shape[0]
    file = io.BytesIO()
    Image.fromarray((image[0] if channels == 1 else image.permute(1, 2, 0)).numpy()).save(file, "PNG")
    return file.getvalue()
