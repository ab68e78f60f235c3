"""From a row of the record to seconds on a link."""

from __future__ import annotations

from dataclasses import replace

import pytest

from raysplit.folders.run_dir import RunDir
from raysplit.hardware.link import NAMED, Link
from raysplit.records.epoch import ByteCounts, EpochRecord
from raysplit.train.local import train_local
from raysplit.train.predict import predict_epoch_s, predict_training_s

LINK = Link(name="test", up_bit_s=8e6, down_bit_s=8e6, round_trip_s=0.0, message_bytes=0)
BYTES = ByteCounts(
    up_activations=900_000,
    up_labels=60_000,
    up_headers=40_000,
    down_gradients=480_000,
    down_headers=20_000,
    evaluation=300_000,
)
RECORD = EpochRecord(
    epoch=0,
    level="all·b32/b32",
    steps=10,
    val_batches=3,
    bytes=BYTES,
    device_s=2.2,
    server_s=1.1,
    train_compute_s=3.0,
)


def sending(**changes: int) -> EpochRecord:
    return replace(RECORD, bytes=replace(BYTES, **changes))


def test_lock_step_without_delay_is_bytes_over_rate_and_compute():
    assert predict_epoch_s(RECORD, 1, LINK) == pytest.approx(1.0 + 0.5 + 0.3 + 2.2 + 1.1)
    assert predict_training_s(RECORD, 1, LINK) == pytest.approx(1.0 + 0.5 + 3.0)
    assert predict_epoch_s(RECORD, 2, LINK) < predict_epoch_s(RECORD, 1, LINK)


def test_delay_and_framing_count_by_message():
    slow = LINK.replaced(round_trip_s=0.1, message_bytes=1000)
    # The opening call and the way to the first request and from the last answer; then steps and checks.
    more = 0.1 + 0.1 + 10 * (0.1 + 2 * 0.001) + 3 * (0.1 + 2 * 0.001)
    assert predict_epoch_s(RECORD, 1, slow) == pytest.approx(predict_epoch_s(RECORD, 1, LINK) + more)


def test_epochs_that_send_one_way_or_nothing():
    up = sending(down_gradients=0, down_headers=0)
    assert 1.3 < predict_epoch_s(up, 1, LINK) < predict_epoch_s(RECORD, 1, LINK)
    nothing = replace(RECORD, bytes=ByteCounts())
    slow = LINK.replaced(round_trip_s=0.1, message_bytes=1000)
    assert predict_epoch_s(replace(nothing, mode="cached"), 1, slow) == pytest.approx(2.2 + 1.1)
    # Alone, each step and each check is a call that is waited for, framed both ways.
    call, alone = 0.1 + 2 * 0.001, replace(nothing, mode="alone")
    assert predict_training_s(alone, 1, slow) == pytest.approx(3.0 + 10 * call)
    assert predict_epoch_s(alone, 1, slow) == pytest.approx(2.2 + 1.1 + (10 + 3) * call)
    assert predict_epoch_s(alone, 2, slow) == predict_epoch_s(alone, 1, slow)


def test_weights_are_handed_over_once():
    nothing = replace(RECORD, bytes=ByteCounts(evaluation=300_000))
    assert predict_training_s(nothing, 1, LINK) == pytest.approx(3.0)
    handed = replace(RECORD, bytes=ByteCounts(up_weights=500_000, up_headers=60, evaluation=300_000))
    assert predict_training_s(handed, 1, LINK) == pytest.approx(3.0 + 0.5)
    assert predict_training_s(sending(up_weights=500_000), 1, LINK) == pytest.approx(1.0 + 0.5 + 3.0 + 0.5)


def test_a_run_predicts_itself(squeezed, tmp_path):
    summary = train_local(squeezed, str(tmp_path / "run"))
    records = RunDir.at(str(tmp_path / "run")).records()
    for name, link in NAMED.items():
        assert all(record.predicted_s[name] == predict_epoch_s(record, 1, link) for record in records)
        assert summary.predicted_s[name] == sum(record.predicted_s[name] for record in records)


def test_weights_that_are_averaged_cross_once_in_both_directions():
    averaged = sending(up_weights=500_000, down_weights=250_000)
    assert predict_training_s(averaged, 1, LINK) == pytest.approx(1.0 + 0.5 + 3.0 + 0.5 + 0.25)
    alone = replace(RECORD, mode="alone", bytes=ByteCounts(up_weights=500_000, down_weights=250_000))
    assert predict_training_s(alone, 1, LINK) == pytest.approx(3.0 + 0.5 + 0.25)


def test_a_device_without_validation_images_is_only_trained():
    unchecked = replace(RECORD, val_batches=0)
    assert predict_epoch_s(unchecked, 1, LINK) == predict_training_s(unchecked, 1, LINK)
