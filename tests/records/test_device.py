"""The row of one of many devices."""

from __future__ import annotations

import pytest

from raysplit.records.device import DeviceRecord
from raysplit.records.epoch import ByteCounts, EpochRecord

EPOCH = EpochRecord(epoch=2, level="c4·b4/b4", steps=3, bytes=ByteCounts(down_weights=70), predicted_s={"lte": 1.5})


def test_a_row_reads_back():
    record = DeviceRecord(device=3, samples=96, epoch=EPOCH)
    assert list(record.to_row())[:3] == ["device", "samples", "epoch"]
    assert DeviceRecord.from_row(record.to_row()) == record


@pytest.mark.parametrize("change", [{"device": None}, {"samples": 1.5}, {"samples": "many"}])
def test_a_row_that_is_none(change):
    with pytest.raises(TypeError, match="are not whole numbers"):
        DeviceRecord.from_row(DeviceRecord(device=3, samples=96, epoch=EPOCH).to_row() | change)
