"""The plan of a run: cut, bytes, memory and time before it starts. Needs no images, only the data set's facts."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from raysplit.compress.user_codec import build_codec
from raysplit.config import UNCOMPRESSED, DataConfig, Level, SplitConfig
from raysplit.data import Facts, read_facts
from raysplit.errors import DataError
from raysplit.models import build
from raysplit.records.epoch import Mode
from raysplit.records.summary import describe_test_from
from raysplit.schedules.base import Decision, RunContext, foresee
from raysplit.split import CutProfile, profile
from raysplit.torch_utils.compute import autocast, pick_device
from raysplit.train.costs import StepBytes, count_levels, epoch_bytes, run_context, step_bytes
from raysplit.train.device_data import count_steps
from raysplit.train.halves import BuiltHalves, build_halves

_TIMED_VALUES = 600_000
"""Input values of the step that is timed: a whole batch at 32 px, four images at 224."""


@dataclass(frozen=True)
class RunPlan:
    """What a run will train, send and take; prints as a table of facts."""

    config: SplitConfig
    facts: Facts
    halves: BuiltHalves
    profile: CutProfile
    steps: int
    """Optimizer steps of the devices in an epoch: of many devices, as if their shards were equally large."""
    step_seconds: float
    """Compute of one step, both halves, on this machine; without the link."""

    def __str__(self) -> str:
        config, cut, known = self.config, self.halves.cut, self.facts
        serves = describe_test_from(known.test_from)
        lines = [
            f"recipe   {config.name}",
            f"data     {known.name}: {known.train_rows:,} training images of {'×'.join(map(str, known.shape))}, "
            f"{len(known.classes)} classes; {known.val_rows:,} validation and {known.test_rows:,} test images"
            + (f" ({serves})" if serves else ""),
            f"model    {config.model.name}, cut at {cut.name}: {'×'.join(map(str, cut.shape))} per image; "
            f"{'×'.join(map(str, self.halves.code_shape))} crosses{self._format_back()}",
            f"device   {self.profile.device_gflops:.3f} GFLOPs per image, "
            f"{_mib(sum(map(_state_bytes, self._own))):.1f} MiB of weights, "
            f"{_mib(self.profile.device_peak_bytes * config.train.batch_size):.1f} MiB of activations per batch "
            "(forward)",
            f"server   {self.profile.server_gflops:.3f} GFLOPs per image, "
            f"{_mib(_state_bytes(self.halves.server)):.1f} MiB of weights",
            self._format_trained(),
            f"steps    {config.train.epochs} epochs of {self.steps}, batch {config.train.batch_size}, "
            f"{config.train.in_flight} in flight",
        ]
        if config.devices.count > 1:
            lines.append(self._format_devices())
        decisions = foresee(config.schedule, self.context())
        lines += [self._format_level(level, decisions) for level in config.levels()]
        lines.append(self._format_traffic(decisions))
        minutes = self.step_seconds * self.steps * self._count_epochs(decisions) / 60
        lines.append(f"time     about {minutes:,.1f} min of compute on this machine, without the link")
        return "\n".join(lines)

    @property
    def _own(self) -> list[torch.nn.Module]:
        """What a device holds of the network."""
        return [self.halves.device, *([self.halves.tail] if self.halves.tail is not None else [])]

    def _format_back(self) -> str:
        back = self.halves.back
        return "" if back is None else f"; {'×'.join(map(str, back.shape))} comes back at {back.name}, labels stay"

    def _format_devices(self) -> str:
        devices = self.config.devices
        dealt = "with data of their own" if devices.data else f"shards {devices.shards}"
        drawn = "" if devices.per_round is None else f", {devices.per_round} in each round"
        weights = self.weights_bytes() * devices.count / 1e6
        return (
            f"devices  {devices.count}, {devices.mode}, {dealt}{drawn}; weights cross too: {weights:,.1f} MB each way "
            "in a round of all"
        )

    def weights_bytes(self) -> int:
        """Return the bytes of what one device sends of its trained weights to be averaged or handed on."""
        halves = [*self._own, *([self.halves.head] if self.halves.head is not None else [])]
        halves += [self.halves.server] if self.config.devices.mode == "fedavg" else []
        trained = sum(p.numel() for half in halves for p in half.parameters() if p.requires_grad)
        return 4 * (trained + sum(b.numel() for half in halves for b in half.buffers() if b.is_floating_point()))

    def context(self) -> RunContext:
        """Return what the schedule knows of the run: where it decides for each of many devices, for the first."""
        shape, channel_dim = self.halves.code_shape, self.halves.cut.channel_dim
        steps = self.steps // self._asked
        context = run_context(self.config, shape, channel_dim, len(self.facts.classes), steps, self.halves.back)
        return context if self._asked == 1 else replace(context, round_bytes=3 * self.weights_bytes())

    @property
    def _asked(self) -> int:
        """For how many devices the schedule decides on its own."""
        each = bool(getattr(self.config.schedule, "for_each_device", False))
        return (self.config.devices.per_round or self.config.devices.count) if each else 1

    def step_bytes(self, level: Level) -> StepBytes:
        """Return the bytes of one optimizer step of joint training at a level."""
        return self._step_bytes(level, self.halves.code_shape)

    def max_traffic(self, decisions: Sequence[Decision] | None) -> int:
        """Return the most training bytes of the run, both ways.

        `decisions` are the schedule's for all epochs; None, if it depends on measurements, stands for its loosest
        level throughout.
        """
        if decisions is None:
            loosest = max(map(self.context().step_bytes, self.config.levels()))
            return loosest * self.steps * self.config.train.epochs
        shape, channel_dim, classes = self.halves.code_shape, self.halves.cut.channel_dim, len(self.facts.classes)
        sent = (
            epoch_bytes(self.config, one, shape, channel_dim, classes, epoch, self.steps, self.halves.back)
            for epoch, one in enumerate(decisions)
        )
        return sum(one.up + one.down for one in sent)

    def _count_epochs(self, decisions: Sequence[Decision] | None) -> float:
        """Return the run's epochs, those in which one half rests counted by the other's share of the operations."""
        if decisions is None:
            return self.config.train.epochs
        passes = 1 if self.config.train.device_half == "frozen" else 3  # a backward pass is two forward passes' work
        device, server = passes * self.profile.device_gflops, 3 * self.profile.server_gflops
        share = server / (device + server or 1.0)
        shares: dict[Mode, float] = {"cached": share, "alone": 1 - share}
        return sum(shares.get(one.mode, 1.0) for one in decisions)

    def _step_bytes(self, level: Level, shape: Sequence[int]) -> StepBytes:
        channel_dim, classes = self.halves.cut.channel_dim, len(self.facts.classes)
        return step_bytes(self.config, level, shape, channel_dim, classes, self.halves.back)

    def _format_trained(self) -> str:
        train, texts = self.config.train, []
        own = torch.nn.ModuleList(self._own)
        for side, half, lr in (("device", own, train.device_lr), ("server", self.halves.server, None)):
            counts = [(p.numel(), p.requires_grad) for p in half.parameters()]
            trained, total = sum(n for n, trained in counts if trained), sum(n for n, _ in counts)
            rate = f" at lr {lr or train.lr:g}" if trained else ""
            texts.append(f"{trained:,} of {total:,} parameters on the {side}{rate}")
        return f"trained  {', '.join(texts)}"

    def _format_level(self, level: Level, decisions: Sequence[Decision] | None) -> str:
        step, context = self.step_bytes(level), self.context()
        modes = {context.mode} if decisions is None else {one.mode for one in decisions if level in one.levels}
        down, bound = step.down if "joint" in modes else 0, "" if step.exact else " at most"
        line = f"level    {level}: {step.up:,} B up and {down:,} B down per step{bound}"
        if decisions is None:
            return line
        epochs = _format_epochs([one.mode for one in decisions if level in one.levels])
        if not any(level in one.levels and one.mixture for one in decisions):
            return f"{line}, {epochs}"
        counts = (count_levels(self.config, one, epoch, self.steps)[level] for epoch, one in enumerate(decisions))
        return f"{line}, {sum(counts):,} steps of {epochs}"

    def _format_traffic(self, decisions: Sequence[Decision] | None) -> str:
        total = 0 if self.config.devices.mode == "fedavg" else self.max_traffic(decisions)
        if self.config.devices.count > 1:
            drawn = self.config.devices.per_round or self.config.devices.count
            total += 2 * self.weights_bytes() * drawn * self.config.train.epochs
        plain = self._step_bytes(UNCOMPRESSED, self.halves.cut.shape)
        fp32 = (plain.up + plain.down) * self.steps * self.config.train.epochs
        images = self.facts.train_rows * math.prod(self.facts.shape)
        exact = decisions is not None and all(level.entropy == "none" for level in self.config.levels())
        if not total:
            return f"traffic  nothing crosses; fp32 split training {fp32 / 1e6:,.1f} MB"
        return (
            f"traffic  {total / 1e6:,.1f} MB{'' if exact else ' at most'}; fp32 split training {fp32 / 1e6:,.1f} MB "
            f"(a reduction of {fp32 / total:,.1f}×); uploading the raw images once {images / 1e6:,.1f} MB "
            f"({images / total:,.3f}×)"
        )


def check_run(config: SplitConfig) -> None:
    """Build both halves and discard them, so that faults show in seconds, before a cluster is started.

    Data that exist on the device only (a path that does not exist here; those of devices that join) are left for the
    device to check. Raises what building raises: DataError, ModelError, CutError, ConfigError.
    """
    if config.devices.source == "gateway" and not config.devices.data:
        return
    kind, _, path = _first_data(config).name.partition(":")
    if kind not in ("audio", "folder", "parquet") or Path(path).expanduser().exists():
        _build_halves(config)


def make_run_plan(config: SplitConfig) -> RunPlan:
    """Build everything, time one small step of both halves on random images, and train nothing.

    Raises as `check_run`.
    """
    known, halves = _build_halves(config)
    model = build(config.model, len(known.classes), known.shape)
    costs = {cut.name: cut for cut in profile(model, known.shape)}
    cut = costs[halves.cut.name]
    if halves.back is not None:
        tail = costs[halves.back.name].server_gflops
        server = cut.server_gflops - tail
        cut = replace(cut, device_gflops=cut.device_gflops + tail, server_gflops=server)
    batch = min(max(1, _TIMED_VALUES // math.prod(known.shape)), config.train.batch_size)
    seconds = _time_step(config, halves, torch.randn(batch, *known.shape)) * config.train.batch_size / batch
    return RunPlan(config, known, halves, cut, _count_steps(config, known.train_rows), seconds)


def _count_steps(config: SplitConfig, rows: int) -> int:
    devices = config.devices
    each = rows if devices.data else rows // devices.count
    if devices.kind == "virtual":  # those without images take part in no round
        each = max(1, each)
    return (devices.per_round or devices.count) * count_steps(each, config.train.batch_size, devices)


def _first_data(config: SplitConfig) -> DataConfig:
    """Return the data of the first device, or those of all."""
    return config.data.replaced(name=config.devices.data[0]) if config.devices.data else config.data


def _build_halves(config: SplitConfig) -> tuple[Facts, BuiltHalves]:
    known = read_facts(_first_data(config))
    known = replace(known, classes=config.devices.classes or known.classes)
    pick_device(config.train.device)
    many = "" if config.devices.count == 1 else f" on each of {config.devices.count} devices"
    if not _count_steps(config, known.train_rows):
        raise DataError(
            f"{known.name}: {known.train_rows} training rows do not fill a batch of {config.train.batch_size}{many}; "
            f"lower train.batch_size{' or devices.count' if many else ''}"
        )
    halves = build_halves(config, len(known.classes), known.shape)
    for level in config.levels():
        build_codec(config.codec, level, "up", halves.cut.channel_dim)
    return known, halves


def _time_step(config: SplitConfig, halves: BuiltHalves, images: torch.Tensor) -> float:
    device = pick_device(config.train.device)
    parts = [part for part in (halves.device, halves.server, halves.tail) if part is not None]
    network = torch.nn.Sequential(*parts).to(device)
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


def _state_bytes(half: torch.nn.Module) -> int:
    return sum(tensor.nbytes for tensor in half.state_dict().values())


def _mib(count: float) -> float:
    return count / 2**20


def _format_epochs(modes: Sequence[Mode]) -> str:
    """Return a level's number of epochs, and how many are of which mode unless all are joint."""
    counts = Counter(modes)
    kinds = "" if set(counts) <= {"joint"} else " (" + ", ".join(f"{n} {mode}" for mode, n in counts.items()) + ")"
    return f"{len(modes)} {'epoch' if len(modes) == 1 else 'epochs'}{kinds}"
