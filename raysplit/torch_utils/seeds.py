"""Randomness as a function of names and numbers, so that a resumed run needs no generator's state."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

import torch


def mix(*parts: int | str) -> int:
    """Return a 63-bit seed for a tuple such as (run seed, "device", step)."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Run a block with torch's generators at `seed`, and leave the caller's streams as they were."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def generator(*seeds: int | str) -> torch.Generator:
    """Return a CPU generator that depends on all of `seeds`; torch keeps only 32 bits of a plain number."""
    digest = hashlib.sha256(repr(seeds).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))
