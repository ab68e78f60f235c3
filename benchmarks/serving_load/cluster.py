"""A local Ray with Serve, to which applications are deployed by Serve's config schema, as `serve run FILE` does."""

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
"""`access` of applications: they listen on this machine only, and behind HAProxy cannot recognize local clients."""
_POLL_S = 0.2
_CPUS = 4
"""CPUs that Ray is told to have; replicas reserve 0.1 each and share the machine."""
MODES: dict[str, dict[str, str]] = {
    "default": {},
    "throughput": {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"},
}
"""Environment variables for Ray: Serve's defaults, or its throughput mode behind HAProxy."""


class ServeCluster:
    """Serve on a free port of this machine."""

    def __init__(self, client: Any, port: int):
        self._client, self.address = client, f"{_HOST}:{port}"
        self._http = {"host": _HOST, "port": port, "request_timeout_s": 30.0}
        self._deployed: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def deploy(self, applications: list[dict[str, Any]]) -> None:
        """Replace all applications, in place if they have the same name; return before they are running."""
        self._deployed = applications
        config = {"http_options": self._http, "applications": applications}
        self._client.deploy_apps(ServeDeploySchema.model_validate(config))

    def wait_until_running(self, timeout_s: float) -> float:
        """Wait until all applications are running, and return the seconds it took.

        Raises RuntimeError if one fails to start, TimeoutError if it takes too long.
        """
        start = time.monotonic()
        while time.monotonic() - start < timeout_s:
            overviews = serve.status().applications
            names = [app["name"] for app in self._deployed]
            states = {name: overviews[name].status for name in names if name in overviews}
            if len(states) == len(self._deployed) and set(states.values()) == {"RUNNING"}:
                return time.monotonic() - start
            if failed := [name for name, state in states.items() if state == "DEPLOY_FAILED"]:
                raise RuntimeError(f"application '{failed[0]}' failed to start: {overviews[failed[0]].message}")
            time.sleep(_POLL_S)
        raise TimeoutError(f"applications are not running after {timeout_s:g} s: {serve.status().applications}")

    def deployment_pids(self, app: str, deployment: str) -> list[int]:
        """Return the process ids of a deployment's running replicas."""
        replicas = self._client.get_serve_details()["applications"][app]["deployments"][deployment]["replicas"]
        return [replica["pid"] for replica in replicas if replica["state"] == "RUNNING"]

    def application_pids(self, app: str) -> set[int]:
        """Return the process ids of all running replicas of an application."""
        deployments = self._client.get_serve_details()["applications"][app]["deployments"]
        return {pid for name in deployments for pid in self.deployment_pids(app, name)}


@contextmanager
def start_serve(mode: str) -> Iterator[ServeCluster]:
    """Start Ray and Serve in one of `MODES`, and shut both down at the end of the block.

    Replicas can import the modules beside the running script.
    """
    folder = tempfile.mkdtemp(prefix="rs")  # Ray's socket paths must be short
    os.environ.pop("RAY_ADDRESS", None)
    os.environ.update(MODES[mode])
    code = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path[1:]])
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
        yield ServeCluster(client, port)
    finally:
        serve.shutdown()
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
        for name in MODES[mode]:
            del os.environ[name]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
    return port
