"""Strict checks of Ray Serve config files, in which Serve itself accepts any key: `raysplit check`."""

from raysplit.serving.check.file import check_file
from raysplit.serving.check.finding import Finding

__all__ = ["Finding", "check_file"]
