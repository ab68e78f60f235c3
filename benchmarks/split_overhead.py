"""What splitting costs: images per second unsplit, as two halves in one process, and through Ray.

    python benchmarks/split_overhead.py [--rounds 5] [--batch 64]

Full-width VGG-11 on 32 px, cut after the second conv block, fp32 uncompressed and 4 bits + zstd, bf16
autocast and channels-last. All variants take turns in one run; figures are medians. A table for people,
then one JSON object.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import ray
import torch
from meta import meta, save
from torch.nn.functional import cross_entropy

from raysplit.compress import QuantizingCodec, extract
from raysplit.config import UNCOMPRESSED, DataConfig, Fixed, Level, ModelConfig, SplitConfig, TrainConfig
from raysplit.data import prepare_batch
from raysplit.models import build
from raysplit.schedules import Decision
from raysplit.torch_utils.compute import autocast
from raysplit.torch_utils.optim import HalfOptimizer
from raysplit.train.device import Device
from raysplit.train.local_device import LocalDevice
from raysplit.train.loop import Loop
from raysplit.train.ray_device import ENVIRONMENT, start_ray_devices
from raysplit.train.threads import use_threads
from raysplit.wire.message import parse

LEVELS = ("all.b32/b32", "all.b16/b16", "all.b8/b8", "all.b4/b4", "all.b4/b4.zstd", "all.b2/b2.zstd", "all.b1/b1")
GOAL_LEVEL = "all.b4/b4.zstd"


def recipe(data: str, batch: int, steps: int, level: Level, in_flight: int) -> SplitConfig:
    return SplitConfig(
        name="split_overhead",
        data=DataConfig(name=data, size=32, channels=3, train_rows=batch * steps),
        model=ModelConfig(name="vgg11"),
        cut="features.7",
        bottleneck=None,
        schedule=Fixed(level=level),
        train=TrainConfig(
            epochs=1000, batch_size=batch, in_flight=in_flight, lr=0.01, precision="bf16", channels_last=True
        ),
    )


class Unsplit:
    """The plain network in a plain loop: the same images, precision, layout and optimizer."""

    def __init__(self, config: SplitConfig, steps: int):
        self.config, self.steps = config, steps
        self.net = build(config.model, 10, (3, 32, 32)).to(memory_format=torch.channels_last)
        self.optimizer = HalfOptimizer(self.net, config.train, 10**6, decay_logits=False)
        rows = (config.train.batch_size * steps, 3, 32, 32)
        self.images = torch.randint(0, 256, rows, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        self.labels = torch.arange(rows[0]) % 10

    def epoch(self) -> float:
        start, size = time.perf_counter(), self.config.train.batch_size
        self.net.train()
        for step in range(self.steps):
            rows = slice(step * size, (step + 1) * size)
            x = prepare_batch(self.images[rows], (0.5,) * 3, (0.25,) * 3, "none", 0)
            with autocast(torch.device("cpu"), self.config.train.precision):
                logits = self.net(x.to(memory_format=torch.channels_last))
            loss = cross_entropy(logits.float(), self.labels[rows])
            loss.backward()
            loss.item()
            self.optimizer.step(step)
        return time.perf_counter() - start


class Split:
    """One training epoch of the loop, without its validation pass."""

    def __init__(self, config: SplitConfig, device: Device):
        self.loop, self.level = Loop(config, device), config.levels()[0]
        if self.loop.facts.train_rows != config.data.train_rows:
            raise SystemExit(f"{config.data.name} has too few rows for this --batch and --steps")
        self.done = 0

    def epoch(self) -> float:
        start = time.perf_counter()
        self.loop.train_epoch(self.done, Decision(self.level, "benchmark"))
        self.done += 1
        return time.perf_counter() - start


def codecs(batch: int, rounds: int) -> dict[str, tuple[float, float, float]]:
    """Return MB/s of fp32 packed and unpacked (one thread), and bytes per value, for each level."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    x = torch.relu(torch.randn(batch, 128, 8, 8, generator=generator))
    megabytes, rates = x.numel() * 4 / 1e6, {}
    for name in LEVELS:
        codec = QuantizingCodec(Level.model_validate(name), "up")
        data = codec.compress(x).to_bytes()
        packed = megabytes / _median(partial(_pack, codec, x), rounds)
        unpacked = megabytes / _median(partial(_unpack, data), rounds)
        rates[name] = packed, unpacked, len(data) / x.numel()
    return rates


def _pack(codec: QuantizingCodec, x: torch.Tensor) -> bytes:
    return codec.compress(x).to_bytes()


