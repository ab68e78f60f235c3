"""An ensemble as a Ray Serve application: `raysplit.serving.ensemble:build`, and `:app` for `serve build`.

Both are imported on access: a replica of sub-models needs neither FastAPI nor what decodes images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raysplit.serving.ensemble.application import build

__all__ = ["build"]


def __getattr__(name: str) -> Any:
    """Import `build`, or build `app`, which needs a bundle that the environment variable RAYSPLIT_BUNDLE names."""
    if name not in ("app", "build"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from raysplit.serving.ensemble.application import build, build_from_environment

    return build if name == "build" else build_from_environment()
