"""The server halves of a family as a Ray Serve application: `raysplit.serving.split:build`."""

from raysplit.serving.split.application import build

__all__ = ["build"]
