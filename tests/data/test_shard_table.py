"""The table of all devices' shards against the shard of each."""

from __future__ import annotations

import pytest
import torch

from raysplit.config import DataConfig, DevicesConfig
from raysplit.data import ShardTable, load_shard
from tests.sounds import AUDIO


@pytest.mark.parametrize("shards", ["iid", "dirichlet(1)", "classes(4)"])
def test_it_has_the_shards_of_all_devices_in_their_order(shards):
    data = DataConfig(name="digits")
    devices = DevicesConfig(count=5, shards=shards)
    table = ShardTable(data, devices, batch_size=8)
    for split in ("train", "val", "test"):
        for index in range(5):
            own, known = table.load(index, split), load_shard(data, devices, index, 8, split)
            assert torch.equal(own.images, known.images) and torch.equal(own.labels, known.labels)
            assert table.rows(index, split) == len(known.labels) and table.chunks(index, split) is None


def test_recordings_stay_whole(recordings, sound_cache):
    data = DataConfig(name=f"audio:{recordings}", audio=AUDIO, val_fraction=0.2)
    devices = DevicesConfig(count=2)
    table = ShardTable(data, devices, batch_size=1)
    for index in range(2):
        known = load_shard(data, devices, index, 1, "train")
        assert table.rows(index, "train") == len(known.labels) and table.chunks(index, "train") == known.chunks


@pytest.mark.parametrize("shards", ["iid", "dirichlet(0.1)", "classes(1)"])
def test_there_may_be_more_virtual_devices_than_batches(shards):
    devices = DevicesConfig(count=400, shards=shards, kind="virtual")
    table = ShardTable(DataConfig(name="digits", train_rows=1000), devices, batch_size=16)
    rows = [table.rows(index, "train") for index in range(400)]
    assert sum(rows) == 1000 and min(rows) < 16
