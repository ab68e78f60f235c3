"""A family: one network in two halves at one or more levels, written by a run when it ends and loaded half by half."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from raysplit.family.bundle import Family, load_family
from raysplit.family.network import SplitNetwork, load_run
from raysplit.family.shared_levels import SharedLevels
from raysplit.records.family import FamilyLevel, FamilyManifest

if TYPE_CHECKING:
    from raysplit.train.family import write_family

__all__ = [
    "Family",
    "FamilyLevel",
    "FamilyManifest",
    "SharedLevels",
    "SplitNetwork",
    "load_family",
    "load_run",
    "write_family",
]


def __getattr__(name: str) -> Any:
    """Import `write_family` on first use: what loads a family needs no training code for it."""
    if name != "write_family":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from raysplit.train.family import write_family

    return write_family
