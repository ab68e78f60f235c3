"""The static plan: what every cut at every level would cost on given hardware, before any training."""

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
from raysplit.data import read_facts
from raysplit.errors import ConfigError, CutError, nearest
from raysplit.hardware.link import Link
from raysplit.hardware.platform import Platform
from raysplit.models import build
from raysplit.schedules import Phased
from raysplit.split import CutProfile, profile
from raysplit.split.profile import count_flops
from raysplit.train.costs import step_bytes

LEVELS = ("all·b32/b32", "all·b8/b8", "all·b4/b4·zstd", "c16·b4/b4·zstd", "c4·b4/b4·zstd")
"""The levels of a plan by default: from fp32 to four channels at four bits."""
ON_DEVICE, ON_SERVER = "all on the device", "all on the server"
"""Names of the baselines, in place of a cut."""
_ANSWER_BYTES = 64
"""The answer that comes back: a few class numbers and probabilities."""


@dataclass(frozen=True)
class PlanRow:
    """One cut at one level; without a level, a baseline with the whole network on one side."""

    cut: str
    level: str | None
    bytes_up: float
    """Of one image's message at inference, header included; of the raw image where all is on the server."""
    exact: bool
    """False: bytes are an upper bound, because an entropy stage follows."""
    train_bytes_up: float
    """Per training image, in batches: activations, labels and headers."""
    train_bytes_down: float
    device_s: float
    """Forward pass of one image."""
    link_s: float
    """Image or activation up, answer down, with the round trip."""
    server_s: float
    device_mib: float
    """Weights, and the peak memory of activations for one image, in 2**20 bytes."""
    fault: str | None
    """Why the row is infeasible; None: it is feasible."""
    equal_cuts: tuple[str, ...] = ()
    """Cuts that follow, where the same values cross at the same cost: after a reshape, for example."""

    @property
    def total_s(self) -> float:
        """Seconds from image to answer."""
        return self.device_s + self.link_s + self.server_s


@dataclass(frozen=True)
class StaticPlan:
    """The rows for one model, both baselines first, and what they were computed with."""

    model: str
    data: str
    shape: tuple[int, int, int]
    """Channels, height and width of the images."""
    platform: Platform
    rate: float | None
    """Images per second that every part must sustain; None: any."""
    rows: tuple[PlanRow, ...]
    budget_s: float | None = None
    """Seconds from image to answer that are wanted at most; None: any."""

    def to_json(self) -> dict[str, Any]:
        """Return JSON data."""
        return {
            "model": self.model,
            "data": self.data,
            "shape": self.shape,
            "link": self.platform.link.model_dump(),
            "device": self.platform.device.model_dump(),
            "server": self.platform.server.model_dump(),
            "rate": self.rate,
            "budget_s": self.budget_s,
            "rows": [asdict(row) | {"total_s": row.total_s} for row in self.rows],
        }

    def fastest(self) -> PlanRow | None:
        """Return the feasible row with the shortest time to an answer, or None if no row is feasible."""
        return min((row for row in self.rows if row.fault is None), key=lambda row: row.total_s, default=None)


@dataclass(frozen=True)
class PlannedImages:
    """What a plan needs to know about images."""

    name: str
    shape: tuple[int, int, int]
    classes: int

    @classmethod
    def of(cls, data: DataConfig) -> PlannedImages:
        """Read them from a data set. Raises DataError for one that is unknown or cannot be used."""
        known = read_facts(data)
        return cls(known.name, known.shape, len(known.classes))


@dataclass(frozen=True)
class CutPlan:
    """A run's cut: its row, and the profile that the row was computed from."""

    row: PlanRow
    profile: CutProfile


def make_static_plan(
    model: ModelConfig,
    data: DataConfig,
    platform: Platform,
    levels: Sequence[Level],
    batch: int = 50,
    rate: float | None = None,
    *,
    images: PlannedImages | None = None,
    budget_s: float | None = None,
) -> StaticPlan:
    """Return the plan of a model for the images of a data set; no tensor is computed.

    Args:
        model: the network.
        data: gives the images' shape and the number of classes.
        platform: device, server and link.
        levels: those with more channels than a cut has are left out at that cut.
        batch: images of a training batch, which share its headers.
        rate: images per second that every part must sustain; None: any.
        images: stand in for the data set's, which is not read then.
        budget_s: seconds from image to answer that are wanted at most; None: any.

    Raises ModelError and CutError as `raysplit.split.profile` does, DataError for an unknown data set.

    >>> from raysplit.hardware.link import get_link
    >>> from raysplit.hardware.machine import get_machine
    >>> platform = Platform(get_link("wifi"), get_machine("pi4"), get_machine("server"))
    >>> small = ModelConfig(name="vgg5", args={"width": 0.25})
    >>> plan = make_static_plan(small, DataConfig(name="digits"), platform, [Level("c4.b4/b4")])
    >>> plan.rows[2].cut, plan.rows[2].level, plan.rows[2].bytes_up
    ('features.0', 'c4·b4/b4', 181)
    """
    known = images or PlannedImages.of(data)
    classes = known.classes
    network = build(model, classes, known.shape)
    cuts = profile(network, known.shape)
    rows = _baselines(network, known.shape, cuts, platform)
    train = TrainConfig(batch_size=batch)
    for cut, equal in _merge(cuts):
        config = SplitConfig(name="plan", data=data, model=model, cut=cut.name, train=train)
        for level in levels:
            if level.channels is None or level.channels <= cut.shape[cut.channel_dim - 1]:
                row = _make_row(config, cut, cut.shape, level, classes, platform)
                rows.append(replace(row, equal_cuts=equal))
    checked = tuple(_with_fault(row, platform, rate) for row in rows)
    return StaticPlan(model.name, known.name, known.shape, platform, rate, checked, budget_s)


