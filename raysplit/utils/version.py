"""Which version of the package this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def find_version() -> str:
    """Return the version of the package, `0+unknown` where it is not installed: in a working directory of a Ray job.

    >>> find_version()[0].isdigit()
    True
    """
    try:
        return version("raysplit")
    except PackageNotFoundError:
        return "0+unknown"
