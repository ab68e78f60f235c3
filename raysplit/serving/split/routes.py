"""The HTTP interface of a split network's server halves, and a page that says how to ask them."""

from __future__ import annotations

import time
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from ray.serve import metrics

from raysplit.errors import ModelError
from raysplit.records.family import FamilyManifest
from raysplit.serving.args import SplitArgs
from raysplit.serving.http.page import page_response
from raysplit.serving.http.pipeline import HandlerResult, RequestPipeline, create_app
from raysplit.serving.http.telemetry import RecentTraffic, Telemetry
from raysplit.serving.oip.protocol import ServerLive, ServerReady
from raysplit.serving.serial_executor import HUNG_AFTER_S, SerialExecutor
from raysplit.serving.split.server_halves import ServerHalves, ServerPrediction
from raysplit.wire.split_api import (
    FAMILY_HEADER,
    FAMILY_PATH,
    LEVEL_HEADER,
    SPLIT_PATH,
    ClassProbability,
    ServerTiming,
    SplitResponse,
    level_to_header,
)

_PAGE = Path(__file__).with_name("page.html")
_TOP = 3
"""Number of classes listed per image."""


class FamilyDescription(FamilyManifest):
    """Response to `GET /v1/family`: the family's manifest and its id."""

    id: str


class SplitRoutes:
    """Answers messages of activations with the server halves of a family; `app` is the ASGI application."""

    def __init__(self, halves: ServerHalves, args: SplitArgs):
        """Raises ConfigError if `access.api_key_env` names a variable without a usable key."""
        self._halves, self._manifest = halves, halves.family.manifest
        self._telemetry = Telemetry()
        self._pipeline = RequestPipeline(args, self._telemetry)
        self._images = metrics.Counter("raysplit_level_images", "Images answered at each level.", tag_keys=("level",))
        self._executor = SerialExecutor()
        self.app = self._create_app(args)

    def _create_app(self, args: SplitArgs) -> FastAPI:
        app = create_app("raysplit split", args.cors, [LEVEL_HEADER, FAMILY_HEADER])
        app.add_api_route("/", self._page, response_class=HTMLResponse, include_in_schema=False)
        app.add_api_route(SPLIT_PATH, self._split, name="split", methods=["POST"], response_model=SplitResponse)
        app.add_api_route(FAMILY_PATH, self._family, name="family")
        app.add_api_route("/v1/recent", self._recent, name="recent")
        app.add_api_route("/v2/health/live", self._live, name="live")
        app.add_api_route("/v2/health/ready", self._ready, name="ready")
        return app

    async def check_health(self) -> None:
        """Compute the prediction for a blank image, unless messages are being answered.

        Raises ModelError if it is not finite, or if a message hangs.
        """
        if not self._executor.busy:
            await self._executor.run(self._halves.check_health)
        elif self._executor.hung:
            raise ModelError(f"a message takes longer than {HUNG_AFTER_S:.0f} s")

    async def _page(self) -> Response:
        """A page on the family and its traffic; it asks for both like any other client."""
        return page_response(_PAGE)

    async def _live(self) -> ServerLive:
        """200 if the application is running."""
        return ServerLive(live=True)

    async def _ready(self) -> ServerReady:
        """200 if the application is running: it starts with all halves loaded."""
        return ServerReady(ready=True)

    async def _family(self, request: Request) -> FamilyDescription:
        """The family's manifest and its id."""
        self._pipeline.authenticate(request)
        return FamilyDescription(id=self._halves.family.id, **dict(self._manifest))

    async def _recent(self, request: Request) -> RecentTraffic:
        """Request rate and latency of this replica in the last 30 seconds."""
        self._pipeline.authenticate(request)
        return self._telemetry.recent_traffic()

    async def _split(self, request: Request) -> Response:
        """The most likely classes for a message of activations, at the level that its header names."""

        async def handle(body: bytes) -> HandlerResult:
            level, family_id = (request.headers.get(name) for name in (LEVEL_HEADER, FAMILY_HEADER))
            start = time.perf_counter()
            prediction = await self._executor.run(self._halves.predict, body, level, family_id)
            queue_s = max(time.perf_counter() - start - prediction.compute_s, 0.0)
            self._images.inc(len(prediction.probabilities), tags={"level": level_to_header(prediction.level)})
            response = self._build_response(prediction, queue_s)
            return HandlerResult(Response(response.model_dump_json(), media_type="application/json"))

        return await self._pipeline.handle("split", request, handle)

    def _build_response(self, prediction: ServerPrediction, queue_s: float) -> SplitResponse:
        classes = self._manifest.classes
        best = prediction.probabilities.topk(min(_TOP, len(classes)))
        images = tuple(
            tuple(ClassProbability(name=classes[i], probability=value) for value, i in zip(*row, strict=True))
            for row in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        )
        seconds = ServerTiming(queue=queue_s, compute=prediction.compute_s)
        return SplitResponse(level=prediction.level, images=images, seconds=seconds)
