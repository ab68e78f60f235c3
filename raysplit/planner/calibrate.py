"""Measure this machine's speed and memory, for plans."""

from __future__ import annotations

import datetime
import os
import platform
import statistics
import time

import torch

from raysplit.config import ModelConfig
from raysplit.hardware.machine import Machine
from raysplit.models import build
from raysplit.split.profile import count_flops

_SHAPE = (3, 224, 224)
_MODELS = ("resnet18", "mobilenet_v3_small")
"""The networks that are timed: one bound by compute, one by memory."""


def calibrate(name: str, rounds: int = 5) -> Machine:
    """Measure this machine: the lower of two networks' rates for one image of 224 px, each the median of `rounds`.

    Runs on the CPU with torch's current number of threads. `name` is the machine's name in plans.
    """
    rates = []
    for model_name in _MODELS:
        model = build(ModelConfig(name=model_name), 10, _SHAPE).eval()
        rates.append(count_flops(model, _SHAPE) / 1e9 / _time_forward(model, rounds))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES") / 2**20
    measured = ", ".join(f"{model} {rate:.1f}" for model, rate in zip(_MODELS, rates, strict=True))
    return Machine(
        name=name,
        gflops_per_s=round(min(rates), 3),
        memory_mib=round(memory),
        source=f"raysplit calibrate, {datetime.date.today()}, {platform.machine()} {platform.system()}, torch "
        f"{torch.__version__}, {torch.get_num_threads()} threads: GFLOP/s of {measured}; free memory",
    )


@torch.inference_mode()
def _time_forward(model: torch.nn.Module, rounds: int) -> float:
    x = torch.randn(1, *_SHAPE)
    model(x)
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        model(x)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)
