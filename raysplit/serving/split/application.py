"""Building the application of a family: one deployment with the server half of every level.

serve run serve_configs/split.yaml
serve run raysplit.serving.split:build family=DIR
"""

# No `from __future__ import annotations`: Serve reads the annotation of `build` at run time.
from typing import cast

from fastapi import FastAPI
from ray import serve
from ray.serve import Application
from ray.serve.config import BackpressureConfig

from raysplit.family.bundle import load_family
from raysplit.serving.args import SERVER, SplitArgs
from raysplit.serving.http.pipeline import RETRY_AFTER_S
from raysplit.serving.split.routes import SplitRoutes
from raysplit.serving.split.server_halves import ServerHalves

_MAX_MESSAGES = 64
"""Messages that a replica holds at most; as many may wait for it in the proxy."""


@serve.deployment(name=SERVER)
@serve.ingress()
class Server:
    """Speaks HTTP and computes, one message after the other, off the event loop."""

    def __init__(self, args: SplitArgs):
        self._routes = SplitRoutes(ServerHalves(load_family(args.family), args.limits), args)

    def __serve_build_asgi_app__(self) -> FastAPI:
        return self._routes.app

    async def check_health(self) -> None:
        """Called by Serve, which replaces the replica if this raises."""
        await self._routes.check_health()


def build(args: SplitArgs) -> Application:
    """Return the Serve application of a family.

    Raises BundleError for a damaged bundle, ConfigError for a network that existed in memory only.
    """
    load_family(args.family).require_parts()
    server = Server.options(  # type: ignore[attr-defined]
        max_ongoing_requests=_MAX_MESSAGES,
        max_queued_requests=_MAX_MESSAGES,
        backpressure_config=BackpressureConfig(status_code=503, retry_after_s=RETRY_AFTER_S),
    )
    return cast(Application, server.bind(args))
