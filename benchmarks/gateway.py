"""What a gateway costs: steps per second with a device actor, and with the same device joined over loopback.

    python benchmarks/gateway.py [--rounds 5] [--steps 8] [--batch 64]

Full-width VGG-11 on 32 px, cut after the second conv block, 4 bits + zstd, bf16 and channels-last; both devices
and the server half have processes of their own on this machine. The two take turns; figures are medians.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import ray
from meta import ROOT, meta, save
from ray import serve
from split_overhead import GOAL_LEVEL, Split, recipe

from raysplit.config import Level, SplitConfig
from raysplit.serving.args import GatewayArgs
from raysplit.serving.gateway import build
from raysplit.train.ray_device import ENVIRONMENT
from raysplit.train.run_devices import RunDevices
from raysplit.train.threads import use_threads
from raysplit.wire.gateway_api import APPLICATION, hash_key


class ServerHalf:
    """The server half in an actor of its own, as Ray Train has it, with its device."""

    def __init__(self, config: SplitConfig):
        use_threads(config)
        self._devices = RunDevices(config, "benchmark")
        self._split = Split(config, self._devices.start(resumed=False)[0])

    def epoch(self) -> float:
        return self._split.epoch()

    def close(self) -> None:
        self._devices.release("the benchmark has ended")
        self._devices.close()


def join(url: str, data: str, key: str, folder: Path) -> subprocess.Popen[bytes]:
    """Start a device as a process of its own, with the memory and thread settings of an actor."""
    command = ["-m", "raysplit", "join", url, "--data", data, "--key-env", "KEY", "--name", "bench"]
    env = os.environ | ENVIRONMENT | {"KEY": key, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, *command, "--states", str(folder / "states")], env=env)


def start_gateway(folder: Path, key: str) -> str:
    """Serve a gateway with one key; return its URL."""
    keys = folder / "keys.txt"
    keys.write_text(f"bench {hash_key(key)}\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(build(GatewayArgs(keys=str(keys))), name=APPLICATION)
    return f"http://127.0.0.1:{port}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what a gateway costs.")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each; default 5")
    parser.add_argument("--batch", type=int, default=64, help="images in a step; default 64")
    parser.add_argument("--steps", type=int, default=8, help="steps in a turn; default 8")
    parser.add_argument("--data", default="mnist5k", help="any data set; its images are resized to 3×32×32")
    args = parser.parse_args()

    near = recipe(args.data, args.batch, args.steps, Level.model_validate(GOAL_LEVEL), 1)
    far = near.replaced(devices=near.devices.replaced(source="gateway"))
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    key = secrets.token_urlsafe(32)
    with tempfile.TemporaryDirectory() as folder:
        device = join(start_gateway(Path(folder), key), args.data, key, Path(folder))
        server: Any = ray.remote(ServerHalf).options(num_cpus=0, runtime_env={"env_vars": ENVIRONMENT})
        sides = {"actor": server.remote(near), "gateway": server.remote(far)}
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        for turn in range(args.rounds + 1):
            for name, side in sides.items():
                spent = ray.get(side.epoch.remote())
                if turn:  # the first turn warms up
                    seconds[name].append(spent)
        ray.get([side.close.remote() for side in sides.values()])
        device.wait(30)
    serve.shutdown()
    ray.shutdown()

    rates = {name: args.steps / statistics.median(spent) for name, spent in seconds.items()}
    result = {f"{name}_steps_per_s": rate for name, rate in rates.items()}
    result["ratio"] = rates["gateway"] / rates["actor"]
    save("gateway", {"meta": meta([0]), "result": result, "seconds": seconds})
    print(json.dumps(result))


if __name__ == "__main__":
    main()
