"""How often a device meets its latency target on a link that steps from 20 to 2 and back to 20 Mbit/s."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from typing import Any

import torch

from raysplit.device import DeviceClient
from raysplit.device.emulated_link import EmulatedLink, step_rate
from raysplit.device.http import HttpTransport

IMAGES = 16
TARGET_S = 0.075
"""Between the times that 16 images take at the loosest level on the two rates."""
ROUND_TRIP_S = 0.01
_STEP_S = 20.0


def measure_target(family: str, url: str) -> dict[str, Any]:
    """Return the share of requests that met the target, and the levels used, over a minute of sequential requests."""
    transport = HttpTransport(url, 10.0)
    images = torch.randint(0, 256, (IMAGES, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    warm = DeviceClient(family, url, target_s=TARGET_S)
    for _ in range(20):
        warm.predict(images)
    warm.close()
    rate = step_rate((_STEP_S, 20e6), (2 * _STEP_S, 2e6), (3 * _STEP_S, 20e6))
    link = EmulatedLink(transport, rate, ROUND_TRIP_S, transport.clock)
    met, levels, times_ms = [], Counter[str](), []
    start = time.perf_counter()
    with DeviceClient(family, url, target_s=TARGET_S, transport=link) as client:
        while (now := time.perf_counter() - start) < 3 * _STEP_S:
            answer = client.predict(images)
            met.append(answer.within_target)
            levels[f"{('20', '2', '20 again')[int(now // _STEP_S)]} Mbit/s, {answer.level}"] += 1
            times_ms.append(1000 * answer.seconds.total)
    return {
        "target_kept_share": statistics.mean(met),
        "target_ms": 1000 * TARGET_S,
        "images": IMAGES,
        "requests": len(met),
        "p50_ms": statistics.median(times_ms),
        "levels": dict(levels),
    }
