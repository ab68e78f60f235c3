"""Routes of one model: who may use them, and under which paths."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI

from raysplit.serving.args import Access
from raysplit.serving.oip.routes import MODEL_PATHS, add_model_routes


async def answer(name: str) -> str:
    return name


def test_readiness_is_for_everyone_and_metadata_for_who_has_the_key():
    app, private = FastAPI(), APIRouter()
    access = Access(api_key_env="KEY")
    add_model_routes(app, private, access, ready=answer, ready_errors=(404, 503), metadata=answer)
    app.include_router(private)
    described = app.openapi()["paths"]
    assert set(described) == {*MODEL_PATHS, *(f"{path}/ready" for path in MODEL_PATHS)}
    for path in MODEL_PATHS:
        assert {"404", "503"} <= described[f"{path}/ready"]["get"]["responses"].keys()
        assert "401" not in described[f"{path}/ready"]["get"]["responses"]
        assert {"401", "404"} <= described[path]["get"]["responses"].keys()
