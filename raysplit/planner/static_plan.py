"""The static plan: what every cut at every level would cost on given machines and a link, before any training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

from torch import nn

from raysplit.compress.bottleneck import code_shape
from raysplit.compress.user_codec import build_codec
from raysplit.config import DataConfig, Level, ModelConfig, SplitConfig, TrainConfig
from raysplit.data import facts
from raysplit.errors import ConfigError, CutError, nearest
from raysplit.hardware.link import Link
from raysplit.hardware.machine import Machine
from raysplit.models import build
from raysplit.schedules import Phased
from raysplit.split import CutProfile, profile
from raysplit.split.profile import count_flops
from raysplit.train.costs import step_bytes

LEVELS = ("all·b32/b32", "all·b8/b8", "all·b4/b4·zstd", "c16·b4/b4·zstd", "c4·b4/b4·zstd")
"""What a plan looks at unless it is told: from fp32 to four channels at four bits."""
ON_DEVICE, ON_SERVER = "all on the device", "all on the server"
_ANSWER_BYTES = 64
"""The answer that comes back: a few class numbers and probabilities."""


@dataclass(frozen=True)
class Row:
    """One cut at one level; or, without a level, all on one side."""

    cut: str
    level: str | None
    bytes_up: float
    """Of one image's message at inference, header included; of the raw image where all is on the server."""
    exact: bool
    """False: bytes are an upper bound, as an entropy stage follows."""
    train_bytes_up: float
    """Per training image, in batches: activations, labels and headers."""
    train_bytes_down: float
    device_s: float
    """Forward pass of one image."""
    link_s: float
    """Image or activation up, answer down, with the round trip."""
    server_s: float
    device_mib: float
    """Weights, and the most activations held at once for one image."""
    fault: str | None
    """Why it cannot be."""

    @property
    def total_s(self) -> float:
        """Seconds from image to answer."""
        return self.device_s + self.link_s + self.server_s


@dataclass(frozen=True)
class Plan:
    """The rows for one model, and what they were reckoned with; both baselines come first."""

    model: str
    data: str
    shape: tuple[int, int, int]
    link: Link
    device: Machine
    server: Machine
    rate: float | None
    rows: tuple[Row, ...]

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self) | {
            "link": self.link.model_dump(),
            "device": self.device.model_dump(),
            "server": self.server.model_dump(),
            "rows": [asdict(row) | {"total_s": row.total_s} for row in self.rows],
        }

    def best(self) -> Row | None:
        """Return the row that answers soonest of those that can be."""
        return min((row for row in self.rows if row.fault is None), key=lambda row: row.total_s, default=None)


def static_plan(
    model: ModelConfig,
    data: DataConfig,
    link: Link,
    device: Machine,
    server: Machine,
    levels: Sequence[Level],
    batch: int = 50,
    rate: float | None = None,
) -> Plan:
    """Return the plan of a model for the images of a data set; nothing is computed, and no image is read.

    `batch` is the training batch that headers are shared by; `rate` the images per second that every part has to
    keep up with. Levels with more channels than a cut has are left out there. Raises ModelError and CutError as
    `profile`, DataError for an unknown data set.
    """
    known = facts(data)
    network = build(model, len(known.classes), known.shape)
    cuts = profile(network, known.shape)
    rows = [*_baselines(network, known.shape, cuts, link, device, server)]
    train = TrainConfig(batch_size=batch)
    for cut in cuts:
        config = SplitConfig(name="plan", data=data, model=model, cut=cut.name, train=train)
        for level in levels:
            if level.channels is None or level.channels <= cut.shape[cut.channel_dim - 1]:
                rows.append(_row(config, cut, cut.shape, level, len(known.classes), link, device, server))
    checked = tuple(_checked(row, device, rate, link) for row in rows)
    return Plan(model.name, known.name, known.shape, link, device, server, rate, checked)


