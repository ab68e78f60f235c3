"""The Open Inference Protocol's routes of one model, with and without a version."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, FastAPI

from raysplit.serving.args import Access
from raysplit.serving.http.openapi import errors

MODEL_PATHS = ("/v2/models/{name}", "/v2/models/{name}/versions/{version}")


def add_model_routes(
    app: FastAPI,
    private: APIRouter,
    access: Access,
    *,
    ready: Callable[..., Any],
    ready_errors: tuple[int, ...],
    metadata: Callable[..., Any],
) -> None:
    """Add readiness to `app`, for everyone, and metadata to `private`, for clients that `access` admits.

    `ready_errors` are the statuses with which readiness may be refused.
    """
    for path in MODEL_PATHS:
        app.add_api_route(f"{path}/ready", ready, name="model_ready", responses=errors(*ready_errors))
        private.add_api_route(
            path,
            metadata,
            name="model_metadata",
            response_model_exclude_none=True,
            responses=errors(404, access=access),
        )
