"""Building the application of the gateway: one deployment that holds the calls of all joined devices.

serve run serve_configs/gateway.yaml
serve run raysplit.serving.gateway:build keys=keys.txt
"""

# No `from __future__ import annotations`: Serve reads the annotation of `build` at run time.
from collections.abc import Sequence
from typing import cast

from fastapi import FastAPI
from ray import serve
from ray.serve import Application

from raysplit.serving.args import GATEWAY, GatewayArgs
from raysplit.serving.gateway.keys import Keys
from raysplit.serving.gateway.routes import GatewayRoutes
from raysplit.wire.gateway_api import Letter, Lost

_REQUESTS_PER_DEVICE = 40
"""That a device has open at most: its connection and the calls of a step in flight."""


@serve.deployment(name=GATEWAY)
@serve.ingress()
class Gateway:
    """Speaks to devices over WebSockets, and to the stand-ins of a run by the methods below."""

    def __init__(self, args: GatewayArgs):
        self._routes = GatewayRoutes(args)
        self._registry = self._routes.registry

    def __serve_build_asgi_app__(self) -> FastAPI:
        return self._routes.app

    async def claim(self, run: str, count: int, names: Sequence[str], timeout_s: float) -> tuple[str, ...]:
        return await self._registry.claim(run, count, names, timeout_s)

    async def begin(self, name: str, run: str, first: Letter) -> Letter | Lost:
        return await self._registry.begin(name, run, first)

    async def call(self, name: str, letter: Letter) -> Letter | Lost:
        return await self._registry.call(name, letter)

    async def hear(self, run: str) -> None:
        self._registry.hear(run)

    async def release(self, run: str, reason: str) -> None:
        self._registry.release(run, reason)


def build(args: GatewayArgs) -> Application:
    """Return the Serve application of a gateway; ConfigError for a file of keys that cannot be read."""
    Keys(args.keys)
    gateway = Gateway.options(  # type: ignore[attr-defined]
        max_ongoing_requests=args.limits.devices * _REQUESTS_PER_DEVICE,
        ray_actor_options={"num_cpus": 0},  # it waits, most of the time
    )
    return cast(Application, gateway.bind(args))
