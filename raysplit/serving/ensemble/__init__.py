"""An ensemble of sub-models as a Ray Serve application: `raysplit.serving.ensemble:build`."""

from typing import Any

from raysplit.serving.ensemble.app import build

__all__ = ["build"]


def __getattr__(name: str) -> Any:
    """Make `app`, for `serve build`, when it is asked for: it needs a bundle, which RAYSPLIT_BUNDLE names."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from raysplit.serving.ensemble.app import app_from_environment

    return app_from_environment()
