"""`serve run` in a process of its own, with a Ray of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

CONFIGS = Path(__file__).parent.parent.parent / "serve_configs"
URL = "http://127.0.0.1:8000"
_START_S = 240


@dataclass(frozen=True)
class ServeRun:
    """`serve run` that is ready."""

    url: str
    pid: int

    def replica_pid(self, deployment: str) -> int:
        """Return the process id of a deployment's only replica."""
        (pid,) = (pid for pid, title in _descendants(self.pid) if title.startswith(f"ray::ServeReplica:{deployment}"))
        return pid


@contextmanager
def serve_run(config: str, folder: Path) -> Iterator[ServeRun]:
    """Run a shipped config from a folder, wait until it is ready, and yield it."""
    ray_folder = tempfile.mkdtemp(prefix="rs")  # Ray's socket paths must be short
    serve = Path(sys.executable).with_name("serve")
    env = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"} | {"RAY_TMPDIR": ray_folder}
    with open(Path(ray_folder) / "serve.log", "w+") as log:
        process = subprocess.Popen(
            [serve, "run", str(CONFIGS / config)], cwd=folder, env=env, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            _wait(process, Path(log.name))
            yield ServeRun(URL, process.pid)
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
            shutil.rmtree(ray_folder, ignore_errors=True)


def _descendants(pid: int) -> Iterator[tuple[int, str]]:
    """Yield the processes below a process, with their titles."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            yield child, Path(f"/proc/{child}/cmdline").read_text().rstrip("\0")
            yield from _descendants(child)


def _wait(process: subprocess.Popen, log: Path) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            if requests.get(f"{URL}/v2/health/ready", timeout=2).status_code == 200:
                return
        except requests.RequestException:
            pass
        time.sleep(0.5)
    raise AssertionError(f"`serve run` is not ready:\n{log.read_text()[-4000:]}")
