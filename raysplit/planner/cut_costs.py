"""Every cut of a model with its compute, memory and bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from raysplit.compress.quantizing_codec import QuantizingCodec
from raysplit.config import DEFAULT_LEVEL
from raysplit.split import CutProfile, profile
from raysplit.utils.text_table import align_table

_COLUMNS = (
    *("cut", "crosses", "device GFLOPs", "server GFLOPs", "device params", "server params"),
    *("fp32 B", f"{DEFAULT_LEVEL} B", "device peak KiB"),
)


@dataclass(frozen=True)
class CutCost:
    """A cut's profile, and the bytes of one image's message at the default level, header included."""

    profile: CutProfile
    crossing_bytes_default: int
    exact: bool
    """False: `crossing_bytes_default` is an upper bound, because an entropy stage follows."""


def price_cuts(model: nn.Module, shape: tuple[int, int, int]) -> list[CutCost]:
    """Return the cuts of `model` for images of `shape` (C, H, W), in the order of execution, with their costs.

    Raises ModelError and CutError as `raysplit.split.profile` does.

    >>> layers = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    >>> [(cost.profile.name, cost.profile.crossing_bytes_fp32) for cost in price_cuts(layers, (1, 8, 8))]
    [('0', 576), ('1', 576), ('2', 576)]
    """
    costs = []
    for cut in profile(model, shape):
        estimate = QuantizingCodec(DEFAULT_LEVEL, "up", cut.channel_dim).estimate((1, *cut.shape))
        costs.append(CutCost(cut, estimate.bytes, estimate.exact))
    return costs


def costs_to_json(model: str, shape: str, costs: Sequence[CutCost]) -> dict[str, Any]:
    """Return `{"model", "input", "default_level", "cuts": [...]}` as JSON data."""
    cuts = [
        asdict(cost.profile) | {"crossing_bytes_default": cost.crossing_bytes_default, "exact": cost.exact}
        for cost in costs
    ]
    return {"model": model, "input": shape, "default_level": str(DEFAULT_LEVEL), "cuts": cuts}


def format_costs(model: str, shape: str, costs: Sequence[CutCost]) -> str:
    """Return the cuts as a table for a terminal."""
    body = [_cells(cost) for cost in costs]
    title = f"{model}, input {shape}: {len(costs)} cuts; one image, forward pass, batch of 1"
    return "\n".join([title, align_table(_COLUMNS, body, 2)])


def _cells(cost: CutCost) -> tuple[str, ...]:
    cut = cost.profile
    return (
        cut.name,
        "×".join(map(str, cut.shape)),
        f"{cut.device_gflops:.4f}",
        f"{cut.server_gflops:.4f}",
        f"{cut.device_params:,}",
        f"{cut.server_params:,}",
        f"{cut.crossing_bytes_fp32:,}",
        f"{'' if cost.exact else '≤ '}{cost.crossing_bytes_default:,}",
        f"{cut.device_peak_bytes / 1024:,.0f}",
    )
