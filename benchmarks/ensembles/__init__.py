"""Ensembles: presets, rows, their folders and times, and the table."""