def _unpack(data: bytes) -> torch.Tensor:
    return extract(parse(data))


def codec_seconds(batch: int, rounds: int, level: Level) -> float:
    """Return the seconds that one step spends in codecs: both directions, packed and unpacked, both sides."""
    generator = torch.Generator().manual_seed(0)
    x = torch.relu(torch.randn(batch, 128, 8, 8, generator=generator))
    g = torch.randn(batch, 128, 8, 8, generator=generator) * 1e-4
    up, down = QuantizingCodec(level, "up"), QuantizingCodec(level, "down")
    return _median(lambda: (_unpack(_pack(up, x)), _unpack(_pack(down, g))), rounds)


def _median(call: Callable[[], object], rounds: int) -> float:
    seconds = []
    for _ in range(rounds * 5):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def main() -> None:
    if ENVIRONMENT.items() - os.environ.items():
        # Both sides of the comparison get the environment that workers and actors have.
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ENVIRONMENT})
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="turns of each variant; default 5")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=8, help="steps in a turn; default 8")
    parser.add_argument("--data", default="mnist5k", help="any data set; its images are resized to 3×32×32")
    args = parser.parse_args()

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    rates = codecs(args.batch, args.rounds)
    level = Level.model_validate(GOAL_LEVEL)

    def make(level: Level, in_flight: int) -> SplitConfig:
        return recipe(args.data, args.batch, args.steps, level, in_flight)

    server = ray.remote(RaySplit).options(num_cpus=0, runtime_env={"env_vars": ENVIRONMENT})
    use_threads(make(level, 1))
    variants: dict[str, Callable[[], float]] = {
        "unsplit": Unsplit(make(UNCOMPRESSED, 1), args.steps).epoch,
        "halves": Split(make(UNCOMPRESSED, 1), LocalDevice(make(UNCOMPRESSED, 1))).epoch,
        "halves, 4 bits": Split(make(level, 1), LocalDevice(make(level, 1))).epoch,
    }
    for name, config in (
        ("ray, 1 in flight", make(UNCOMPRESSED, 1)),
        ("ray, 2 in flight", make(UNCOMPRESSED, 2)),
        ("ray, 1 in flight, 4 bits", make(level, 1)),
        ("ray, 2 in flight, 4 bits", make(level, 2)),
    ):
        actor = server.remote(config)
        variants[name] = partial(_remote_epoch, actor)
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(args.rounds + 1):
        for name, call in variants.items():
            spent = call()
            if turn:  # the first turn warms up
                seconds[name].append(spent)
    ray.shutdown()

    ips = {name: args.batch * args.steps / statistics.median(spent) for name, spent in seconds.items()}
    share = codec_seconds(args.batch, args.rounds, level) / (statistics.median(seconds["halves, 4 bits"]) / args.steps)
    print(f"{'variant':28}images/s   of halves")
    for name, value in ips.items():
        print(f"{name:28}{value:8.1f}   {value / ips['halves']:8.3f}")
    print(f"\n{'codec (one thread)':28}pack MB/s   unpack MB/s   bytes per value")
    for name, (packed, unpacked, size) in rates.items():
        print(f"{name:28}{packed:9.0f}   {unpacked:11.0f}   {size:15.3f}")
    print(f"\ncodec share of a step at {GOAL_LEVEL}: {100 * share:.1f} %")
    result = {
        "unsplit_ips": ips["unsplit"],
        "halves_ips": ips["halves"],
        "ray1_ips": ips["ray, 1 in flight"],
        "ray2_ips": ips["ray, 2 in flight"],
        "ray1_ips_4bit": ips["ray, 1 in flight, 4 bits"],
        "ray2_ips_4bit": ips["ray, 2 in flight, 4 bits"],
        "ray1_share": ips["ray, 1 in flight"] / ips["halves"],
        "codec_share": share,
        "pack_mb_s": rates[GOAL_LEVEL][0],
        "unpack_mb_s": rates[GOAL_LEVEL][1],
    }
    save("split_overhead", {"meta": meta([0]), "result": result, "codecs": rates})
    print(json.dumps(result))


def _remote_epoch(actor: Any) -> float:
    seconds: float = ray.get(actor.epoch.remote())
    return seconds


class RaySplit:
    """The server half in an actor of its own, as Ray Train has it, with its device actor."""

    def __init__(self, config: SplitConfig):
        use_threads(config)
        self._split = Split(config, start_ray_devices(config)[0])

    def epoch(self) -> float:
        return self._split.epoch()


if __name__ == "__main__":
    main()
