"""Figures of recent traffic, metrics and log lines."""

from __future__ import annotations

import logging

import pytest

from raysplit.serving.http.telemetry import Telemetry


def test_recent_traffic():
    telemetry = Telemetry()
    empty = telemetry.recent_traffic()
    assert empty.requests == 0 and empty.p50_ms is None and empty.p95_ms is None
    for i in range(100):
        telemetry.record_request("infer", 503 if i < 3 else 200, (i + 1) / 1000, 10, degraded=i < 7)
    recent = telemetry.recent_traffic()
    assert (recent.requests, recent.failed, recent.degraded) == (100, 3, 7)
    assert 50 <= recent.p50_ms <= 51 and 94 <= recent.p95_ms <= 96
    assert recent.requests_per_s <= 100


@pytest.mark.parametrize(("count", "p95"), [(1, 1.0), (2, 2.0), (19, 19.0), (20, 19.0), (21, 20.0)])
def test_p95_of_a_few_requests_is_not_below_their_median(count, p95):
    telemetry = Telemetry()
    for i in range(count):
        telemetry.record_request("split", 200, (i + 1) / 1000, 0, degraded=False)
    assert telemetry.recent_traffic().p95_ms == pytest.approx(p95)


def test_a_log_line_has_fields(caplog):
    logger = logging.getLogger("ray.serve")
    logger.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.INFO, "ray.serve"):
            Telemetry().record_request("predict", 200, 0.0123, 456, degraded=True)
    finally:
        logger.removeHandler(caplog.handler)
    [record] = [record for record in caplog.records if hasattr(record, "degraded")]
    assert (record.path, record.status, record.ms, record.bytes, record.degraded) == ("predict", 200, 12.3, 456, True)


def test_the_rate_is_right_when_there_are_more_requests_than_are_remembered(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("raysplit.serving.http.telemetry.time.monotonic", lambda: now[0])
    telemetry = Telemetry()
    for _ in range(15_000):
        now[0] += 0.001
        telemetry.record_request("infer", 200, 0.01, 0, False)
    assert telemetry.recent_traffic().requests_per_s == pytest.approx(1000, rel=0.01)
