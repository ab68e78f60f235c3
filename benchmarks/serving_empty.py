"""An empty composition, the floor of all others: the same fan-out, and nothing is computed."""

from __future__ import annotations

import asyncio
from typing import Any

from ray import serve
from ray.serve import Application
from ray.serve.handle import DeploymentHandle
from starlette.requests import Request
from starlette.responses import Response

_ACTOR = {"num_cpus": 0.1}
_MANY = 128
"""Requests at once: nothing is held back."""


class Constant:
    """Answers with as many bytes as a sub-model's features of one image take."""

    def __init__(self, size: int):
        self._answer = bytes(size)

    async def features(self, images: bytes) -> bytes:
        return self._answer


@serve.deployment(name="Ingress", max_ongoing_requests=_MANY, ray_actor_options=_ACTOR)
class FanOut:
    """Passes the body on to all others and waits for them."""

    def __init__(self, *handles: DeploymentHandle):
        self._handles = handles

    async def __call__(self, request: Request) -> Response:
        body = await request.body()
        await asyncio.gather(*(handle.features.remote(body) for handle in self._handles))
        return Response(b"{}", media_type="application/json")


def build(args: dict[str, Any]) -> Application:
    """Return the composition of `n` deployments that answer with `size` bytes."""
    constant = serve.deployment(max_ongoing_requests=_MANY, ray_actor_options=_ACTOR)(Constant)
    return FanOut.bind(*(constant.options(name=f"constant-{i}").bind(args["size"]) for i in range(args["n"])))  # type: ignore[attr-defined]
