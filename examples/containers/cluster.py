"""Does what KubeRay and kubelet do: starts a container per pod of a RayService, submits its Serve config, restarts."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import requests
import yaml
from podman import Container, Network, podman

from raysplit.containers.pods import HEAD, PodContainer, SecretValue, list_pods, list_secrets

_HEAD_NUMBER, _REDIS_NUMBER, _FIRST_NUMBER = 2, 3, 10
_KUBELET_S, _SUBMIT_S = 1.0, 300.0
APPLICATION = "ensemble"


@dataclass
class Cluster:
    """The containers of one RayService."""

    manifest: Mapping[str, Any]
    network: Network
    redis_image: str
    volumes: Sequence[str] = ()
    keys: dict[SecretValue, str] = field(default_factory=dict)
    containers: dict[str, Container] = field(default_factory=dict)
    """By the names of pods."""
    pods: dict[str, PodContainer] = field(default_factory=dict)
    _leaving: set[str] = field(default_factory=set)
    """Pods that are not started again."""
    _numbers: int = _FIRST_NUMBER
    _extra: list[str] = field(default_factory=list)
    """Options of every container."""
    _stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def config(self) -> dict[str, Any]:
        """The Serve config in the RayService."""
        config: dict[str, Any] = yaml.safe_load(self.manifest["spec"]["serveConfigV2"])
        return config

    @property
    def key(self) -> str:
        """What clients send as X-API-Key."""
        return self.keys[SecretValue("raysplit", "api-key")]

    def url(self, group: str = "ingress") -> str:
        """Return where a group's first pod speaks HTTP."""
        return f"http://{self.containers[f'{group}-0'].address}:8000"

    def start(self, timeout_s: float) -> None:
        """Start Redis and all pods, and restart whatever ends, as kubelet does; SystemExit if it takes longer."""
        self.network.create()
        pods = list_pods(self.manifest, head_address=self.network.address(_HEAD_NUMBER))
        self.keys |= {value: secrets.token_hex(16) for value in list_secrets(pods)}
        if (password := self.keys.get(SecretValue("raysplit-redis", "password"))) is not None:
            host, _, _ = str(pods[0].environment["RAY_REDIS_ADDRESS"]).partition(":")
            address = self.network.address(_REDIS_NUMBER)
            self._extra = ["--add-host", f"{host}:{address}"]
            words = ["redis-server", "--requirepass", password, "--bind", "0.0.0.0", "--protected-mode", "no"]
            words += ["--save", "", "--dir", "/tmp"]  # without files: it refuses to write when it cannot save
            name = f"{self.network.name}-redis"
            podman("rm", "--force", name, check=False)
            options = ("--network", self.network.name, "--ip", address, "--name", name)
            podman("run", "--detach", *options, self.redis_image, *words)
        threading.Thread(target=self._run_kubelet, daemon=True).start()
        for joined, pod in enumerate(pods, 1):  # one after the other: they share the processors of one machine
            self.add(pod)
            self.wait_for_nodes(joined, timeout_s)

    def add(self, pod: PodContainer) -> None:
        """Start a pod."""
        number = _HEAD_NUMBER if pod.name == HEAD else self._numbers
        self._numbers += pod.name != HEAD
        container = Container(f"{self.network.name}-{pod.name}", self.network.address(number))
        container.remove()
        extra = [*self._extra, *(word for volume in self.volumes for word in ("--volume", volume))]
        container.start(pod, self.network, self.keys, extra)
        self.containers[pod.name], self.pods[pod.name] = container, pod
        self._leaving.discard(pod.name)

    def delete(self, name: str) -> None:
        """Stop a pod by its own command and delete it."""
        self._leaving.add(name)
        self.containers[name].stop(self.pods.pop(name).stop_command)
        del self.containers[name]

    def list_pods_without_replica(self, group: str, deployment: str) -> list[str]:
        """Return the pods of a group that hold no replica of a deployment, which an autoscaler deletes."""
        used = {replica["node_ip"] for replica in self._running_replicas(deployment)}
        pods = [pod.name for pod in self.pods.values() if pod.group == group]
        return [name for name in pods if self.containers[name].address not in used]

    def submit(self, config: Mapping[str, Any]) -> None:
        """Submit a Serve config, as KubeRay does: again, until it is taken."""
        end, answer = time.monotonic() + _SUBMIT_S, ""
        while time.monotonic() < end:
            try:
                url = f"{self._dashboard}/applications/"
                response = requests.put(url, json=config, headers=self._headers, timeout=60)
                if response.status_code == 200:
                    return
                answer = f"{response.status_code} {response.text[:400]}"
            except requests.RequestException as err:
                answer = f"{type(err).__name__}: {err}"
            time.sleep(2.0)
        raise SystemExit(f"the Serve config was not taken: {answer}")

    def wait_until_running(self, timeout_s: float) -> float:
        """Wait for the application and all its deployments, and return the seconds; SystemExit if it takes longer."""
        began, state = time.monotonic(), "the dashboard does not answer"
        while time.monotonic() - began < timeout_s:
            try:
                details = self._details()
                deployments = details["deployments"]
                statuses = {name: deployment["status"] for name, deployment in deployments.items()}
                if details["status"] == "RUNNING" and set(statuses.values()) == {"HEALTHY"}:
                    return time.monotonic() - began
                state = f"{details['status']} {statuses} {details.get('message', '')}"
            except (requests.RequestException, KeyError, ValueError) as err:
                state = f"{type(err).__name__}: {err}"
            time.sleep(1.0)
        raise SystemExit(f"the application is not running after {timeout_s:g} s: {state[:2000]}")

    def count_replicas(self, deployment: str) -> int:
        """Return how many replicas of a deployment run."""
        return len(self._running_replicas(deployment))

    def wait_for_nodes(self, count: int, timeout_s: float) -> None:
        """Wait until the cluster has so many nodes."""
        end, found = time.monotonic() + timeout_s, "the head does not answer"
        url = f"http://{self.network.address(_HEAD_NUMBER)}:8265/nodes?view=summary"
        while time.monotonic() < end:
            try:
                nodes = requests.get(url, headers=self._headers, timeout=10).json()["data"]["summary"]
                alive = [node for node in nodes if node["raylet"].get("state") == "ALIVE"]
                if len(alive) >= count:
                    return
                found = f"{len(alive)} of {count} nodes are there"
            except (requests.RequestException, KeyError, ValueError) as err:
                found = f"{type(err).__name__}: {err}"
            time.sleep(1.0)
        raise SystemExit(f"{found} after {timeout_s:g} s; podman logs {self.network.name}-head")

    def stop(self) -> None:
        """Delete all containers and the network."""
        self._stopped.set()
        self.network.remove()

    def _running_replicas(self, deployment: str) -> list[dict[str, Any]]:
        replicas = self._details()["deployments"][deployment]["replicas"]
        return [replica for replica in replicas if replica["state"] == "RUNNING"]

    def _details(self) -> dict[str, Any]:
        response = requests.get(f"{self._dashboard}/applications/", headers=self._headers, timeout=10)
        details: dict[str, Any] = response.json()["applications"][APPLICATION]
        return details

    @property
    def _dashboard(self) -> str:
        return f"http://{self.network.address(_HEAD_NUMBER)}:8265/api/serve"

    @property
    def _headers(self) -> dict[str, str]:
        token = self.keys.get(SecretValue("auth", "auth_token"))
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _run_kubelet(self) -> None:
        while not self._stopped.wait(_KUBELET_S):
            for name, container in list(self.containers.items()):
                if name not in self._leaving and not self._stopped.is_set() and not container.is_running():
                    container.restart()
