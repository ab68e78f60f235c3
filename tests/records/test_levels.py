from __future__ import annotations

from dataclasses import replace

import pytest

from raysplit.records.epoch import ByteCounts, EpochRecord
from raysplit.records.levels import LevelRecord, level_records


def record(level, test_accuracy, val_accuracy=0.5, steps=10):
    return EpochRecord(
        epoch=0,
        level=level,
        steps=steps,
        val_accuracy=val_accuracy,
        test_accuracy=test_accuracy,
        bytes=ByteCounts(up_activations=800, up_headers=100, down_gradients=300, evaluation=9_999),
        seconds=2.5,
    )


def test_a_test_accuracy_ends_a_level():
    records = [record("a", None), record("a", 0.9, 0.8), record("b", 0.7, 0.6), record("c", None)]
    first, second = level_records(records, batch_size=5)
    assert first == LevelRecord("a", 2, 0.9, 0.8, 18.0, 6.0, 5.0) and first.bytes_per_sample == 24
    assert replace(second, bytes_per_sample_up=18.0, bytes_per_sample_down=6.0) == LevelRecord(
        "b", 1, 0.7, 0.6, 18.0, 6.0, 2.5
    )
    assert (second.bytes_per_sample_up, second.bytes_per_sample_down) == (pytest.approx(18), pytest.approx(6))


def test_other_runs_keep_none():
    assert level_records([record("a", None), record("a", None)], 5) == []
