"""How fast a device or a server computes and how much it holds: by name, from a file, or measured here."""

from __future__ import annotations

import datetime
import os
import platform
import statistics
import time
from pathlib import Path
from typing import Annotated

import torch
import yaml
from pydantic import Field

from raysplit.config import Frozen, ModelConfig, parse
from raysplit.errors import ConfigError, nearest
from raysplit.models import build
from raysplit.split.profile import count_flops

_SHAPE = (3, 224, 224)
_MODELS = ("resnet18", "mobilenet_v3_small")
"""What is timed: dense convolutions, and thin ones that wait for memory."""


class Machine(Frozen):
    """What a plan knows of a device or a server."""

    name: str
    gflops_per_s: Annotated[float, Field(gt=0)]
    """1e9 operations of a forward pass per second, one image at a time; a MAC is 2."""
    memory_mib: Annotated[float, Field(gt=0)]
    """For weights and activations, in 2**20 bytes."""
    source: str
    """Where the numbers are from."""


NAMED: dict[str, Machine] = {
    machine.name: machine
    for machine in (
        Machine(
            name="pi4",
            gflops_per_s=12,
            memory_mib=2048,
            source="Raspberry Pi 4, 4 GB: assumed, a quarter of the peak of 4 Cortex-A72 cores × 1.5 GHz × 8 fp32 "
            "operations a cycle; half of the memory",
        ),
        Machine(
            name="jetson",
            gflops_per_s=80,
            memory_mib=2048,
            source="Jetson Nano, 4 GB: assumed, a third of the peak of 128 Maxwell cores × 0.92 GHz × 2 fp32 "
            "operations a cycle; half of the memory",
        ),
        Machine(
            name="mcu",
            gflops_per_s=0.2,
            memory_mib=1,
            source="a Cortex-M7 at 480 MHz with 1 MiB of RAM: assumed, a fifth of a fused multiply-add a cycle",
        ),
        Machine(
            name="server",
            gflops_per_s=2000,
            memory_mib=16384,
            source="a data-centre GPU of 20 fp32 TFLOP/s: assumed, a tenth of the peak",
        ),
    )
}


def machine(text: str) -> Machine:
    """Return a machine by name, or from a YAML file with the fields of `Machine`.

    Raises ConfigError, with the nearest name, for what is neither.
    """
    if text in NAMED:
        return NAMED[text]
    path = Path(text).expanduser()
    if not path.is_file():
        raise ConfigError(
            f"'{text}' is neither a machine nor a file that describes one. {nearest(text, NAMED)} "
            "`raysplit calibrate -o FILE` measures the machine that it runs on"
        )
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        raise ConfigError(f"'{text}' is not YAML: {' '.join(str(err).split())}") from None
    return parse(Machine, tree, where=f"'{text}'")


def calibrate(name: str, rounds: int = 5) -> Machine:
    """Measure this machine: the lower of two networks' rates at one image of 224 px, medians of some rounds.

    Computes on the CPU with torch's threads as they are set.
    """
    rates = []
    for model_name in _MODELS:
        model = build(ModelConfig(name=model_name), 10, _SHAPE).eval()
        rates.append(count_flops(model, _SHAPE) / 1e9 / _seconds(model, rounds))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES") / 2**20
    measured = ", ".join(f"{model} {rate:.1f}" for model, rate in zip(_MODELS, rates, strict=True))
    return Machine(
        name=name,
        gflops_per_s=round(min(rates), 3),
        memory_mib=round(memory),
        source=f"raysplit calibrate, {datetime.date.today()}, {platform.machine()} {platform.system()}, torch "
        f"{torch.__version__}, {torch.get_num_threads()} threads: GFLOP/s of {measured}; memory that is free",
    )


@torch.inference_mode()
def _seconds(model: torch.nn.Module, rounds: int) -> float:
    x = torch.randn(1, *_SHAPE)
    model(x)
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        model(x)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)
