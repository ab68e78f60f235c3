"""What one other busy process costs a run through Ray on the same machine.

    python benchmarks/busy.py [--rounds 5] [--steps 24] [--busy 1]

Half-width VGG-11 on 28 px, cut after the second conv block, 4 bits + zstd, lock-step, as many threads as there are
cores. Epochs on the idle machine and beside busy loops take turns in one run; figures are medians. The second row is
the same run with the niceness that Ray gives its workers by default. Run it on a machine that does nothing else.

The last line is one JSON object: idle_s, busy_s and ratio of an epoch, and the same at Ray's niceness.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import ray
from meta import meta, save
from split_overhead import Split

from raysplit.config import DataConfig, Fixed, Level, ModelConfig, SplitConfig, TrainConfig
from raysplit.train.ray_device import ENVIRONMENT, start_ray_devices
from raysplit.train.threads import use_threads

NICENESS = "RAY_worker_niceness"
RAYS = 15
"""Ray's default."""


def recipe(data: str, steps: int) -> SplitConfig:
    return SplitConfig(
        name="busy",
        data=DataConfig(name=data, train_rows=64 * steps),
        model=ModelConfig(name="vgg11", args={"width": 0.5}),
        cut="features.7",
        bottleneck=None,
        schedule=Fixed(level=Level(up_bits=4, down_bits=4, entropy="zstd")),
        train=TrainConfig(epochs=1000, lr=0.01),
    )


class Server:
    """The server half in an actor of its own, as Ray Train has it, with its device actor."""

    def __init__(self, config: SplitConfig, niceness: int):
        ENVIRONMENT[NICENESS] = str(niceness)  # of the device actor too
        use_threads(config)
        self._split = Split(config, start_ray_devices(config)[0])

    def niceness(self) -> int:
        return os.getpriority(os.PRIO_PROCESS, 0)

    def epoch(self) -> float:
        return self._split.epoch()


def start(config: SplitConfig, niceness: int) -> Callable[[], float]:
    """Return a function that trains one epoch and returns its seconds."""
    environment = {**ENVIRONMENT, NICENESS: str(niceness)}
    remote: Any = ray.remote(Server).options(num_cpus=0, runtime_env={"env_vars": environment})
    actor = remote.remote(config, niceness)
    expected = min(19, os.getpriority(os.PRIO_PROCESS, 0) + niceness)  # Ray adds to that of its own processes
    if (found := ray.get(actor.niceness.remote())) != expected:
        raise SystemExit(f"the worker's niceness is {found}, not {expected}")
    return partial(_epoch, actor)


def _epoch(actor: Any) -> float:
    seconds: float = ray.get(actor.epoch.remote())
    return seconds


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Keep as many processes busy as asked."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="turns of each variant; default 5")
    parser.add_argument("--steps", type=int, default=24, help="optimizer steps in an epoch; default 24")
    parser.add_argument("--busy", type=int, default=1, help="other processes that are busy; default 1")
    parser.add_argument("--data", default="mnist5k", help="any data set of small images")
    args = parser.parse_args()

    ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    config = recipe(args.data, args.steps)
    variants = {niceness: start(config, niceness) for niceness in (0, RAYS)}
    idle: dict[int, list[float]] = {niceness: [] for niceness in variants}
    loaded: dict[int, list[float]] = {niceness: [] for niceness in variants}
    for epoch in variants.values():
        epoch()  # warms up
    for _ in range(args.rounds):
        for niceness, epoch in variants.items():
            idle[niceness].append(epoch())
            with busy(args.busy):
                loaded[niceness].append(epoch())
    ray.shutdown()

    print(f"{'niceness':10}{'idle s':>8}{'busy s':>8}{'ratio':>8}")
    rows = {niceness: _row(idle[niceness], loaded[niceness]) for niceness in variants}
    for niceness, row in rows.items():
        print(f"{niceness:<10}{row['idle_s']:8.2f}{row['busy_s']:8.2f}{row['ratio']:8.2f}")
    result = rows[0] | {f"{name}_at_rays_niceness": value for name, value in rows[RAYS].items()}
    save("busy", {"meta": meta([0]), "result": result, "idle_s": idle, "busy_s": loaded})
    print(json.dumps(result))


def _row(idle: list[float], loaded: list[float]) -> dict[str, float]:
    idle_s, busy_s = statistics.median(idle), statistics.median(loaded)
    return {"idle_s": idle_s, "busy_s": busy_s, "ratio": busy_s / idle_s}


if __name__ == "__main__":
    main()
