"""What an application tells of itself: metrics for Prometheus, a log line for each request, and recent figures."""

from __future__ import annotations

import logging
import statistics
import time
from collections import deque
from collections.abc import Sequence

from ray.serve import metrics

from raysplit.config import Frozen
from raysplit.serving.ensemble.fan_out import DeploymentResult

_WINDOW_S = 30.0
_KEPT = 10_000
_BOUNDS_MS: list[float] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000]
_log = logging.getLogger("ray.serve")


class Recent(Frozen):
    """What one replica of the ingress saw in the last 30 seconds, but no more than its last 10,000 requests."""

    window_s: float
    requests: int
    failed: int
    """Answered with a status of 400 or more."""
    degraded: int
    requests_per_s: float
    p50_ms: float | None
    """None: there was no request."""
    p95_ms: float | None


class Telemetry:
    """The metrics of one replica; names start with `raysplit_`."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._seen: deque[tuple[float, float, bool, bool]] = deque(maxlen=_KEPT)
        self._requests = metrics.Counter("raysplit_requests", "Requests answered.", tag_keys=("path", "status"))  # type: ignore[arg-type]
        self._degraded = metrics.Counter("raysplit_degraded", "Answers for which sub-models were missing.")
        self._missing = metrics.Counter(
            "raysplit_missing",
            "Times a deployment of sub-models did not answer.",
            tag_keys=("branch", "reason"),  # type: ignore[arg-type]
        )
        self._bytes = metrics.Counter("raysplit_bytes", "Bytes of request bodies.", tag_keys=("path",))
        self._latency = metrics.Histogram(
            "raysplit_latency_ms", "Milliseconds from request to answer.", boundaries=_BOUNDS_MS, tag_keys=("path",)
        )
        self._branch = metrics.Histogram(
            "raysplit_branch_ms",
            "Milliseconds from asking a deployment to its answer.",
            boundaries=_BOUNDS_MS,
            tag_keys=("branch",),
        )

    def answered(self, path: str, status: int, seconds: float, size: int, degraded: bool) -> None:
        """Note a request: `size` are the bytes of its body."""
        self._requests.inc(tags={"path": path, "status": str(status)})
        self._latency.observe(1000 * seconds, tags={"path": path})
        if size:
            self._bytes.inc(size, tags={"path": path})
        if degraded:
            self._degraded.inc()
        self._seen.append((time.monotonic(), seconds, status >= 400, degraded))
        fields = {"path": path, "status": status, "ms": round(1000 * seconds, 3), "bytes": size, "degraded": degraded}
        _log.info("answered %s with %s in %.1f ms", path, status, 1000 * seconds, extra=fields)

    def heard(self, branches: Sequence[DeploymentResult]) -> None:
        """Note what came of asking the deployments of sub-models, once for each batch."""
        for branch in branches:
            self._branch.observe(1000 * branch.seconds, tags={"branch": branch.name})
            if branch.reason:
                self._missing.inc(tags={"branch": branch.name, "reason": branch.reason})

    def recent(self) -> Recent:
        """Return the figures of the last 30 seconds."""
        now = time.monotonic()
        window = min(_WINDOW_S, now - self._started)
        if len(self._seen) == _KEPT:
            window = min(window, now - self._seen[0][0])
        seen = [one for one in self._seen if now - one[0] <= window]
        times = sorted(1000 * seconds for _, seconds, _, _ in seen)
        return Recent(
            window_s=window,
            requests=len(seen),
            failed=sum(failed for _, _, failed, _ in seen),
            degraded=sum(degraded for _, _, _, degraded in seen),
            requests_per_s=len(seen) / max(window, 1.0),
            p50_ms=statistics.median(times) if times else None,
            p95_ms=times[int(0.95 * (len(times) - 1))] if times else None,
        )
