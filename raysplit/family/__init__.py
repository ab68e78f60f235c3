"""A family: one network in two halves at several levels, written from a prune run and loaded half by half."""

from raysplit.family.bundle import Family, FamilyLevel, load_family, write_family

__all__ = ["Family", "FamilyLevel", "load_family", "write_family"]
