"""How many threads torch computes with in a process of its own."""

from __future__ import annotations

import os

import torch

from raysplit.config import SplitConfig


def use_threads(config: SplitConfig) -> None:
    """Set torch's number of threads by `train.threads`: by default that of the cores, or half with more in flight.

    In a Ray worker or actor torch's own default is one.
    """
    # Not every system can tell which cores a process may use.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    default = cores if config.train.in_flight == 1 else max(1, cores // 2)
    torch.set_num_threads(config.train.threads or default)
