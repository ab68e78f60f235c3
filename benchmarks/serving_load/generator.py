"""Load from the load generator `wrk`: many clients, each with one request at a time."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

_SCRIPT = """
local file = io.open("%(body)s", "rb")
wrk.method, wrk.body = "POST", file:read("*a")
file:close()
%(headers)s
degraded = 0
function setup(thread) only = thread end
function response(status, headers, body)
  if body:find('"degraded":true', 1, true) then degraded = degraded + 1 end
end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\nFIGURES {"answers": %%d, "us": %%d, "refused": %%d, "broken": %%d, "degraded": %%d, ' ..
    '"p50": %%f, "p95": %%f, "p99": %%f}\\n', summary.requests, summary.duration, e.status,
    e.connect + e.read + e.write + e.timeout, only:get("degraded"),
    latency:percentile(50), latency:percentile(95), latency:percentile(99)))
end
"""


@dataclass(frozen=True)
class Call:
    """A POST request that is sent repeatedly."""

    path: str
    body: bytes
    headers: dict[str, str]


@dataclass(frozen=True)
class LoadResult:
    """Throughput and latency under load."""

    ips: float
    """Images per second: requests, of one image each, answered with 200 and by all sub-models."""
    p50_ms: float
    p95_ms: float
    p99_ms: float
    bad: int
    """Requests refused, interrupted or answered without some of the sub-models."""


def require_wrk() -> None:
    """Exit with an error if `wrk` is not installed."""
    if shutil.which("wrk") is None:
        sys.exit("`wrk` is not installed: apt-get install wrk")


def generate_load(address: str, call: Call, clients: int, seconds: int) -> LoadResult:
    """Send a call from `clients` clients for `seconds`; RuntimeError if nothing is answered."""
    with tempfile.TemporaryDirectory() as folder:
        body, script = Path(folder, "body"), Path(folder, "post.lua")
        body.write_bytes(call.body)
        headers = "\n".join(f'wrk.headers["{name}"] = "{value}"' for name, value in call.headers.items())
        script.write_text(_SCRIPT % {"body": body, "headers": headers})
        command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script)]
        command.append(f"http://{address}{call.path}")
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=False)
    return parse_output(done.stdout + done.stderr)


def parse_output(text: str) -> LoadResult:
    """Return the result that `wrk` printed; RuntimeError if there is none."""
    lines = [line for line in text.splitlines() if line.startswith("FIGURES ")]
    counts = json.loads(lines[0].removeprefix("FIGURES ")) if lines else {"answers": 0}
    if not counts["answers"]:
        raise RuntimeError(f"wrk got no response: {text.strip()[-400:]}")
    bad = counts["refused"] + counts["broken"] + counts["degraded"]
    good = counts["answers"] - counts["refused"] - counts["degraded"]
    return LoadResult(good / counts["us"] * 1e6, counts["p50"] / 1e3, counts["p95"] / 1e3, counts["p99"] / 1e3, bad)
