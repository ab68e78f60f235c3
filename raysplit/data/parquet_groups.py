"""The speakers or songs of the recordings in a Parquet file: in a column, or in the names of files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from raysplit.data.audio_folders import speaker_in_name


def read_group(cell: object, named: object, where: str) -> str:
    """Return a recording's speaker or song: as its column says (`named`), else its file's name, else its own place.

    >>> read_group({"bytes": b"", "path": "yes/anna_nohash_0.wav"}, None, "train.parquet row 7")
    'anna'
    >>> read_group({"bytes": b"", "path": None}, None, "train.parquet row 7")
    'train.parquet row 7'
    """
    if named is not None:
        return str(named)
    path = cell.get("path") if isinstance(cell, dict) else cell
    return (speaker_in_name(Path(path)) if isinstance(path, str) else None) or where


def find_groups(parquet: pq.ParquetFile, recordings: str, group: str | None, file: Path) -> Iterator[str]:
    """Yield what `read_group` returns for each row, without reading a recording."""
    kind = parquet.schema_arrow.field(recordings).type
    columns = [] if group is None else [group]
    if pa.types.is_struct(kind) and kind.get_field_index("path") >= 0:
        columns.append(f"{recordings}.path")
    elif not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_struct(kind)):
        columns.append(recordings)
    if not columns:
        yield from (f"{file} row {number}" for number in range(parquet.metadata.num_rows))
        return
    number = 0
    for batch in parquet.iter_batches(columns=columns):
        for row in batch.to_pylist():
            named = None if group is None else row[group]
            yield read_group(row.get(recordings), named, f"{file} row {number}")
            number += 1
