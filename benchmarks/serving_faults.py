"""What clients of an ensemble see while its replicas die and its bundle is replaced.

    python benchmarks/serving_faults.py [--seconds 20] [--modes default throughput] [--work DIR]

The network of `mnist5k_vit_n3` in three sub-models: two replicas of the ingress, two of the first sub-model, one of
each other; `missing` is `drop`. Four clients send requests all the time. If the connection breaks or the response is
5xx, they repeat the request once, after the seconds in `Retry-After`: a forward pass may be repeated. Each answer is
compared with a prediction in this process by the bundle that it names, without the sub-models that it lists as missing;
features of two bundles mixed would match neither.

Faults, each under load: one replica of a sub-model is killed, then all replicas of one, then a replica of the ingress;
then the application is redeployed in place with another bundle. Measured with Serve's defaults and in its throughput
mode behind HAProxy (`serving_cluster.MODES`). The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import requests
import torch
from meta import meta, save
from serving_load.bundles import make_ensemble
from serving_load.cluster import ANYONE, MODES, ServeCluster, start_serve

from raysplit.ensemble.bundle import Ensemble, load_ensemble

APP, PATH = "app", "/app/v2/models/raysplit/infer"
FAULTS = ("one replica of two", "all of a sub-model", "an ingress of two", "another bundle")
CLIENTS = 4
_START_S, _RECOVER_S = 600, 120
_TOLERANCE = 2e-2
"""Larger batches add in a different order, in bf16; predictions of another bundle differ by more."""
_PAUSE_S = 0.05
_TEXT = 300
"""Characters kept of a response that was no answer."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="minimum seconds of load per fault, default 20")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES), help="default both")
    parser.add_argument("--work", default="~/raysplit_benchmarks/serving", help="folder for the bundles")
    args = parser.parse_args()
    work = Path(args.work).expanduser()
    first, second = make_ensemble(work, 3), make_ensemble(work, 3, seed=1)
    rows = [{"mode": mode, **row} for mode in args.modes for row in run(first, second, args.seconds, mode)]
    print(format_table(rows))
    save("serving_faults", {"meta": meta([0, 1]), "rows": rows})
    print(json.dumps({key: sum(row[key] for row in rows) for key in ("requests", "lost", "wrong", "degraded_after")}))


def run(first: str, second: str, seconds: float, mode: str) -> list[dict[str, Any]]:
    """Return a row without a fault and one for each fault; `second` is the bundle of the redeployment."""
    bundles = {ensemble.id[:12]: ensemble for ensemble in map(load_ensemble, (first, second))}
    with start_serve(mode) as cluster:
        cluster.deploy([application(first)])
        cluster.wait_until_running(_START_S)
        clients = Clients(f"{cluster.url}{PATH}", bundles)
        injections: dict[str, Callable[[], int | None]] = {
            "none": lambda: None,
            "one replica of two": partial(kill, cluster, "submodel-0"),
            "all of a sub-model": partial(kill, cluster, "submodel-1"),
            "an ingress of two": partial(kill, cluster, "Ingress"),
            "another bundle": lambda: cluster.deploy([application(second)]),
        }
        rows = [inject(clients, name, injections[name], cluster, seconds) for name in ("none", *FAULTS)]
        clients.stop()
    return rows


def application(bundle: str) -> dict[str, Any]:
    deployments = [{"name": "Ingress", "num_replicas": 2}, {"name": "submodel-0", "num_replicas": 2}]
    return {
        "name": APP,
        "route_prefix": f"/{APP}",
        "import_path": "raysplit.serving.ensemble:build",
        "args": {"bundle": bundle, "missing": "drop", "access": ANYONE},
        "deployments": deployments,
    }


def kill(cluster: ServeCluster, deployment: str) -> int:
    """Kill the first replica of a deployment and return its process id."""
    pid: int = cluster.deployment_pids(APP, deployment)[0]
    os.kill(pid, signal.SIGKILL)
    return pid


def inject(
    clients: Clients, name: str, fault: Callable[[], int | None], cluster: ServeCluster, seconds: float
) -> dict[str, Any]:
    """Inject a fault under load, and count what clients saw until the application had recovered, and afterwards.

    `fault` returns the process id of the replica that it killed, if any.
    """
    before, lost_before = clients.start(), clients.lost_so_far()
    time.sleep(seconds / 2)
    injected_at = time.monotonic()
    replicas = cluster.application_pids(APP)
    killed = fault()
    cluster.wait_until_running(_RECOVER_S)
    deadline = injected_at + _RECOVER_S
    while killed is not None and (killed in (now := cluster.application_pids(APP)) or len(now) < len(replicas)):
        if time.monotonic() > deadline:
            raise TimeoutError(f"a replica that was killed has not been replaced after {_RECOVER_S} s")
        time.sleep(0.2)
    last_problem_at = clients.wait_until_healthy(_RECOVER_S)
    during = clients.count_since(before)
    recovered = clients.start()
    time.sleep(seconds / 2)
    after = clients.count_since(recovered)
    total = during + after
    return {
        "fault": name,
        "requests": total["requests"],
        "lost": total["lost"],
        "lost_because": clients.losses_since(lost_before),
        "wrong": total["wrong"],
        "repeated": total["repeated"],
        "degraded": during["degraded"],
        "degraded_after": after["degraded"],
        "well_again_s": max(0.0, last_problem_at - injected_at),
    }


