"""Any data set as a Parquet file, which loads anywhere, offline, as parquet:PATH."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

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
    Raises DataError for data that cannot be read, for a path that cannot be written, and for recordings, of which
    images would lose what belongs together (`export_recordings` keeps it).

    >>> pixels = torch.zeros(1, 8, 8)
    >>> data = DataConfig(dataset=([(pixels, 0), (pixels, 1)], [(pixels, 1)]))
    >>> export(data, "test", Path("digits/test.parquet")).labels
    tensor([1])
    """
    images = _load_images(config, split)
    with writing(path), replacing(path) as file:
        _write(images, file)
    return images


def export_all(config: DataConfig, folder: Path) -> tuple[ImageSet, ImageSet]:
    """Write both of a source's splits, as `export` does, to train.parquet and test.parquet of a folder; return them.

    Both are written or neither. Raises DataError as `export` does.

    >>> pixels = torch.zeros(1, 8, 8)
    >>> train, test = export_all(DataConfig(dataset=([(pixels, 0), (pixels, 1)], [(pixels, 1)])), Path("digits"))
    >>> len(train.labels), len(test.labels)
    (2, 1)
    """
    train, test = _load_images(config, "train"), _load_images(config, "test")
    first, second = folder / "train.parquet", folder / "test.parquet"
    with writing(first), replacing(first) as train_file:
        _write(train, train_file)
        with writing(second), replacing(second) as test_file:
            _write(test, test_file)
    return train, test


def _load_images(config: DataConfig, split: Source) -> ImageSet:
    if config.audio is not None:
        raise DataError(f"{config.name} holds recordings, not images; write them with raysplit.data.export_recordings")
    return load_source(config, split)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Make the folder of a file; DataError where that or what the block writes fails.

    >>> with writing(Path("digits/train.parquet")):
    ...     Path("digits").is_dir()
    True
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as err:
        raise DataError(f"cannot write {path} ({err}); choose a folder that can be written to and has space") from None


def _write(images: ImageSet, file: IO[bytes]) -> None:
    schema = arrow_schema(images.classes)
    with pq.ParquetWriter(file, schema) as writer:
        for pixels, labels in zip(images.images.split(_GROUP_ROWS), images.labels.split(_GROUP_ROWS), strict=True):
            cells = [{"bytes": _png(image), "path": None} for image in pixels]
            writer.write_table(pa.table([cells, labels.numpy()], schema=schema))
    file.flush()  # a full disk is noticed here


def _png(image: torch.Tensor) -> bytes:
    channels = image.shape[0]
    file = io.BytesIO()
    Image.fromarray((image[0] if channels == 1 else image.permute(1, 2, 0)).numpy()).save(file, "PNG")
    return file.getvalue()
