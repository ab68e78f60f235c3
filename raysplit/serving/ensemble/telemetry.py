"""Metrics of the deployments of an ensemble, for Prometheus."""

from __future__ import annotations

from collections.abc import Sequence

from ray.serve import metrics

from raysplit.serving.ensemble.fan_out import DeploymentResult
from raysplit.serving.http.telemetry import LATENCY_BOUNDARIES_MS


class DeploymentMetrics:
    """How long deployments of sub-models take, and how often and why they do not answer."""

    def __init__(self) -> None:
        self._latency = metrics.Histogram(
            "raysplit_branch_ms",
            "Milliseconds from querying a deployment to its reply.",
            boundaries=LATENCY_BOUNDARIES_MS,
            tag_keys=("branch",),
        )
        self._missing = metrics.Counter(
            "raysplit_missing",
            "Queries that a deployment of sub-models did not answer.",
            tag_keys=("branch", "reason"),  # type: ignore[arg-type]
        )

    def record_results(self, results: Sequence[DeploymentResult]) -> None:
        """Count the results of all deployments for one batch."""
        for result in results:
            self._latency.observe(1000 * result.total_s, tags={"branch": result.deployment})
            if result.missing:
                self._missing.inc(tags={"branch": result.deployment, "reason": result.missing})
