"""Accuracy against traffic: presets, rows, runs and the table that they end in."""
