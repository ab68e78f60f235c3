"""The server half of a prune family as an application: every level from one deployment, asked by devices.

serve run serve_configs/split.yaml
serve run raysplit.serving.split:build family=DIR
"""

# Annotations stay objects: Serve reads that of `build`.
import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import Response
from ray import serve
from ray.serve import Application, metrics
from ray.serve.config import BackpressureConfig

from raysplit.errors import ModelError
from raysplit.family.bundle import load_family
from raysplit.serving.args import SplitArgs
from raysplit.serving.ensemble.submodels import HUNG_S
from raysplit.serving.http.pipeline import RETRY_AFTER_S, RequestPipeline, new_app
from raysplit.serving.http.telemetry import Recent, Telemetry
from raysplit.serving.split.halves import ServerHalves, ServerPrediction
from raysplit.wire.split_api import (
    FAMILY_HEADER,
    FAMILY_PATH,
    LEVEL_HEADER,
    SPLIT_PATH,
    ClassProbability,
    ServerSeconds,
    SplitAnswer,
    ascii_level,
)

_ONGOING = 64
"""Messages that a replica may hold, and that may wait for it."""
_TOP = 3
"""Classes that an answer names for each image."""
T = TypeVar("T")


class SplitRoutes:
    """Answers messages with the halves of a family; `app` is the ASGI application."""

    def __init__(self, halves: ServerHalves, args: SplitArgs):
        """Raises ConfigError for a key that is named and not there."""
        self._halves, self._about = halves, halves.family.about
        self._telemetry = Telemetry()
        self._door = RequestPipeline(args, self._telemetry)
        self._images = metrics.Counter(
            "raysplit_level_images",
            "Images answered at each level.",
            tag_keys=("level",),
        )
        self._worker, self._waiting = ThreadPoolExecutor(1), 0
        self._done_at = time.perf_counter()
        self.app = self._routes()

    def _routes(self) -> FastAPI:
        app = new_app("raysplit split")
        app.add_api_route(SPLIT_PATH, self._split, methods=["POST"], response_model=SplitAnswer)
        app.add_api_route(FAMILY_PATH, self._family)
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
            start = time.perf_counter()
            decided = await self._compute(self._halves.decide, body, level, family)
            spent = time.perf_counter() - start
            self._images.inc(len(decided.probabilities), tags={"level": ascii_level(decided.level)})
            answer = self._answer(decided, max(spent - decided.seconds, 0.0))
            return Response(answer.model_dump_json(), media_type="application/json"), False

        return await self._door.open("split", request, work)

    async def check_health(self) -> None:
        """Answer for an image of nothing, unless messages are being answered; ModelError when it is no number.

        One that takes too long hangs: ModelError too.
        """
        if not self._waiting:
            await self._compute(self._halves.check_health)
        elif time.perf_counter() - self._done_at > HUNG_S:
            raise ModelError(f"no message was answered for {HUNG_S:.0f} s")

    async def _compute(self, work: Callable[..., T], *args: Any) -> T:
        """Run one work after the other, off the event loop."""
        if not self._waiting:
            self._done_at = time.perf_counter()
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, work, *args)
        finally:
            self._waiting -= 1
            self._done_at = time.perf_counter()

    def _answer(self, decided: ServerPrediction, queue_s: float) -> SplitAnswer:
        classes = self._about.classes
        best = decided.probabilities.topk(min(_TOP, len(classes)))
        images = tuple(
            tuple(ClassProbability(name=classes[i], probability=share) for share, i in zip(*row, strict=True))
            for row in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        )
        seconds = ServerSeconds(queue=queue_s, compute=decided.seconds)
        return SplitAnswer(level=decided.level, images=images, seconds=seconds)


@serve.deployment(name="Server")
@serve.ingress()
class Server:
    """Speaks HTTP and computes, one message after the other, off the event loop."""

    def __init__(self, args: dict[str, Any]):
        known = SplitArgs.model_validate(args)
        self._web = SplitRoutes(ServerHalves(load_family(known.family), known.limits), known)

    def __serve_build_asgi_app__(self) -> FastAPI:
        return self._web.app

    async def check_health(self) -> None:
        """Called by Serve; an error gets the replica replaced."""
        await self._web.check_health()


def build(args: SplitArgs) -> Application:
    """Return the application of a family's bundle; BundleError for one that is damaged."""
    load_family(args.family)
    server = Server.options(  # type: ignore[attr-defined]
        max_ongoing_requests=_ONGOING,
        max_queued_requests=_ONGOING,
        backpressure_config=BackpressureConfig(status_code=503, retry_after_s=RETRY_AFTER_S),
    )
    return server.bind(args.model_dump(mode="json"))
