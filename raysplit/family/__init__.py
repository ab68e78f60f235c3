"""A family: one network in two halves at one or more levels, written by a run when it ends and loaded half by half."""

from raysplit.family.bundle import Family, load_family
from raysplit.family.network import SplitNetwork, load_run
from raysplit.family.shared_levels import SharedLevels
from raysplit.records.family import FamilyLevel, FamilyManifest
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