@dataclass
class Clients:
    """Clients that send requests all the time, from the first `start` on."""

    url: str
    bundles: dict[str, Ensemble]
    """By the first twelve digits of their ids."""
    _counts: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    _losses: list[str] = field(default_factory=list)
    """Why each of the lost requests was lost: what both attempts met."""
    _last_problem_at: float = 0.0
    """When an answer was last degraded, repeated, lost or wrong."""

    def start(self) -> Counter[str]:
        """Start the clients unless they are running, and return what was counted so far."""
        if not self._threads:
            self._threads = [threading.Thread(target=self._run, args=(index,)) for index in range(CLIENTS)]
            for thread in self._threads:
                thread.start()
        with self._lock:
            return Counter(self._counts)

    def count_since(self, before: Counter[str]) -> Counter[str]:
        """Return what was counted since an earlier count."""
        with self._lock:
            return Counter({key: self._counts[key] - before[key] for key in self._counts})

    def lost_so_far(self) -> int:
        """Return the number of requests that were lost so far."""
        with self._lock:
            return len(self._losses)

    def losses_since(self, count: int) -> list[str]:
        """Return why the requests after the first `count` lost ones were lost."""
        with self._lock:
            return self._losses[count:]

    def wait_until_healthy(self, timeout_s: float) -> float:
        """Wait for three seconds without a problem, and return when the last one was; TimeoutError if they go on."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if time.monotonic() - self._last_problem_at > 3.0:
                return self._last_problem_at
            time.sleep(0.1)
        raise TimeoutError(f"answers still have problems after {timeout_s:g} s")

    def stop(self) -> None:
        """Stop all clients."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _run(self, index: int) -> None:
        random, session = np.random.default_rng(index), requests.Session()
        shape = next(iter(self.bundles.values())).manifest.shape
        while not self._stopped.is_set():
            counts = self._send(session, random.integers(0, 256, (1, *shape), dtype=np.uint8))
            with self._lock:
                self._counts.update(counts)
            if counts.keys() & {"degraded", "repeated", "lost", "wrong"}:
                self._last_problem_at = time.monotonic()
            time.sleep(_PAUSE_S)

    def _send(self, session: requests.Session, images: np.ndarray) -> Counter[str]:
        """Send a request, repeat it once if that fails, and count what happened."""
        tensor = {"name": "images", "datatype": "UINT8", "shape": list(images.shape), "data": images.ravel().tolist()}
        counts = Counter(requests=1)
        attempts = []
        for attempt in range(2):
            try:
                response = session.post(self.url, json={"inputs": [tensor]}, timeout=30)
                attempts.append(f"{response.status_code} {response.text[:_TEXT]}")
                if response.status_code < 500:
                    break
                pause_s = float(response.headers.get("Retry-After", 0))
                attempts[-1] += f" (Retry-After: {pause_s:g})"
            except requests.RequestException as err:
                response, pause_s = None, 0.0
                attempts.append(f"{type(err).__name__}: {err}"[:_TEXT])
            if attempt == 0:
                counts["repeated"] += 1
                time.sleep(pause_s)
        if response is None or response.status_code != 200:
            with self._lock:
                self._losses.append("; then ".join(attempts))
            return counts + Counter(lost=1)
        answer = response.json()
        missing = [int(index) for index in answer["parameters"]["missing"].split(",") if index]
        if missing:
            counts["degraded"] += 1
        output = next(output for output in answer["outputs"] if output["name"] == "probabilities")
        expected = self.bundles[answer["model_version"]].predict(torch.from_numpy(images), missing).numpy()
        if np.abs(np.array(output["data"]).reshape(expected.shape) - expected).max() > _TOLERANCE:
            counts["wrong"] += 1
        return counts


def format_table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as a text table."""
    keys = [key for key in rows[0] if key not in ("mode", "fault", "lost_because")]
    lines = [f"{'mode':12}{'fault':22}" + "".join(f"{key:>16}" for key in keys)]
    for row in rows:
        lines.append(f"{row['mode']:12}{row['fault']:22}" + "".join(f"{row[key]:>16.4g}" for key in keys))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
