"""A data set of recordings as Parquet files, which load anywhere, offline, as parquet:PATH with data.audio."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from raysplit.config import DataConfig
from raysplit.data.audio_file import read_samples
from raysplit.data.cache import replacing
from raysplit.data.export import writing
from raysplit.data.images import find_part
from raysplit.data.parquet_columns import audio_schema
from raysplit.data.parquet_files import validation_files
from raysplit.data.schema import BadRow, Part, Row, check_label
from raysplit.errors import DataError
from raysplit.records.summary import SplitName

_GROUP_ROWS = 100


@dataclass(frozen=True)
class ExportedRecordings:
    """What was written."""

    classes: tuple[str, ...]
    rows: dict[SplitName, int]
    """Recordings in each file."""
    test_from: SplitName


def export_recordings(config: DataConfig, folder: Path) -> ExportedRecordings:
    """Write train.parquet, test.parquet and, where the data set has that split, validation.parquet into a folder.

    Recordings are stored as they are, with their labels and their speakers or songs. All files are written or none.
    Raises DataError for a recording that cannot be read (unless config.on_bad_rows is "skip"), for a folder that
    cannot be written, and for one with the validation split of another data set, which would be read as this one's.
    """
    train, test = find_part(config, "train"), find_part(config, "test")
    parts: dict[SplitName, Part] = {"train": train, "test": test}
    if any(row.held_out for row in train.rows()):
        parts["validation"] = train
    elif other := validation_files(folder):
        raise DataError(
            f"{other[0]} would be read as the validation split of {config.name}, which has none: choose another "
            "folder, or move the file away"
        )
    rows: dict[SplitName, int] = {}
    with ExitStack() as stack:
        for split, part in parts.items():
            path = folder / f"{split}.parquet"
            stack.enter_context(writing(path))
            file = stack.enter_context(replacing(path))
            rows[split] = _write(config, part, file, held_out=split == "validation")
    return ExportedRecordings(train.classes, rows, test.taken_from)


def _write(config: DataConfig, part: Part, file: IO[bytes], held_out: bool) -> int:
    schema = audio_schema(part.classes)
    count = 0
    with pq.ParquetWriter(file, schema) as writer:
        cells = []
        for cell in _cells(config, part, held_out):
            cells.append(cell)
            count += 1
            if len(cells) == _GROUP_ROWS:
                writer.write_table(pa.Table.from_pylist(cells, schema=schema))
                cells = []
        writer.write_table(pa.Table.from_pylist(cells, schema=schema))
    file.flush()  # a full disk is noticed here
    if not count and not held_out:
        raise DataError(f"{part.where} has no good recording")
    return count


def _cells(config: DataConfig, part: Part, held_out: bool) -> Iterator[dict[str, object]]:
    for row in part.rows():
        if row.held_out != held_out:
            continue
        try:
            label = check_label(row.label, len(part.classes))
            data, name = _read(row)
        except BadRow as err:
            if config.on_bad_rows == "raise":
                raise DataError(f"{row.where}: {err}. data.on_bad_rows=skip leaves such rows out") from None
            continue
        yield {"audio": {"bytes": data, "path": name}, "label": label, "speaker_id": row.group}


def _read(row: Row) -> tuple[bytes, str | None]:
    """Return a recording, which is checked to be one, and the name of its file."""
    if not isinstance(row.image, bytes | Path):
        raise BadRow("there are no bytes of a recording")
    try:
        data = row.image if isinstance(row.image, bytes) else row.image.read_bytes()
    except OSError as err:
        raise BadRow(f"unreadable recording ({err.strerror})") from None
    read_samples(data)
    return data, None if isinstance(row.image, bytes) else row.image.name
