"""The part of thin_link.py that runs on the head node: trains each row, reads counters, looks for images in packets."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import ray

from links.capture import Capture, slices
from raysplit.config import BottleneckConfig, Fixed, Level, SplitConfig, loads
from raysplit.data import load
from raysplit.folders.run_dir import RunDir
from raysplit.train import trainer
from raysplit.train.local import train_local
from raysplit.train.loop import Loop

_IDLE_S = 10.0


def variant(base: SplitConfig, level: str, in_flight: int) -> SplitConfig:
    """Return the base at another level; a level that keeps some of the channels brings the bottleneck."""
    parsed = Level.model_validate(level)
    bottleneck = None if parsed.channels is None else BottleneckConfig()
    train = base.train.replaced(in_flight=in_flight)
    return base.replaced(schedule=Fixed(level=parsed), bottleneck=bottleneck, train=train)


def nic_bytes(interface: str) -> int:
    """Return the bytes that an interface has sent and received."""
    folder = Path("/sys/class/net", interface, "statistics")
    return sum(int((folder / f"{way}_bytes").read_text()) for way in ("rx", "tx"))


def instrumented(worker: Any, interface: str, out: str) -> Any:
    """Return SplitTrainer's worker function with the counters read right before and after each training pass.

    The bytes of each pass go to the file `out`, a line each. Start-up, validation and checkpoints are outside.
    """

    def read() -> int:
        folder = f"/sys/class/net/{interface}/statistics"
        return sum(int(open(f"{folder}/{way}_bytes").read()) for way in ("rx", "tx"))

    def measured(job: dict[str, Any]) -> Any:
        plain = Loop.train_epoch

        def train_epoch(*args: Any) -> Any:
            before = read()
            scores = plain(*args)
            with open(out, "a") as file:
                file.write(f"{read() - before}\n")
            return scores

        Loop.train_epoch = train_epoch  # type: ignore[method-assign, assignment]
        try:
            return worker(job)
        finally:
            Loop.train_epoch = plain  # type: ignore[method-assign]

    return measured


def train(config: SplitConfig, folder: Path, interface: str) -> dict[str, Any]:
    """Train a row over the link and once more in this process; return its records, counters and local seconds."""
    # Ray stumbles over a path with a middle dot where the locale is C.
    name = f"{config.levels()[0]}_{config.train.in_flight}".replace("/", "-").replace("·", ".")
    counts = folder / f"{name}.nic"
    worker = trainer._worker
    trainer._worker = instrumented(worker, interface, str(counts))
    try:
        trainer.SplitTrainer(config, run_dir=str(folder / name)).fit()
    finally:
        trainer._worker = worker
    train_local(config, run_dir=str(folder / f"{name}_local"))
    local = RunDir.at(str(folder / f"{name}_local")).records()
    return {
        "level": str(config.levels()[0]),
        "in_flight": config.train.in_flight,
        "rows": [record.to_row() for record in RunDir.at(str(folder / name)).records()],
        "nic_bytes": [int(line) for line in counts.read_text().split()],
        "local_s": median(record.train_s for record in local[1:]),
    }


def look_for_images(config: SplitConfig, folder: Path, interface: str) -> dict[str, int]:
    """Train one epoch and search the packets for raw images; then send images, which the search must find."""
    images = load(config.data, "train").images.numpy()
    wanted = slices(images)
    with Capture(interface) as training:
        trainer.SplitTrainer(config.replaced(train=config.train.replaced(epochs=1)), str(folder / "watched")).fit()
    planted = images[:100]
    with Capture(interface) as control:
        echo = ray.remote(num_cpus=0, resources={config.ray.device_resource: 1})(_echo)
        ray.get(echo.remote(config.data))
    return {
        "images": len(wanted),
        "captured_bytes": training.size,
        "found_in_training": training.holds(wanted),
        "planted": len(slices(planted)),
        "found_when_planted": control.holds(slices(planted)),
    }


def _echo(data: Any) -> bytes:
    """Run on the device node: return its first images as they are."""
    return load(data, "train").images[:100].numpy().tobytes()


def idle(interface: str) -> float:
    """Return the bytes a second that Ray's nodes exchange when nothing runs."""
    before = nic_bytes(interface)
    time.sleep(_IDLE_S)
    return (nic_bytes(interface) - before) / _IDLE_S


def main() -> None:
    job = json.loads(sys.argv[1])
    base = loads(SplitConfig, job["config"], "the benchmark's recipe")
    folder, interface = Path(job["folder"]), job["interface"]
    ray.init(log_to_driver=False, logging_level=logging.ERROR)
    far = [node for node in ray.nodes() if node["Resources"].get(base.ray.device_resource)]
    if len(far) != 1 or far[0]["NodeManagerAddress"] != job["device_address"]:
        raise SystemExit("the device node did not join")
    result: dict[str, Any] = {"runs": [], "idle_bytes_s": idle(interface)}
    for level in job["levels"]:
        for in_flight in job["in_flight"]:
            config = variant(base, level, in_flight)
            sys.stderr.write(f"{config.levels()[0]}, {in_flight} in flight\n")
            result["runs"].append(train(config, folder, interface))
    result["privacy"] = look_for_images(variant(base, job["levels"][-1], 1), folder, interface)
    ray.shutdown()
    Path(job["out"]).write_text(json.dumps(result))
    os.sync()


if __name__ == "__main__":
    main()