def plan_cut(config: SplitConfig, platform: Platform, rate: float | None = None) -> CutPlan:
    """Return the row of a run's cut at the level that the run ends with.

    Raises ModelError, CutError or ConfigError for a model, a cut or a level that is invalid.
    """
    known = read_facts(config.data)
    classes = len(known.classes)
    if config.model.module is None:
        cuts = _profile_model(config.model.model_dump_json(), classes, known.shape)
    else:  # two modules of one class are alike in JSON
        cuts = profile(build(config.model, classes, known.shape), known.shape)
    cut = next((cut for cut in cuts if cut.name == config.cut), None)
    if cut is None:
        names = [cut.name for cut in cuts]
        raise CutError(f"{config.model.name} has no cut '{config.cut}'. {nearest(config.cut, names)}")
    channels = cut.shape[cut.channel_dim - 1]
    for level in config.levels():
        if level.channels is not None and level.channels > channels:
            raise ConfigError(f"level {level} keeps {level.channels} channels, {channels} cross at cut '{cut.name}'")
    shape = code_shape(config.bottleneck, cut.shape, cut.channel_dim)
    row = _make_row(config, cut, shape, final_level(config), classes, platform)
    return CutPlan(_with_fault(row, platform, rate), cut)


def final_level(config: SplitConfig) -> Level:
    """Return the level that a run ends with; of a ladder, the loosest, which it may not reach."""
    schedule = config.schedule
    return schedule.phases[-1].level if isinstance(schedule, Phased) else config.levels()[-1]


@lru_cache(maxsize=8)
def _profile_model(model: str, classes: int, shape: tuple[int, int, int]) -> list[CutProfile]:
    return profile(build(ModelConfig.model_validate_json(model), classes, shape), shape)


def _merge(cuts: Sequence[CutProfile]) -> list[tuple[CutProfile, tuple[str, ...]]]:
    """Return each cut with the names of those right after it that cost the same and send as many values."""
    groups: list[list[CutProfile]] = []
    for cut in cuts:
        if groups and _cost(groups[-1][0]) == _cost(cut):
            groups[-1].append(cut)
        else:
            groups.append([cut])
    return [(group[0], tuple(cut.name for cut in group[1:])) for group in groups]


def _cost(cut: CutProfile) -> tuple[int, float, int]:
    return math.prod(cut.shape), cut.device_gflops, cut.device_params


def _make_row(
    config: SplitConfig, cut: CutProfile, shape: tuple[int, ...], level: Level, classes: int, platform: Platform
) -> PlanRow:
    """Return the row of a cut at a level; `shape` is what crosses, without the batch dimension."""
    image = build_codec(config.codec, level, "up", cut.channel_dim).estimate((1, *shape))
    step = step_bytes(config, level, shape, cut.channel_dim, classes)
    return PlanRow(
        cut=cut.name,
        level=str(level),
        bytes_up=image.bytes,
        exact=step.exact and image.exact,
        train_bytes_up=step.up / config.train.batch_size,
        train_bytes_down=0 if config.device_rests else step.down / config.train.batch_size,
        device_s=cut.device_gflops / platform.device.gflops_per_s,
        link_s=_crossing_s(platform.link, image.bytes),
        server_s=cut.server_gflops / platform.server.gflops_per_s,
        device_mib=(cut.device_param_bytes + cut.device_peak_bytes) / 2**20,
        fault=None,
    )


def _baselines(
    network: nn.Module, shape: tuple[int, int, int], cuts: Sequence[CutProfile], platform: Platform
) -> list[PlanRow]:
    gflops, image = count_flops(network, shape) / 1e9, math.prod(shape)
    weights = sum(tensor.nbytes for tensor in network.parameters())
    peak = max(cut.device_peak_bytes for cut in cuts)
    on_device = PlanRow(
        cut=ON_DEVICE,
        level=None,
        bytes_up=0,
        exact=True,
        train_bytes_up=0,
        train_bytes_down=0,
        device_s=gflops / platform.device.gflops_per_s,
        link_s=0.0,
        server_s=0.0,
        device_mib=(weights + peak) / 2**20,
        fault=None,
    )
    on_server = replace(
        on_device,
        cut=ON_SERVER,
        bytes_up=image,
        train_bytes_up=image,
        device_s=0.0,
        link_s=_crossing_s(platform.link, image),
        server_s=gflops / platform.server.gflops_per_s,
        device_mib=0.0,
    )
    return [on_device, on_server]


def _crossing_s(link: Link, size: float) -> float:
    """Return the seconds on the link of one image's message of `size` bytes and its answer."""
    return link.call_s(size) + link.down_s(_ANSWER_BYTES) - link.down_s(0)


def _with_fault(row: PlanRow, platform: Platform, rate: float | None) -> PlanRow:
    """Return the row, with a fault if it does not fit the device's memory or a part cannot sustain the rate."""
    fault = None
    if row.device_mib > platform.device.memory_mib:
        fault = f"needs {row.device_mib:,.1f} MiB, {platform.device.name} has {platform.device.memory_mib:,.1f}"
    elif rate is not None:
        sending_s = platform.link.up_s(row.bytes_up) if row.link_s else 0.0
        parts = {"the device": row.device_s, "the link": sending_s, "the server": row.server_s}
        slowest = max(parts, key=lambda part: parts[part])
        if parts[slowest] * rate > 1:
            fault = (
                f"{slowest} takes {1000 * parts[slowest]:,.1f} ms for an image, {rate:g} images/s allow "
                f"{1000 / rate:,.1f}"
            )
    return replace(row, fault=fault)
