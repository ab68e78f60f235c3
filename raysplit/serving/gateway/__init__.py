"""The gateway, at which devices outside the cluster join runs: `raysplit.serving.gateway:build`.

`build` is imported on access: what holds the devices' calls needs no Ray.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raysplit.serving.gateway.application import build

__all__ = ["build"]


def __getattr__(name: str) -> Any:
    """Import `build`."""
    if name != "build":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from raysplit.serving.gateway.application import build

    return build
