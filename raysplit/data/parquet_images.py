"""The images in a column of a Parquet file: bytes in the cells, or paths of files beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def read_image(cell: object, file: Path) -> bytes | Path | None:
    """Return the bytes in a cell, else the path of an image: one beside the Parquet file, or absolute.

    >>> read_image({"bytes": None, "path": "images/0.png"}, Path("photos/train.parquet"))
    PosixPath('photos/images/0.png')
    """
    if isinstance(cell, dict):
        encoded = cell.get("bytes")
        cell = cell.get("path") if encoded is None else encoded
    if isinstance(cell, str):
        return file.parent / cell if cell else None
    return cell if isinstance(cell, bytes) else None


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
