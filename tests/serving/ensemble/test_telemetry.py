"""Metrics of the deployments of an ensemble."""

from __future__ import annotations

from raysplit.serving.ensemble.fan_out import DeploymentResult
from raysplit.serving.ensemble.telemetry import DeploymentMetrics


def test_missing_deployments_are_counted_by_reason(monkeypatch):
    metrics, counted, observed = DeploymentMetrics(), [], []
    monkeypatch.setattr(metrics._missing, "inc", lambda value=1.0, tags=None: counted.append(tags))
    monkeypatch.setattr(metrics._latency, "observe", lambda value, tags: observed.append((value, tags["branch"])))
    metrics.record_results([DeploymentResult("a", (), None, 0.1, 0.0), DeploymentResult("b", (), "late", 2.0, 0.0)])
    assert counted == [{"branch": "b", "reason": "late"}] and observed == [(100.0, "a"), (2000.0, "b")]
