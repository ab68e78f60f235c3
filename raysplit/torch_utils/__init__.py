"""Torch helpers: devices, checkpoints, optimizers, seeds."""
