"""The HTTP interface of a split network's server halves, and a page that says how to ask them."""

from __future__ import annotations

import time
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from ray.serve import metrics

from raysplit.config import AudioConfig
from raysplit.errors import ModelError, RequestError
from raysplit.records.family import FamilyManifest
from raysplit.serving.args import SplitArgs
from raysplit.serving.http.openapi import errors, key_dependencies
from raysplit.serving.http.page import page_response
from raysplit.serving.http.pipeline import HandlerResult, RequestPipeline, create_app
from raysplit.serving.http.telemetry import RecentTraffic, Telemetry
from raysplit.serving.oip.protocol import (
    ModelMetadata,
    ModelReady,
    ModelVersion,
    ServerLive,
    ServerMetadata,
    ServerReady,
    server_metadata,
)
from raysplit.serving.oip.routes import MODEL_PATHS, add_model_routes
from raysplit.serving.serial_executor import HUNG_AFTER_S, SerialExecutor
from raysplit.serving.split.metadata import TOP, describe_split_model, describe_split_request
from raysplit.serving.split.server_halves import ServerHalves, ServerPrediction
from raysplit.wire.split_api import (
    CHUNKS_HEADER,
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


class FamilyDescription(FamilyManifest):
    """Response to `GET /v1/family`: the family's manifest and its id."""

    id: str
    audio: AudioConfig | None = None
    """How recordings become the images that the device half takes; left out where it takes pictures."""


class SplitRoutes:
    """Answers messages of activations with the server halves of a family; `app` is the ASGI application."""

    def __init__(self, halves: ServerHalves, args: SplitArgs):
        """Raises ConfigError if `access.api_key_env` names a variable without a usable key."""
        self._halves, self._manifest = halves, halves.family.manifest
        self._telemetry = Telemetry()
        self._pipeline = RequestPipeline(args, self._telemetry)
        self._images = metrics.Counter("raysplit_level_images", "Images answered at each level.", tag_keys=("level",))
        self._executor = SerialExecutor()
        self._model = ModelVersion(args.name, halves.family.id[:12])
        self._metadata = describe_split_model(self._model, halves.family)
        self.app = self._create_app(args)

    def _create_app(self, args: SplitArgs) -> FastAPI:
        access = args.access
        app = create_app("raysplit split", args.cors, [LEVEL_HEADER, FAMILY_HEADER, CHUNKS_HEADER])
        app.add_api_route("/", self._page, response_class=HTMLResponse, include_in_schema=False)
        app.add_api_route("/v2", self._server_metadata, name="server_metadata")
        app.add_api_route("/v2/health/live", self._live, name="live")
        app.add_api_route("/v2/health/ready", self._ready, name="ready")
        private = APIRouter(dependencies=key_dependencies(access))
        private.add_api_route(
            FAMILY_PATH,
            self._family,
            name="family",
            responses=errors(access=access),
            response_model_exclude_none=True,
        )
        private.add_api_route("/v1/recent", self._recent, name="recent", responses=errors(access=access))
        private.add_api_route(
            SPLIT_PATH,
            self._split,
            name="split",
            methods=["POST"],
            response_model=SplitResponse,
            responses=errors(400, 404, 408, 409, 413, 415, 500, 503, access=access),
            openapi_extra=describe_split_request(self._halves.family if access.api_key_env is None else None),
        )
        add_model_routes(
            app,
            private,
            access,
            ready=self._model_ready,
            ready_errors=(404,),
            metadata=self._model_metadata,
        )
        for path in MODEL_PATHS:
            private.add_api_route(
                f"{path}/infer",
                self._infer,
                name="infer",
                methods=["POST"],
                status_code=501,
                responses=errors(404, 501, access=access),
            )
        app.include_router(private)
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

    async def _server_metadata(self) -> ServerMetadata:
        """Name and version of the server."""
        return server_metadata()

    async def _model_metadata(self, request: Request, name: str, version: str | None = None) -> ModelMetadata:
        """What a device sends, at which levels, and what it gets."""
        self._pipeline.authenticate(request)
        self._model.check(name, version)
        return self._metadata

    async def _model_ready(self, name: str, version: str | None = None) -> ModelReady:
        """200 if the application is running."""
        self._model.check(name, version)
        return ModelReady(name=name, ready=True)

    async def _infer(self, request: Request, name: str, version: str | None = None) -> Response:
        """Refused: devices send messages of activations to `/v1/split` in place of images."""
        self._pipeline.authenticate(request)
        self._model.check(name, version)
        raise RequestError(
            f"'{name}' is the server half of a split network; a device sends messages to {SPLIT_PATH}, as "
            f"/v2/models/{name} says (`raysplit device FAMILY IMAGE --url URL`)",
            501,
        )

    async def _family(self, request: Request) -> FamilyDescription:
        """The family's manifest and its id."""
        self._pipeline.authenticate(request)
        family = self._halves.family
        described = dict(self._manifest) | {"levels": family.levels}
        return FamilyDescription(id=family.id, audio=family.config.data.audio, **described)

    async def _recent(self, request: Request) -> RecentTraffic:
        """Request rate and latency of this replica in the last 30 seconds."""
        self._pipeline.authenticate(request)
        return self._telemetry.recent_traffic()

    async def _split(self, request: Request) -> Response:
        """The most likely classes for a message of activations, at the level that its header names."""

        async def handle(body: bytes) -> HandlerResult:
            level, family_id, chunks = (
                request.headers.get(name) for name in (LEVEL_HEADER, FAMILY_HEADER, CHUNKS_HEADER)
            )
            start = time.perf_counter()
            prediction = await self._executor.run(self._halves.predict, body, level, family_id, chunks)
            queue_s = max(time.perf_counter() - start - prediction.compute_s, 0.0)
            self._images.inc(len(prediction.probabilities), tags={"level": level_to_header(prediction.level)})
            response = self._build_response(prediction, queue_s)
            return HandlerResult(Response(response.model_dump_json(), media_type="application/json"))

        return await self._pipeline.handle("split", request, handle)

    def _build_response(self, prediction: ServerPrediction, queue_s: float) -> SplitResponse:
        classes = self._manifest.classes
        best = prediction.probabilities.topk(min(TOP, len(classes)))
        images = tuple(
            tuple(ClassProbability(name=classes[i], probability=value) for value, i in zip(*row, strict=True))
            for row in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        )
        seconds = ServerTiming(queue=queue_s, compute=prediction.compute_s)
        return SplitResponse(level=prediction.level, images=images, seconds=seconds)
