"""Parquet files of tests, read as a run reads them."""

from raysplit.config import DataConfig
from raysplit.data.parquet import parquet_part


def read_part(path, split, **settings):
    return parquet_part(DataConfig(name=f"parquet:{path}", **settings), split)
