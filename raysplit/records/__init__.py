"""Typed records of measurements; no files, no torch."""
