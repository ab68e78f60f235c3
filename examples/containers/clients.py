"""Clients of an ensemble that check every answer, and repeat a request once."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import requests
import torch

from raysplit.ensemble.bundle import Ensemble

_IMAGES = 8
_TOLERANCE = 2e-2
"""Larger batches add in a different order; predictions with other sub-models differ by more."""
_HEALTHY_S = 10.0
_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Outcome:
    """What clients saw in a stretch of time."""

    requests: int
    lost: int
    wrong: int
    degraded: int
    repeated: int


@dataclass
class Clients:
    """Threads that send requests all the time, from `start` on."""

    url: str
    key: str
    ensemble: Ensemble
    count: int
    _counts: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    _expected: dict[tuple[int, tuple[int, ...]], np.ndarray] = field(default_factory=dict)
    _images: list[np.ndarray] = field(default_factory=list)
    _last_problem_at: float = 0.0
    _losses: list[str] = field(default_factory=list)

    def start(self) -> None:
        """Start all threads."""
        random = np.random.default_rng(0)
        shape = self.ensemble.manifest.shape
        self._images = [random.integers(0, 256, shape, dtype=np.uint8) for _ in range(_IMAGES)]
        self._threads = [threading.Thread(target=self._run, args=(index,), daemon=True) for index in range(self.count)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop all threads."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def take(self) -> tuple[Outcome, list[str]]:
        """Return what was counted since the last time, and what the attempts of each lost request met."""
        with self._lock:
            counts, losses = self._counts, self._losses
            self._counts, self._losses = Counter(), []
        return Outcome(*(counts[key] for key in ("requests", "lost", "wrong", "degraded", "repeated"))), losses

    def wait_until_healthy(self, timeout_s: float) -> float:
        """Wait for some seconds without a problem, and return when the last one was; SystemExit if they go on."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if time.monotonic() - self._last_problem_at > _HEALTHY_S:
                return self._last_problem_at
            time.sleep(0.1)
        raise SystemExit(f"answers still have problems after {timeout_s:g} s: {self._losses[-1:]}")

    def _run(self, index: int) -> None:
        session = requests.Session()
        number = index
        while not self._stopped.is_set():
            number = (number + 1) % _IMAGES
            counts = self._send(session, number)
            with self._lock:
                self._counts.update(counts)
                if counts.keys() & {"degraded", "repeated", "lost", "wrong"}:
                    self._last_problem_at = time.monotonic()

    def _send(self, session: requests.Session, number: int) -> Counter[str]:
        """Send a request, repeat it once if that fails, and count what happened."""
        image = self._images[number]
        tensor = {"name": "images", "datatype": "UINT8", "shape": [1, *image.shape], "data": image.ravel().tolist()}
        counts, attempts = Counter(requests=1), []
        for attempt in range(2):
            pause_s = 0.0
            try:
                response = session.post(
                    self.url, json={"inputs": [tensor]}, headers={"X-API-Key": self.key}, timeout=_TIMEOUT_S
                )
                if response.status_code == 200:
                    return counts + self._judge(response.json(), number)
                attempts.append(f"{response.status_code} {response.text[:200]}")
                pause_s = float(response.headers.get("Retry-After", 0))
            except requests.RequestException as err:
                attempts.append(f"{type(err).__name__}: {err}"[:200])
            if attempt == 0:
                counts["repeated"] += 1
                time.sleep(pause_s)
        with self._lock:
            self._losses.append("; then ".join(attempts))
        return counts + Counter(lost=1)

    def _judge(self, answer: dict[str, object], number: int) -> Counter[str]:
        parameters, outputs = answer["parameters"], answer["outputs"]
        assert isinstance(parameters, dict) and isinstance(outputs, list)
        missing = tuple(sorted(int(index) for index in str(parameters["missing"]).split(",") if index))
        found = next(output for output in outputs if output["name"] == "probabilities")["data"]
        expected = self._expect(number, missing)
        wrong = float(np.abs(np.array(found).reshape(expected.shape) - expected).max()) > _TOLERANCE
        says_so = bool(parameters["degraded"]) == bool(missing)
        return Counter({"degraded": int(bool(missing)), "wrong": int(wrong or not says_so)})

    def _expect(self, number: int, missing: tuple[int, ...]) -> np.ndarray:
        """Return the probabilities of an image without some sub-models, computed in this process once."""
        with self._lock:
            if (number, missing) not in self._expected:
                image = torch.from_numpy(self._images[number][None])
                self._expected[number, missing] = self.ensemble.predict(image, missing).numpy()
            return self._expected[number, missing]
