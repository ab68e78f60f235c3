"""Typical seconds and ratios."""

from __future__ import annotations

import pytest

from raysplit.device.compute_estimate import CompressionRatio, ComputeEstimate


def test_one_slow_request_changes_nothing():
    pace = ComputeEstimate()
    for seconds in (0.01, 0.01, 5.0, 0.01):
        pace.observe(1, seconds)
    assert pace.forecast(1) == pytest.approx(0.01)


def test_a_number_of_images_not_seen_yet():
    pace = ComputeEstimate()
    assert pace.forecast(3) == 0.0
    pace.observe(2, 0.02)
    assert pace.forecast(4) == pytest.approx(0.04) and pace.forecast(1) == pytest.approx(0.02)


def test_ratios():
    ratio = CompressionRatio()
    assert ratio.ratio == 1.0
    for size in (50, 60, 100):
        ratio.observe(size, 100)
    assert ratio.ratio == 0.6
