"""What a run will be, before it runs: cut, bytes, memory and time. Needs no images, only the data set's facts."""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch

from raysplit.config import UNCOMPRESSED, Level, SplitConfig
from raysplit.data import Facts, facts
from raysplit.errors import DataError
from raysplit.models import build
from raysplit.schedules.base import Decision, RunContext, foresee
from raysplit.split import CutProfile, profile
from raysplit.torch_utils.compute import autocast, pick_device
from raysplit.train.costs import StepBytes, head_bytes, run_context, step_bytes
from raysplit.train.halves import BuiltHalves, build_halves

_PROBE = 600_000
"""Input values of the step that is timed: a whole batch at 32 px, four images at 224."""


@dataclass(frozen=True)
class Plan:
    config: SplitConfig
    facts: Facts
    halves: BuiltHalves
    profile: CutProfile
    steps: int
    """Optimiser steps in an epoch."""
    step_seconds: float
    """Compute of one step, both halves, on this machine; no link."""

    def __str__(self) -> str:
        config, cut, known = self.config, self.halves.cut, self.facts
        raw = known.train_rows * math.prod(known.shape)
        lines = [
            f"recipe   {config.name}",
            f"data     {known.name}: {known.train_rows:,} training images of {'×'.join(map(str, known.shape))}, "
            f"{len(known.classes)} classes; {known.val_rows:,} for validation, {known.test_rows:,} for the test",
            f"model    {config.model.name}, cut at {cut.name}: {'×'.join(map(str, cut.shape))} per image; "
            f"{'×'.join(map(str, self.halves.code_shape))} crosses",
            f"device   {self.profile.device_gflops:.3f} GFLOPs an image, "
            f"{_mib(_bytes(self.halves.device)):.1f} MiB of weights, "
            f"{_mib(self.profile.device_peak_bytes * config.train.batch_size):.1f} MiB of activations a batch "
            "(forward)",
            f"server   {self.profile.server_gflops:.3f} GFLOPs an image, "
            f"{_mib(_bytes(self.halves.server)):.1f} MiB of weights",
            f"steps    {config.train.epochs} epochs of {self.steps}, batch {config.train.batch_size}, "
            f"{config.train.in_flight} in flight",
        ]
        known_ahead = foresee(config.schedule, self._context())
        for level in config.levels():
            step = self._step(level, self.halves.code_shape)
            line = (
                f"level    {level}: {step.up:,} B up and {step.down:,} B down a step{'' if step.exact else ' at most'}"
            )
            if known_ahead is not None:
                line += f", {_epochs([d.mode for d in known_ahead if d.level == level])}"
            lines.append(line)
        total = self._most(known_ahead)
        plain = self._step(UNCOMPRESSED, cut.shape)
        reference = (plain.up + plain.down) * self.steps * config.train.epochs
        exact = known_ahead is not None and all(level.entropy == "none" for level in config.levels())
        lines += [
            f"traffic  {total / 1e6:,.1f} MB{'' if exact else ' at most'}; fp32 split training "
            f"{reference / 1e6:,.1f} MB "
            f"({reference / total:,.1f} times more); the raw images, once, {raw / 1e6:,.1f} MB "
            f"({raw / total:,.3f} times)",
            f"time     about {self.step_seconds * self.steps * config.train.epochs / 60:,.1f} min of compute here, "
            "without the link",
        ]
        return "\n".join(lines)

    def _context(self) -> RunContext:
        shape, channel_dim = self.halves.code_shape, self.halves.cut.channel_dim
        return run_context(self.config, shape, channel_dim, len(self.facts.classes), self.steps)

    def _most(self, decisions: list[Decision] | None) -> int:
        """The most bytes of the run; where the schedule waits for what it will see, those of its loosest level."""
        if decisions is None:
            loosest = max(map(self._context().step_bytes, self.config.levels()))
            return loosest * self.steps * self.config.train.epochs
        total = 0
        for decision in decisions:
            step = self._step(decision.level, self.halves.code_shape)
            crossing = {"joint": step.up + step.down, "local": step.up, "frozen": step.up, "alone": 0, "cached": 0}
            total += crossing[decision.mode] * self.steps
            if decision.hand_over and self.halves.head is not None:
                total += head_bytes(self.halves.head)
        return total

    def _step(self, level: Level, shape: tuple[int, ...]) -> StepBytes:
        return step_bytes(self.config, level, shape, self.halves.cut.channel_dim, len(self.facts.classes))


def check(config: SplitConfig) -> None:
    """Build both halves and throw them away: faults show in seconds here, on a cluster in a quarter of a minute.

    Data that only the device has (a path that does not exist here) are left for the device to check.
    """
    kind, _, path = config.data.name.partition(":")
    if kind not in ("folder", "parquet") or Path(path).expanduser().exists():
        _build(config)


def _build(config: SplitConfig) -> tuple[Facts, BuiltHalves]:
    known = facts(config.data)
    pick_device(config.train.device)
    if known.train_rows < config.train.batch_size:
        raise DataError(
            f"{known.name}: {known.train_rows} training rows do not fill a batch of {config.train.batch_size}; "
            "lower train.batch_size"
        )
    return known, build_halves(config, len(known.classes), known.shape)


def plan(config: SplitConfig) -> Plan:
    """Build everything, time one small step of both halves on random images, train nothing."""
    known, halves = _build(config)
    costs = next(
        costs
        for costs in profile(build(config.model, len(known.classes), known.shape), known.shape)
        if costs.name == halves.cut.name
    )
    batch = min(max(1, _PROBE // math.prod(known.shape)), config.train.batch_size)
    seconds = _time_step(config, halves, torch.randn(batch, *known.shape)) * config.train.batch_size / batch
    return Plan(config, known, halves, costs, known.train_rows // config.train.batch_size, seconds)


def _time_step(config: SplitConfig, halves: BuiltHalves, images: torch.Tensor) -> float:
    device = pick_device(config.train.device)
    network = torch.nn.Sequential(halves.device, halves.server).to(device)
    if config.train.channels_last:
        network, images = (
            network.to(memory_format=torch.channels_last),
            images.contiguous(memory_format=torch.channels_last),
        )
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        with autocast(device, config.train.precision):
            loss = network(images.to(device)).float().square().mean()
        loss.backward()
        loss.item()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _bytes(half: torch.nn.Module) -> int:
    return sum(tensor.nbytes for tensor in half.state_dict().values())


def _mib(count: float) -> float:
    return count / 2**20


def _epochs(modes: list[str]) -> str:
    """Say how many epochs a level has, and how many of which mode unless all are joint."""
    counts = Counter(modes)
    kinds = "" if set(counts) <= {"joint"} else " (" + ", ".join(f"{n} {mode}" for mode, n in counts.items()) + ")"
    return f"{len(modes)} epochs{kinds}"
