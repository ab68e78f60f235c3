"""A family: one network in two halves at several levels, written from a prune run and loaded half by half."""

from raysplit.family.bundle import Family, load_family, write_family
from raysplit.family.manifest import FamilyLevel, FamilyManifest
from raysplit.family.shared_levels import SharedLevels

__all__ = ["Family", "FamilyLevel", "FamilyManifest", "SharedLevels", "load_family", "write_family"]
