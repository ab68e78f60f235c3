"""What clients of an ensemble see while its parts die and its bundle is replaced.

    python benchmarks/serving_faults.py [--seconds 20] [--modes default throughput] [--work DIR]

The network of `mnist5k_vit_n3` in three sub-models: two replicas of the ingress, two of the first sub-model, one of
each other; `missing` is `drop`. Four clients ask all the time and repeat a request once when the connection breaks or
the answer is 5xx, after as many seconds as it says: a forward pass may be repeated. Each answer is held against what
the bundle that it names answers in this process, with the sub-models that it says were missing: features of two bundles
would not fit either.

Faults, each under load: one replica of a sub-model is killed, all replicas of one, a replica of the ingress; then the
application is redeployed in place with another bundle. Once with Serve as it comes, once with HAProxy in front and
Serve's throughput mode (`serving_place.MODES`). The last line is JSON.
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
from serving_made import ensemble
from serving_place import ANYONE, MODES, Place, serving

from raysplit.ensemble.bundle import Ensemble, load_ensemble

APP, PATH = "app", "/app/v2/models/raysplit/infer"
CLIENTS = 4
_START_S, _RECOVER_S = 600, 120
_NEAR = 2e-2
"""Sums over larger batches are taken in another order, in bf16; another bundle's answers are further away."""
_PAUSE_S = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="of load after each fault, at least; default 20")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES), help="default both")
    parser.add_argument("--work", default="~/raysplit_benchmarks/serving", help="where the bundles are kept")
    args = parser.parse_args()
    work = Path(args.work).expanduser()
    first, second = ensemble(work, 3), ensemble(work, 3, seed=1)
    rows = [{"mode": mode, **row} for mode in args.modes for row in run(first, second, args.seconds, mode)]
    print(text(rows))
    save("serving_faults", {"meta": meta([0, 1]), "rows": rows})
    print(json.dumps({key: sum(row[key] for row in rows) for key in ("requests", "lost", "wrong", "degraded_after")}))


def run(first: str, second: str, seconds: float, mode: str) -> list[dict[str, Any]]:
    """Return a row for each fault; `first` and `second` are the bundles before and after the redeployment."""
    bundles = {found.id[:12]: found for found in map(load_ensemble, (first, second))}
    with serving(mode) as place:
        place.deploy([application(first)])
        place.wait(_START_S)
        load = Load(f"{place.url}{PATH}", bundles)
        rows = [row(load, "none", lambda: None, place, seconds)]
        killed = {
            "one replica of two": "submodel-0",
            "all of a sub-model": "submodel-1",
            "an ingress of two": "Ingress",
        }
        for name, deployment in killed.items():
            rows.append(row(load, name, partial(kill, place, deployment), place, seconds))
        rows.append(row(load, "another bundle", lambda: place.deploy([application(second)]), place, seconds))
        load.stop()
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


def kill(place: Place, deployment: str) -> int:
    """Kill the first replica of a deployment and return its process."""
    process = place.pids(APP, deployment)[0]
    os.kill(process, signal.SIGKILL)
    return process


def row(load: Load, name: str, fault: Callable[[], int | None], place: Place, seconds: float) -> dict[str, Any]:
    """Plant a fault under load, wait until all is well; count what clients saw until then, and after."""
    before = load.start()
    time.sleep(seconds / 2)
    planted = time.monotonic()
    replicas = place.replicas(APP)
    gone = fault()
    place.wait(_RECOVER_S)
    until = planted + _RECOVER_S
    while gone is not None and (gone in (now := place.replicas(APP)) or len(now) < len(replicas)):
        if time.monotonic() > until:
            raise TimeoutError(f"a replica that was killed is not replaced after {_RECOVER_S} s")
        time.sleep(0.2)
    last = load.until_well(_RECOVER_S)
    during = load.counted(before)
    after = load.start()
    time.sleep(seconds / 2)
    rest = load.counted(after)
    both = during + rest
    return {
        "fault": name,
        "requests": both["requests"],
        "lost": both["lost"],
        "wrong": both["wrong"],
        "repeated": both["repeated"],
        "degraded": during["degraded"],
        "degraded_after": rest["degraded"],
        "well_again_s": max(0.0, last - planted),
    }


@dataclass
class Load:
    """Clients that ask all the time, from the first `start` on."""

    url: str
    bundles: dict[str, Ensemble]
    _seen: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ended: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    _ill_at: float = 0.0
    """When an answer was degraded, repeated or lost last."""

    def start(self) -> Counter[str]:
        """Return what was counted so far."""
        if not self._threads:
            self._threads = [threading.Thread(target=self._ask, args=(index,)) for index in range(CLIENTS)]
            for thread in self._threads:
                thread.start()
        with self._lock:
            return Counter(self._seen)

    def counted(self, since: Counter[str]) -> Counter[str]:
        """Return what was counted since."""
        with self._lock:
            return Counter({key: self._seen[key] - since[key] for key in self._seen})

    def until_well(self, timeout_s: float) -> float:
        """Wait until nothing was amiss for three seconds; return when it last was, TimeoutError if that never ends."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if time.monotonic() - self._ill_at > 3.0:
                return self._ill_at
            time.sleep(0.1)
        raise TimeoutError(f"answers are still amiss after {timeout_s:g} s")

    def stop(self) -> None:
        """End all clients."""
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, index: int) -> None:
        random, session = np.random.default_rng(index), requests.Session()
        while not self._ended.is_set():
            shape = next(iter(self.bundles.values())).manifest.shape
            images = random.integers(0, 256, (1, *shape), dtype=np.uint8)
            found = self._once(session, images)
            with self._lock:
                self._seen.update(found)
            if found.keys() & {"degraded", "repeated", "lost", "wrong"}:
                self._ill_at = time.monotonic()
            time.sleep(_PAUSE_S)

    def _once(self, session: requests.Session, images: np.ndarray) -> Counter[str]:
        tensor = {"name": "images", "datatype": "UINT8", "shape": list(images.shape), "data": images.ravel().tolist()}
        seen = Counter(requests=1)
        for turn in range(2):
            try:
                answer = session.post(self.url, json={"inputs": [tensor]}, timeout=30)
                if answer.status_code < 500:
                    break
                wait = float(answer.headers.get("Retry-After", 0))
            except requests.RequestException:
                answer, wait = None, 0.0
            if turn == 0:
                seen["repeated"] += 1
                time.sleep(wait)
        if answer is None or answer.status_code != 200:
            return seen + Counter(lost=1)
        says = answer.json()
        missing = [int(part) for part in says["parameters"]["missing"].split(",") if part]
        if missing:
            seen["degraded"] += 1
        output = next(output for output in says["outputs"] if output["name"] == "probabilities")
        expected = self.bundles[says["model_version"]].predict(torch.from_numpy(images), missing).numpy()
        if np.abs(np.array(output["data"]).reshape(expected.shape) - expected).max() > _NEAR:
            seen["wrong"] += 1
        return seen


def text(rows: list[dict[str, Any]]) -> str:
    """Return the table for people."""
    keys = [key for key in rows[0] if key not in ("mode", "fault")]
    lines = [f"{'mode':12}{'fault':22}" + "".join(f"{key:>16}" for key in keys)]
    for one in rows:
        lines.append(f"{one['mode']:12}{one['fault']:22}" + "".join(f"{one[key]:>16.4g}" for key in keys))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
