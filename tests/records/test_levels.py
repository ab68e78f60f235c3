from __future__ import annotations

import pytest


def row(level, test, val=0.5, steps=10):
    return {
        "level": level,
        "test_accuracy": test,
        "val_accuracy": val,
        "steps": steps,
        "up_activations": 800,
        "up_headers": 100,
        "down_gradients": 300,
        "evaluation": 9_999,
        "seconds": 2.5,
    }


def test_a_test_accuracy_ends_a_level():
    rows = [row("a", None), row("a", 0.9, 0.8), row("b", 0.7, 0.6), row("c", None)]
    first, second = level_records(rows, batch_size=5)
    assert first == LevelRecord("a", 2, 0.9, 0.8, 18.0, 6.0, 5.0) and first.bytes_per_sample == 24
    assert second == LevelRecord("b", 1, 0.7, 0.6, pytest.approx(18), pytest.approx(6), 2.5)


def test_other_runs_keep_none():
    rows = [row("a", None), row("a", None)]
    assert level_records(rows, 5) == []
    del rows[0]["test_accuracy"], rows[1]["test_accuracy"]
    assert level_records(rows, 5) == []
