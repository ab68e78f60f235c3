"""Load from `wrk`, a load generator that Debian has: many clients, each with one request at a time."""

from __future__ import annotations

import json
import shutil
import subprocess
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
    """A request that is sent over and over."""

    path: str
    body: bytes
    headers: dict[str, str]


@dataclass(frozen=True)
class Load:
    """What came of it."""

    ips: float
    """Requests answered with 200 and by all sub-models, a second; one image each."""
    p50_ms: float
    p95_ms: float
    p99_ms: float
    bad: int
    """Requests refused, broken off or answered without some of the sub-models."""


def missing() -> str | None:
    """Return why there can be no load, or None."""
    return None if shutil.which("wrk") else "`wrk` is not installed: apt-get install wrk"


def load(address: str, call: Call, clients: int, seconds: int) -> Load:
    """Send a call from so many clients for so long; RuntimeError when nothing is answered."""
    with tempfile.TemporaryDirectory() as folder:
        body, script = Path(folder, "body"), Path(folder, "post.lua")
        body.write_bytes(call.body)
        headers = "\n".join(f'wrk.headers["{name}"] = "{value}"' for name, value in call.headers.items())
        script.write_text(_SCRIPT % {"body": body, "headers": headers})
        words = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script)]
        words.append(f"http://{address}{call.path}")
        done = subprocess.run(words, capture_output=True, text=True, timeout=seconds + 60, check=False)
    return figures(done.stdout + done.stderr)


def figures(text: str) -> Load:
    """Return what `wrk` printed; RuntimeError when that is not what the script prints."""
    lines = [line for line in text.splitlines() if line.startswith("FIGURES ")]
    found = json.loads(lines[0].removeprefix("FIGURES ")) if lines else {"answers": 0}
    if not found["answers"]:
        raise RuntimeError(f"wrk had no answer: {text.strip()[-400:]}")
    bad = found["refused"] + found["broken"] + found["degraded"]
    good = found["answers"] - found["refused"] - found["degraded"]
    return Load(good / found["us"] * 1e6, found["p50"] / 1e3, found["p95"] / 1e3, found["p99"] / 1e3, bad)
