"""A Ray of its own with Serve in it: deployed from Serve's config schema, as `serve run FILE` does it."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray import serve
from ray.serve._private.api import serve_start
from ray.serve.schema import ServeDeploySchema

_HOST = "127.0.0.1"
ANYONE = {"anyone": True}
"""`access` of applications: they listen on this machine alone, and behind HAProxy cannot tell who asks."""
_POLL_S = 0.2
_CPUS = 4
"""That Ray believes in: replicas reserve 0.1 each and share the machine."""
MODES: dict[str, dict[str, str]] = {
    "default": {},
    "throughput": {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"},
}
"""Environment that Ray is started in: Serve as it comes, or with HAProxy in front and its throughput mode."""


class Place:
    """Serve on a free port of this machine."""

    def __init__(self, client: Any, port: int):
        self._client, self.address = client, f"{_HOST}:{port}"
        self._http = {"host": _HOST, "port": port, "request_timeout_s": 30.0}
        self._deployed: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def deploy(self, applications: list[dict[str, Any]]) -> None:
        """Make these the applications, in place where they have the same name; returns before they run."""
        self._deployed = applications
        config = {"http_options": self._http, "applications": applications}
        self._client.deploy_apps(ServeDeploySchema.model_validate(config))

    def wait(self, timeout_s: float) -> float:
        """Wait until all applications run, and return the seconds it took; TimeoutError, RuntimeError when not."""
        start = time.monotonic()
        while time.monotonic() - start < timeout_s:
            found = serve.status().applications
            states = {app["name"]: found[app["name"]].status for app in self._deployed if app["name"] in found}
            if len(states) == len(self._deployed) and set(states.values()) == {"RUNNING"}:
                return time.monotonic() - start
            if failed := [name for name, state in states.items() if state == "DEPLOY_FAILED"]:
                raise RuntimeError(f"application '{failed[0]}' does not start: {found[failed[0]].message}")
            time.sleep(_POLL_S)
        raise TimeoutError(f"applications do not run after {timeout_s:g} s: {serve.status().applications}")

    def pids(self, app: str, deployment: str) -> list[int]:
        """Return the processes of a deployment's replicas that run."""
        replicas = self._client.get_serve_details()["applications"][app]["deployments"][deployment]["replicas"]
        return [replica["pid"] for replica in replicas if replica["state"] == "RUNNING"]

    def replicas(self, app: str) -> set[int]:
        """Return the processes of all replicas of an application that run."""
        deployments = self._client.get_serve_details()["applications"][app]["deployments"]
        return {process for name in deployments for process in self.pids(app, name)}


@contextmanager
def serving(mode: str) -> Iterator[Place]:
    """Start Ray and Serve, in one of `MODES`, and end both with all that they started.

    Modules beside the script that was started can be imported in replicas.
    """
    folder = tempfile.mkdtemp(prefix="rs")  # Ray's socket paths must be short
    os.environ.pop("RAY_ADDRESS", None)
    os.environ.update(MODES[mode])
    code = os.pathsep.join([str(Path(__file__).parent), *sys.path[1:]])
    try:
        ray.init(
            address="local",
            num_cpus=_CPUS,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            namespace="serve",
            runtime_env={"env_vars": {"PYTHONPATH": code}},
            _temp_dir=folder,
        )
        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        port = _free_port()
        client = serve_start(http_options={"host": _HOST, "port": port, "request_timeout_s": 30.0})
        yield Place(client, port)
    finally:
        serve.shutdown()
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
        for name in MODES[mode]:
            del os.environ[name]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return probe.getsockname()[1]
