"""An empty composition, the lower bound for all others: the same fan-out, but nothing is computed."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from ray import serve
from ray.serve import Application
from ray.serve.handle import DeploymentHandle
from starlette.requests import Request
from starlette.responses import Response

_ACTOR = {"num_cpus": 0.1}
_MAX_REQUESTS = 128
"""Enough that no request waits in a queue."""


class Constant:
    """Returns as many bytes as a sub-model's features of one image have."""

    def __init__(self, size: int):
        self._features = bytes(size)

    async def features(self, images: bytes) -> bytes:
        return self._features


@serve.deployment(name="Ingress", max_ongoing_requests=_MAX_REQUESTS, ray_actor_options=_ACTOR)
class FanOut:
    """Passes the body on to all other deployments and waits for them."""

    def __init__(self, *handles: DeploymentHandle[Any]):
        self._handles = handles

    async def __call__(self, request: Request) -> Response:
        body = await request.body()
        await asyncio.gather(*(handle.features.remote(body) for handle in self._handles))
        return Response(b"{}", media_type="application/json")


def build(args: dict[str, Any]) -> Application:
    """Return the composition of `n` deployments that return `size` bytes each."""
    constant = serve.deployment(max_ongoing_requests=_MAX_REQUESTS, ray_actor_options=_ACTOR)(Constant)
    handles = (constant.options(name=f"constant-{index}").bind(args["size"]) for index in range(args["n"]))
    return cast(Application, FanOut.bind(*handles))  # type: ignore[attr-defined]
