"""Digits in Parquet files as people have them: own names of files and columns, and numbers that are no classes."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from raysplit.config import DataConfig
from raysplit.data import export


def write_own_digits(folder: Path, held: bool) -> list[str]:
    """Write 359 digits without a test split, labelled 0, 10, …, 90; return the settings that name them.

    `held`: a second file of them is for validation.
    """
    export(DataConfig(name="digits"), "test", folder / "plain.parquet")
    table = pq.read_table(folder / "plain.parquet")
    (folder / "plain.parquet").unlink()
    own = pa.table({"id": table["label"], "photo": table["image"], "kind": pc.multiply(table["label"], 10)})
    pq.write_table(own, folder / "part-0.parquet")
    pq.write_table(own.slice(0, 50), folder / "held.parquet")
    splits = "train: part-*.parquet" + ", validation: held.parquet" * held
    columns = ["data.image=photo", "data.label=kind", "data.unused_labels=drop"]
    return [f"data.name=parquet:{folder}", f"data.splits={{{splits}}}", *columns]
