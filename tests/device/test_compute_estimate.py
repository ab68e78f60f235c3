"""Typical seconds and shares."""

from __future__ import annotations

import pytest

from raysplit.device.compute_estimate import CompressionRatio, ComputeEstimate


def test_one_slow_request_changes_nothing():
    pace = ComputeEstimate()
    for seconds in (0.01, 0.01, 5.0, 0.01):
        pace.saw(1, seconds)
    assert pace.forecast(1) == pytest.approx(0.01)


def test_a_number_of_images_not_seen_yet():
    pace = ComputeEstimate()
    assert pace.forecast(3) == 0.0
    pace.saw(2, 0.02)
    assert pace.forecast(4) == pytest.approx(0.04) and pace.forecast(1) == pytest.approx(0.02)


def test_shares():
    ratio = CompressionRatio()
    assert ratio.share == 1.0
    for size in (50, 60, 100):
        ratio.saw(size, 100)
    assert ratio.share == 0.6
