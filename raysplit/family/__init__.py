"""A family: one network in two halves at several levels, written from a prune run and loaded half by half."""

from raysplit.family.bundle import Family, LevelHalves, load_family, write_family
from raysplit.family.manifest import FamilyLevel, FamilyManifest
from raysplit.family.shared_levels import SharedLevels

__all__ = ["Family", "FamilyLevel", "FamilyManifest", "LevelHalves", "SharedLevels", "load_family", "write_family"]