def row_of(
    config: SplitConfig, link: Link, device: Machine, server: Machine, rate: float | None
) -> tuple[Row, CutProfile]:
    """Return the row of a run's cut at the level that it ends with, and the cut's profile.

    Raises what cannot be as ModelError, CutError or ConfigError.
    """
    known = facts(config.data)
    if config.model.module is None:
        cuts = _profiled(config.model.model_dump_json(), len(known.classes), known.shape)
    else:  # two modules of one class are alike in JSON
        cuts = profile(build(config.model, len(known.classes), known.shape), known.shape)
    cut = next((cut for cut in cuts if cut.name == config.cut), None)
    if cut is None:
        names = [cut.name for cut in cuts]
        raise CutError(f"{config.model.name} has no cut '{config.cut}'. {nearest(config.cut, names)}")
    level, channels = last_level(config), cut.shape[cut.channel_dim - 1]
    for one in config.levels():
        if one.channels is not None and one.channels > channels:
            raise ConfigError(f"level {one} keeps {one.channels} channels, {channels} cross at cut '{cut.name}'")
    shape = code_shape(config.bottleneck, cut.shape, cut.channel_dim)
    row = _row(config, cut, shape, level, len(known.classes), link, device, server)
    return _checked(row, device, rate, link), cut


def last_level(config: SplitConfig) -> Level:
    """Return the level that a run ends with; of a ladder, the loosest, which it may not reach."""
    schedule = config.schedule
    return schedule.phases[-1].level if isinstance(schedule, Phased) else config.levels()[-1]


@lru_cache(maxsize=8)
def _profiled(model: str, classes: int, shape: tuple[int, int, int]) -> list[CutProfile]:
    return profile(build(ModelConfig.model_validate_json(model), classes, shape), shape)


def _row(
    config: SplitConfig,
    cut: CutProfile,
    shape: tuple[int, ...],
    level: Level,
    classes: int,
    link: Link,
    device: Machine,
    server: Machine,
) -> Row:
    one = build_codec(config.codec, level, "up", cut.channel_dim).estimate((1, *shape))
    step = step_bytes(config, level, shape, cut.channel_dim, classes)
    return Row(
        cut=cut.name,
        level=str(level),
        bytes_up=one.bytes,
        exact=step.exact and one.exact,
        train_bytes_up=step.up / config.train.batch_size,
        train_bytes_down=step.down / config.train.batch_size,
        device_s=cut.device_gflops / device.gflops_per_s,
        link_s=link.call_s(one.bytes) + link.down_s(_ANSWER_BYTES) - link.down_s(0),
        server_s=cut.server_gflops / server.gflops_per_s,
        device_mib=(cut.device_param_bytes + cut.device_peak_bytes) / 2**20,
        fault=None,
    )


def _baselines(
    network: nn.Module,
    shape: tuple[int, int, int],
    cuts: Sequence[CutProfile],
    link: Link,
    device: Machine,
    server: Machine,
) -> tuple[Row, Row]:
    gflops, image = count_flops(network, shape) / 1e9, math.prod(shape)
    weights = sum(tensor.nbytes for tensor in network.parameters())
    peak = max(cut.device_peak_bytes for cut in cuts)
    alone = Row(ON_DEVICE, None, 0, True, 0, 0, gflops / device.gflops_per_s, 0.0, 0.0, (weights + peak) / 2**20, None)
    sent = link.call_s(image) + link.down_s(_ANSWER_BYTES) - link.down_s(0)
    away = Row(ON_SERVER, None, image, True, image, 0, 0.0, sent, gflops / server.gflops_per_s, 0.0, None)
    return alone, away


def _checked(row: Row, device: Machine, rate: float | None, link: Link) -> Row:
    """Return the row, marked when the device cannot hold it or a part cannot keep up."""
    fault = None
    if row.device_mib > device.memory_mib:
        fault = f"needs {row.device_mib:,.1f} MiB, {device.name} has {device.memory_mib:,.1f}"
    elif rate is not None:
        sending = link.up_s(row.bytes_up) if row.link_s else 0.0
        part, seconds = max(
            (("the device", row.device_s), ("the link", sending), ("the server", row.server_s)), key=lambda p: p[1]
        )
        if seconds * rate > 1:
            fault = f"{part} takes {1000 * seconds:,.1f} ms an image, {rate:g} images/s leave {1000 / rate:,.1f}"
    return replace(row, fault=fault)
