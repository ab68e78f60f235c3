"""Checkpoints as bytes: tensors and plain data only, so that reading one never runs code."""

from __future__ import annotations

import io
from typing import Any

import torch


def pack_state(state: dict[str, Any]) -> bytes:
    """Return nested dicts and lists of tensors, numbers and text as bytes."""
    sink = io.BytesIO()
    torch.save(state, sink)
    return sink.getvalue()


def unpack_state(data: bytes) -> dict[str, Any]:
    """Read back what `pack_state` wrote, onto the CPU."""
    state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return state
