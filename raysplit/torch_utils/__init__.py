"""Torch helpers: devices, checkpoints, optimisers, seeds."""
