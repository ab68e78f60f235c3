"""An ensemble as a Ray Serve application: `raysplit.serving.ensemble:build`, and `:app` for `serve build`."""

from typing import Any

from raysplit.serving.ensemble.application import build

__all__ = ["build"]


def __getattr__(name: str) -> Any:
    """Build `app` on access: it needs a bundle, which the environment variable RAYSPLIT_BUNDLE names."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from raysplit.serving.ensemble.application import build_from_environment

    return build_from_environment()
