"""The server half of a prune family as an application: every level from one deployment, asked by devices.

serve run serve_configs/split.yaml
serve run raysplit.serving.split:build family=DIR
"""

# Annotations stay objects: Serve reads that of `build`.
import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from ray import serve
from ray.serve import Application
from ray.serve.config import BackpressureConfig

from raysplit.family import load_family
from raysplit.serving.args import SplitArgs
from raysplit.serving.halves import FAMILY_HEADER, LEVEL_HEADER, Decided, Halves
from raysplit.serving.telemetry import Recent, Telemetry
from raysplit.serving.web import RETRY_AFTER_S, Door, new_app

_ONGOING = 64
"""Messages that a replica may hold, and that may wait for it."""
_TOP = 3


class SplitWeb:
    """Answers messages with the halves of a family; `app` is the ASGI application."""

    def __init__(self, halves: Halves, args: SplitArgs):
        """Raises ConfigError for a key that is named and not there."""
        self._halves, self._about = halves, halves.family.about
        self._telemetry = Telemetry()
        self._door = Door(args, self._telemetry)
        self._worker = ThreadPoolExecutor(1)
        self.app = self._routes()

    def _routes(self) -> FastAPI:
        app = new_app("raysplit split")
        app.add_api_route("/v1/split", self._split, methods=["POST"])
        app.add_api_route("/v1/family", self._family)
        app.add_api_route("/v1/recent", self._recent)
        app.add_api_route("/v2/health/live", self._live)
        app.add_api_route("/v2/health/ready", self._live)
        return app

    async def _live(self) -> Response:
        """200 when the application runs."""
        return Response()

    async def _family(self, request: Request) -> dict[str, Any]:
        """What the family's manifest says, with its id."""
        self._door.check(request)
        return {"id": self._halves.family.id} | self._about.model_dump(mode="json")

    async def _recent(self, request: Request) -> Recent:
        """Request rate and latency of this replica in the last 30 seconds."""
        self._door.check(request)
        return self._telemetry.recent()

    async def _split(self, request: Request) -> Response:
        """The likeliest classes for a message of activations, at the level that its header names."""

        async def work(body: bytes) -> tuple[Response, bool]:
            level, family = (request.headers.get(name) for name in (LEVEL_HEADER, FAMILY_HEADER))
            loop = asyncio.get_running_loop()
            decided = await loop.run_in_executor(self._worker, self._halves.decide, body, level, family)
            return JSONResponse(self._answer(decided)), False

        return await self._door.open("split", request, work)

    def _answer(self, decided: Decided) -> dict[str, Any]:
        classes = self._about.classes
        best = decided.probabilities.topk(min(_TOP, len(classes)))
        images = [
            [{"name": classes[i], "probability": share} for share, i in zip(*row, strict=True)]
            for row in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]
        return {"level": decided.level, "images": images, "seconds": decided.seconds}


@serve.deployment(name="Server")
@serve.ingress()
class Server:
    """Speaks HTTP and computes, one message after the other, off the event loop."""

    def __init__(self, args: dict[str, Any]):
        self._args = SplitArgs.model_validate(args)
        self._halves = Halves(load_family(self._args.family), self._args.limits.images)

    def __serve_build_asgi_app__(self) -> FastAPI:
        return SplitWeb(self._halves, self._args).app


def build(args: SplitArgs) -> Application:
    """Return the application of a family's bundle; BundleError for one that is damaged."""
    load_family(args.family)
    server = Server.options(  # type: ignore[attr-defined]
        max_ongoing_requests=_ONGOING,
        max_queued_requests=_ONGOING,
        backpressure_config=BackpressureConfig(status_code=503, retry_after_s=RETRY_AFTER_S),
    )
    return server.bind(args.model_dump(mode="json"))
