"""The images in a column of a Parquet file: bytes or pixels in the cells, or paths of files beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raysplit.data.schema import Pixels

_EXTENSION = b"ARROW:extension:name"
_EXTENSION_METADATA = b"ARROW:extension:metadata"


def pixels_shape(field: pa.Field) -> tuple[int, ...] | None:
    """Return the shape of the tensors in a column if they are images, all of one shape; None for any other column.

    They are uint8 (H, W) or (H, W, 1 or 3), of Arrow's type or one of Ray Data's, which Arrow knows after an import of
    Ray Data alone.

    >>> pixels_shape(pa.field("image", pa.fixed_shape_tensor(pa.uint8(), [8, 6, 3])))
    (8, 6, 3)
    """
    kind, metadata = field.type, field.metadata or {}
    shape: object = None
    if isinstance(kind, pa.BaseExtensionType):
        shape, order = getattr(kind, "shape", None), getattr(kind, "permutation", None)
        if order is not None and list(order) != sorted(order):
            return None
        kind = kind.storage_type
    elif metadata.get(_EXTENSION, b"").startswith(b"ray.data.arrow_tensor"):
        try:
            shape = json.loads(metadata.get(_EXTENSION_METADATA, b""))
        except ValueError:
            return None
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not isinstance(shape, list | tuple) or not is_list or kind.value_type != pa.uint8():
        return None
    is_image = len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3))
    return tuple(shape) if is_image and all(isinstance(size, int) for size in shape) else None


def list_cells(column: pa.Array, shape: tuple[int, ...] | None) -> list[object]:
    """Return what the cells of a column hold; with a shape, which is that of `pixels_shape`, as arrays.

    Raises ValueError for a cell with another number of pixels.
    """
    if shape is None:
        cells: list[object] = column.to_pylist()
        return cells
    flat = column.storage if isinstance(column, pa.ExtensionArray) else column
    plain = shape[:2] if shape[-1] == 1 and len(shape) == 3 else shape
    return [None if cell.values is None else cell.values.to_numpy(zero_copy_only=False).reshape(plain) for cell in flat]


def read_image(cell: object, file: Path) -> bytes | Path | Pixels | None:
    """Return the pixels or bytes in a cell, else the path of an image: one beside the Parquet file, or absolute.

    >>> read_image({"bytes": None, "path": "images/0.png"}, Path("photos/train.parquet"))
    PosixPath('photos/images/0.png')
    """
    if isinstance(cell, dict):
        encoded = cell.get("bytes")
        cell = cell.get("path") if encoded is None else encoded
    if isinstance(cell, str):
        return file.parent / cell if cell else None
    return cell if isinstance(cell, bytes | np.ndarray) else None


def referenced_images(parquet: pq.ParquetFile, column: str, file: Path) -> Iterator[Path]:
    """Yield the paths of images that cells name and do not hold; none is read if all cells hold bytes."""
    kind = parquet.schema_arrow.field(column).type
    if pa.types.is_struct(kind):
        if kind.get_field_index("path") < 0 or _all_set(parquet.metadata, f"{column}.bytes"):
            return
        for batch in parquet.iter_batches(columns=[f"{column}.path"]):
            cells = batch[column].to_pylist()
            yield from (file.parent / cell["path"] for cell in cells if cell is not None and cell["path"])
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        for batch in parquet.iter_batches(columns=[column]):
            yield from (file.parent / path for path in batch[column].to_pylist() if path)


def _all_set(metadata: pq.FileMetaData, leaf: str) -> bool:
    """Return whether a leaf column is known to have no null, by its statistics alone."""
    for group in range(metadata.num_row_groups):
        chunks = metadata.row_group(group)
        for index in range(chunks.num_columns):
            chunk = chunks.column(index)
            if chunk.path_in_schema == leaf:
                counts = chunk.statistics
                if counts is None or not counts.has_null_count or counts.null_count:
                    return False
                break
        else:
            return False
    return True
