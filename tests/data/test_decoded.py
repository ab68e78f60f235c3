"""A part decoded into memory is the part that the cache keeps."""

from __future__ import annotations

import pytest

from raysplit.config import DataConfig
from raysplit.data.cache import load_cached
from raysplit.data.decoded import decode_part, decode_rows
from raysplit.errors import DataError
from tests.data.parquet_files import read_part


@pytest.mark.parametrize("size", [None, 12])
def test_memory_and_cache_hold_the_same(two_files, size):
    part, config = read_part(two_files, "train"), DataConfig(name=f"parquet:{two_files}", size=size)
    made, kept = decode_part(part, config, 1), load_cached(part, config, 1)
    assert made.images.equal(kept.images) and made.labels.equal(kept.labels) and made.skipped == kept.skipped == 0
    assert made.images.shape == (20, 1, size or 8, size or 8)


def test_bad_rows_are_refused_or_skipped(tmp_path, png, write_parquet):
    for split in ("train", "test"):
        write_parquet(tmp_path / f"{split}.parquet", [png(), b"bad", png(seed=1)], [0, 1, 5])
    part, name = read_part(tmp_path, "train"), f"parquet:{tmp_path}"
    with pytest.raises(DataError, match=r"train\.parquet row 1: this is not an image\. data\.on_bad_rows=skip"):
        decode_part(part, DataConfig(name=name), None)
    skipping = DataConfig(name=name, on_bad_rows="skip")
    assert [row is None for row in decode_rows(part, skipping, None)] == [False, True, True]
    made = decode_part(part, skipping, None)
    assert (len(made.images), made.labels.tolist(), made.skipped) == (1, [0], 2)
