"""How many rounds an hour thousands of virtual devices train, beside Flower's simulation engine, and what memory takes.

    python -m venv flower && flower/bin/pip install 'flwr[simulation]' torch
    python benchmarks/simulation.py --data parquet:PATH --flower-python flower/bin/python

Both train the same network by FedAvg on the same shards, with the same local work: batches of at most 32 images, plain
SGD. Rounds alternate, one of ours and one of Flower's, on the same processors; the medians are compared. The first
round of each is not counted. Memory is the peak of a process that trains two rounds with all devices, and with a tenth
of them, of which as many take part.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from meta import meta, save
from simulation_net import BATCH, LR, make_net

from raysplit.config import UNCOMPRESSED, DataConfig, DevicesConfig, Fixed, ModelConfig, SplitConfig, TrainConfig
from raysplit.data import ShardTable
from raysplit.train.loop import Loop
from raysplit.train.virtual_devices import VirtualDevices

_VALIDATED = 0.001
"""Flower's rounds do not validate, and ours nearly not."""
_WAIT_S = 300
"""How long Flower may take for its start or a round."""


def make_config(args: argparse.Namespace, devices: int) -> SplitConfig:
    return SplitConfig(
        name="simulation",
        data=DataConfig(name=args.data, augment="none", val_fraction=_VALIDATED),
        model=ModelConfig.model_validate({"module": make_net()}),
        cut="1",
        bottleneck=None,
        schedule=Fixed(level=UNCOMPRESSED),
        train=TrainConfig(
            epochs=args.rounds + 2,  # the last one would end with a test on all devices
            batch_size=BATCH,
            lr=LR,
            lr_schedule="constant",
            momentum=0,
            weight_decay=0,
            device="cpu",
            precision="fp32",
        ),
        devices=DevicesConfig(
            kind="virtual",
            mode="fedavg",
            count=devices,
            per_round=args.per_round,
            local_epochs=args.local_epochs,
            optimizer="reset",
        ),
    )


def our_rounds(config: SplitConfig) -> Iterator[float]:
    """Train a round for each number that is asked for, and yield its seconds."""
    epochs = Loop(config, VirtualDevices(config)).epochs()
    while True:
        start = time.perf_counter()
        next(epochs)
        yield time.perf_counter() - start


def write_shards(config: SplitConfig, args: argparse.Namespace, folder: Path) -> None:
    """Write what Flower's side needs: all images in the order of their devices."""
    table = ShardTable(config.data, config.devices, BATCH)
    shards = [table.load(index, "train") for index in range(config.devices.count)]
    images = torch.cat([shard.images for shard in shards])
    np.save(folder / "images.npy", images.numpy())
    np.save(folder / "labels.npy", torch.cat([shard.labels for shard in shards]).numpy())
    np.save(folder / "starts.npy", np.cumsum([0, *(len(shard.labels) for shard in shards)]))
    settings = {
        "devices": config.devices.count,
        "per_round": args.per_round,
        "local_epochs": args.local_epochs,
        "rounds": args.rounds + 1,
        "mean": float(images.double().mean() / 255),
        "std": float(images.double().std() / 255),
    }
    (folder / "settings.json").write_text(json.dumps(settings))


def flower_rounds(python: str, folder: Path) -> Iterator[float]:
    """Let Flower train a round for each number that is asked for, and yield its seconds."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parent)}
    environment |= {"RAYSPLIT_SIMULATION": str(folder), "OMP_NUM_THREADS": "1", "FLWR_TELEMETRY_ENABLED": "0"}
    words = [python, "-c", "import simulation_flower; simulation_flower.run()"]
    with open(folder / "log.txt", "w") as log:
        flower = subprocess.Popen(words, env=environment, stdout=log, stderr=log, cwd=folder)
        try:
            number = 0
            while True:
                number += 1
                (folder / f"go{number}").touch()
                yield _wait_for(folder / f"done{number}", flower, folder)
        finally:
            flower.terminate()
            flower.wait(timeout=60)


def _wait_for(done: Path, flower: subprocess.Popen[bytes], folder: Path) -> float:
    end = time.monotonic() + _WAIT_S
    while not done.exists():
        if flower.poll() is not None or time.monotonic() > end:
            sys.exit(f"Flower ended, or took more than {_WAIT_S} s: {(folder / 'log.txt').read_text()[-2000:]}")
        time.sleep(0.005)
    found = json.loads(done.read_text())
    if found["failures"]:
        sys.exit(f"Flower lost {found['failures']} devices: {(folder / 'log.txt').read_text()[-2000:]}")
    return float(found["seconds"])


def peak_mib(args: argparse.Namespace, devices: int) -> float:
    """Return the most memory of a process that trains three rounds of so many devices, in 2**20 bytes."""
    words = [sys.executable, __file__, "--data", args.data, "--per-round", str(args.per_round)]
    words += ["--local-epochs", str(args.local_epochs), "--memory-of", str(devices), "--rounds", "2"]
    return float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="mnist5k", help="a data set of grey images of 28×28 pixels and ten classes")
    parser.add_argument("--flower-python", help="the interpreter of an environment with flwr[simulation] and torch")
    parser.add_argument("--devices", type=int, default=10_000)
    parser.add_argument("--per-round", type=int, default=200)
    parser.add_argument("--local-epochs", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=10, help="counted rounds of each side")
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.memory_of is not None:
        rounds = our_rounds(make_config(args, args.memory_of))
        for _ in range(args.rounds):
            next(rounds)
        # What `getrusage` tells is at least the memory of the process that started this one.
        lines = Path("/proc/self/status").read_text().splitlines()
        print(next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")))
        return
    config = make_config(args, args.devices)
    result: dict[str, object] = {
        "devices": args.devices,
        "per_round": args.per_round,
        "local_epochs": args.local_epochs,
        "data": args.data.partition(":")[2].rstrip("/").rpartition("/")[2] or args.data,
    }
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        write_shards(config, args, folder)
        sides = [our_rounds(config)]
        if args.flower_python:
            sides.append(flower_rounds(args.flower_python, folder))
        seconds: list[list[float]] = [[] for _ in sides]
        try:
            for number in range(args.rounds + 1):
                for side, found in zip(sides, seconds, strict=True):
                    found.append(next(side))
                print(number, [round(found[-1], 2) for found in seconds], flush=True)
        finally:
            for side in sides:
                side.close()  # type: ignore[attr-defined]
    hours = [3600 / statistics.median(found[1:]) for found in seconds]
    result["rounds_per_hour"] = round(hours[0])
    if args.flower_python:
        result |= {"flower_rounds_per_hour": round(hours[1]), "rounds_per_hour_ratio": round(hours[0] / hours[1], 2)}
        words = [args.flower_python, "-c", "from importlib.metadata import version; print(version('flwr'))"]
        result["flower_version"] = subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
    result["round_s"] = [[round(one, 3) for one in found] for found in seconds]
    memory = {str(count): round(peak_mib(args, count), 1) for count in (args.devices // 10, args.devices)}
    few, many = memory.values()
    result |= {"peak_mib": memory, "memory_ratio": round(many / few, 3)}
    result["meta"] = meta([config.train.seed]) | {
        "what": "median seconds of rounds that alternate, the first of each left out; the machine was shared with "
        "other work; peak memory of processes of their own"
    }
    print(json.dumps({name: value for name, value in result.items() if name not in ("meta", "round_s")}))
    if args.flower_python:
        save("simulation", result)


if __name__ == "__main__":
    main()
