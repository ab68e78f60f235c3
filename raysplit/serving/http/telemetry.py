"""Observability of an application: metrics for Prometheus, a log line per request, and figures of recent traffic."""

from __future__ import annotations

import logging
import math
import statistics
import time
from collections import deque
from typing import NamedTuple

from ray.serve import metrics

from raysplit.utils.frozen import Frozen

LATENCY_BOUNDARIES_MS: list[float] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000]
"""Bucket boundaries of latency histograms."""
_WINDOW_S = 30.0
_MAX_REQUESTS = 10_000
_log = logging.getLogger("ray.serve")


class RecentTraffic(Frozen):
    """Traffic of one HTTP replica in the last 30 seconds, or its last 10,000 requests if there were more."""

    window_s: float
    requests: int
    failed: int
    """Requests answered with a status of 400 or more."""
    degraded: int
    requests_per_s: float
    p50_ms: float | None
    """None if there was no request."""
    p95_ms: float | None
    """At least 95 % of the requests took no longer."""


class _Request(NamedTuple):
    ended_at: float
    seconds: float
    failed: bool
    degraded: bool


class Telemetry:
    """Metrics and recent traffic of one HTTP replica; names of metrics start with `raysplit_`."""

    def __init__(self) -> None:
        self._started_at = time.monotonic()
        self._recent: deque[_Request] = deque(maxlen=_MAX_REQUESTS)
        self._requests = metrics.Counter("raysplit_requests", "Requests answered.", tag_keys=("path", "status"))  # type: ignore[arg-type]
        self._degraded = metrics.Counter("raysplit_degraded", "Requests answered without some of the sub-models.")
        self._bytes = metrics.Counter("raysplit_bytes", "Bytes of request bodies.", tag_keys=("path",))
        self._latency = metrics.Histogram(
            "raysplit_latency_ms",
            "Milliseconds from request to response.",
            boundaries=LATENCY_BOUNDARIES_MS,
            tag_keys=("path",),
        )

    def record_request(self, path: str, status: int, seconds: float, body_bytes: int, degraded: bool) -> None:
        """Count and log a request that has ended."""
        self._requests.inc(tags={"path": path, "status": str(status)})
        self._latency.observe(1000 * seconds, tags={"path": path})
        if body_bytes:
            self._bytes.inc(body_bytes, tags={"path": path})
        if degraded:
            self._degraded.inc()
        self._recent.append(_Request(time.monotonic(), seconds, status >= 400, degraded))
        fields = {
            "path": path,
            "status": status,
            "ms": round(1000 * seconds, 3),
            "bytes": body_bytes,
            "degraded": degraded,
        }
        _log.info("answered %s with %s in %.1f ms", path, status, 1000 * seconds, extra=fields)

    def recent_traffic(self) -> RecentTraffic:
        """Return figures of the last 30 seconds."""
        now = time.monotonic()
        window = min(_WINDOW_S, now - self._started_at)
        if len(self._recent) == _MAX_REQUESTS:
            window = min(window, now - self._recent[0].ended_at)
        recent = [request for request in self._recent if now - request.ended_at <= window]
        latencies = sorted(1000 * request.seconds for request in recent)
        return RecentTraffic(
            window_s=window,
            requests=len(recent),
            failed=sum(request.failed for request in recent),
            degraded=sum(request.degraded for request in recent),
            requests_per_s=len(recent) / max(window, 1.0),
            p50_ms=statistics.median(latencies) if latencies else None,
            p95_ms=latencies[math.ceil(0.95 * len(latencies)) - 1] if latencies else None,
        )
