"""Checkpoints as bytes: tensors and plain data only, so that reading one never runs code."""

from __future__ import annotations

import io
from typing import Any

import torch

from raysplit.torch_utils.plain_state import MAGIC, unpack_plain


def pack_state(state: dict[str, Any]) -> bytes:
    """Return nested dicts and lists of tensors, numbers and text as bytes.

    >>> unpack_state(pack_state({"step": 3, "weights": [torch.ones(2)]}))
    {'step': 3, 'weights': [tensor([1., 1.])]}
    """
    sink = io.BytesIO()
    torch.save(state, sink)
    return sink.getvalue()


def unpack_state(data: bytes) -> dict[str, Any]:
    """Return the state that `pack_state` packed, or `plain_state.pack_plain`, on the CPU."""
    if data.startswith(MAGIC):
        plain: dict[str, Any] = unpack_plain(data)
        return plain
    state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return state
