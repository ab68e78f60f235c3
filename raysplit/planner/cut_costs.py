"""Every cut of a model with its compute, memory and bytes at a level."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from raysplit.compress.quantizing_codec import QuantizingCodec
from raysplit.config import DEFAULT_LEVEL
from raysplit.split import CutProfile, profile


@dataclass(frozen=True)
class CutCost:
    """A cut's profile, and the body and header bytes of one image's activation at the default level."""

    profile: CutProfile
    crossing_bytes_default: int
    exact: bool
    """False: `crossing_bytes_default` is an upper bound, since an entropy stage follows."""


def price(model: nn.Module, shape: tuple[int, int, int]) -> list[CutCost]:
    """Return the cuts of `model` for images of `shape` (C, H, W), in order of execution, with their prices."""
    rows = []
    for row in profile(model, shape):
        estimate = QuantizingCodec(DEFAULT_LEVEL, "up", row.channel_dim).estimate((1, *row.shape))
        rows.append(CutCost(row, estimate.bytes, estimate.exact))
    return rows


def as_json(model: str, given: str, rows: list[CutCost]) -> dict[str, Any]:
    """Return `{"model", "input", "default_level", "cuts": [...]}` of plain data."""
    cuts = [
        asdict(row.profile) | {"crossing_bytes_default": row.crossing_bytes_default, "exact": row.exact} for row in rows
    ]
    return {"model": model, "input": given, "default_level": str(DEFAULT_LEVEL), "cuts": cuts}


def as_table(model: str, given: str, rows: list[CutCost]) -> str:
    """Return the cuts as an aligned table for a terminal."""
    head = (
        "cut",
        "crosses",
        "device GFLOPs",
        "server GFLOPs",
        "device params",
        "server params",
        "fp32 B",
        f"{DEFAULT_LEVEL} B",
        "device peak KiB",
    )
    body = [
        (
            row.profile.name,
            "×".join(map(str, row.profile.shape)),
            f"{row.profile.device_gflops:.4f}",
            f"{row.profile.server_gflops:.4f}",
            f"{row.profile.device_params:,}",
            f"{row.profile.server_params:,}",
            f"{row.profile.crossing_bytes_fp32:,}",
            f"{'' if row.exact else '≤ '}{row.crossing_bytes_default:,}",
            f"{row.profile.device_peak_bytes / 1024:,.0f}",
        )
        for row in rows
    ]
    widths = [max(len(line[i]) for line in (head, *body)) for i in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in (head, *body)
    ]
    return "\n".join([f"{model}, input {given}: {len(rows)} cuts; one image, forward, batch 1", *lines])
