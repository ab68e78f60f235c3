"""Typed rows of what was measured: no files, no torch."""
