"""From a row of the record to seconds on a link."""

from __future__ import annotations

from dataclasses import replace

import pytest

from raysplit.folders.run_dir import RunDir
from raysplit.hardware.link import NAMED, Link
from raysplit.train.local import train_local
from raysplit.train.predict import predict, predict_training
from raysplit.train.traffic import DOWN, UP

LINK = Link("test", up_bit_s=8e6, down_bit_s=8e6, round_trip_s=0.0, message_bytes=0)
ROW = {
    **dict.fromkeys((*UP, *DOWN), 0),
    "mode": "joint",
    "steps": 10,
    "val_batches": 3,
    "up_activations": 900_000,
    "up_labels": 60_000,
    "up_headers": 40_000,
    "down_gradients": 480_000,
    "down_headers": 20_000,
    "evaluation": 300_000,
    "device_s": 2.2,
    "server_s": 1.1,
    "train_compute_s": 3.0,
}


def test_lock_step_without_delay_is_bytes_over_rate_and_compute():
    assert predict(ROW, 1, LINK) == pytest.approx(1.0 + 0.5 + 0.3 + 2.2 + 1.1)
    assert predict_training(ROW, 1, LINK) == pytest.approx(1.0 + 0.5 + 3.0)
    assert predict(ROW, 2, LINK) < predict(ROW, 1, LINK)


def test_delay_and_framing_count_by_message():
    slow = replace(LINK, round_trip_s=0.1, message_bytes=1000)
    # The opening call and the way to the first request and from the last answer; then steps and checks.
    more = 0.1 + 0.1 + 10 * (0.1 + 2 * 0.001) + 3 * (0.1 + 2 * 0.001)
    assert predict(ROW, 1, slow) == pytest.approx(predict(ROW, 1, LINK) + more)


def test_epochs_that_send_one_way_or_nothing():
    up = ROW | {"down_gradients": 0, "down_headers": 0}
    assert 1.3 < predict(up, 1, LINK) < predict(ROW, 1, LINK)
    nothing = up | {"up_activations": 0, "up_labels": 0, "up_headers": 0, "evaluation": 0}
    slow = replace(LINK, round_trip_s=0.1, message_bytes=1000)
    assert predict(nothing | {"mode": "cached"}, 1, slow) == pytest.approx(2.2 + 1.1)
    # Alone, each step and each check is a call that is waited for, framed both ways.
    call, alone = 0.1 + 2 * 0.001, nothing | {"mode": "alone"}
    assert predict_training(alone, 1, slow) == pytest.approx(3.0 + 10 * call)
    assert predict(alone, 1, slow) == pytest.approx(2.2 + 1.1 + (10 + 3) * call)
    assert predict(alone, 2, slow) == predict(alone, 1, slow)


def test_weights_are_handed_over_once():
    nothing = ROW | dict.fromkeys((*UP, *DOWN), 0)
    assert predict_training(nothing, 1, LINK) == pytest.approx(3.0)
    handed = nothing | {"up_weights": 500_000, "up_headers": 60}
    assert predict_training(handed, 1, LINK) == pytest.approx(3.0 + 0.5)
    assert predict_training(ROW | {"up_weights": 500_000}, 1, LINK) == pytest.approx(1.0 + 0.5 + 3.0 + 0.5)


def test_a_run_predicts_itself(squeezed, tmp_path):
    summary = train_local(squeezed, str(tmp_path / "run"))
    rows = RunDir.at(str(tmp_path / "run")).rows()
    for name, link in NAMED.items():
        assert all(row[f"predicted_{name}_s"] == predict(row, 1, link) for row in rows)
        assert summary["predicted_s"][name] == sum(row[f"predicted_{name}_s"] for row in rows)
