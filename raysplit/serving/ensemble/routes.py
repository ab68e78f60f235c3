"""The HTTP interface of an ensemble: the Open Inference Protocol v2, files, and a page to try it out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse, Response

from raysplit.data.audio_file import require_soundfile
from raysplit.data.inputs import InputFormat
from raysplit.ensemble.bundle import Ensemble
from raysplit.errors import RequestError
from raysplit.serving.args import EnsembleArgs
from raysplit.serving.ensemble.engine import Engine
from raysplit.serving.ensemble.openapi import describe_predict_request
from raysplit.serving.ensemble.response import Prediction, build_response
from raysplit.serving.http.body import parse_uploads
from raysplit.serving.http.images import Upload
from raysplit.serving.http.inputs import Inputs, decode_inputs
from raysplit.serving.http.openapi import errors, key_dependencies
from raysplit.serving.http.page import page_response
from raysplit.serving.http.pipeline import HandlerResult, RequestPipeline, create_app
from raysplit.serving.http.telemetry import RecentTraffic, Telemetry
from raysplit.serving.oip.configuration import ModelConfiguration, configure
from raysplit.serving.oip.openapi import describe_infer_request, describe_infer_response
from raysplit.serving.oip.protocol import (
    HEADER_LENGTH,
    ModelMetadata,
    ModelReady,
    ServedModel,
    ServerLive,
    ServerMetadata,
    ServerReady,
    server_metadata,
)
from raysplit.serving.oip.request import parse_infer_request
from raysplit.serving.oip.response import Parameter, build_infer_response
from raysplit.serving.oip.routes import MODEL_PATHS, add_model_routes
from raysplit.serving.oip.schema import InferResponse

_PAGE = Path(__file__).with_name("page.html")
_PROMPTS = {
    "image": 'Drop an image here, or choose one<br><span class="soft">JPEG, PNG, WebP, …</span>',
    "audio": 'Drop a recording here, or choose one<br><span class="soft">WAV, FLAC, OGG, MP3, …</span>',
}
_NAMED = 20
"""Classes that the page names."""
_POST_ERRORS = (400, 408, 413, 500, 503)
_READINESS_TTL_S = 1.0
"""How long the result of a readiness probe is reused."""


class EnsembleRoutes:
    """Answers HTTP requests with an engine; `app` is the ASGI application."""

    def __init__(
        self, engine: Engine, args: EnsembleArgs, deployments: Mapping[str, tuple[int, ...]], telemetry: Telemetry
    ):
        """Raises ConfigError if `access.api_key_env` names a variable without a usable key, MissingExtra if recordings
        cannot be read here that the ensemble is for."""
        if engine.ensemble.manifest.audio is not None:
            require_soundfile()
        self._engine, self._args, self._deployments, self._telemetry = engine, args, deployments, telemetry
        self._manifest = engine.ensemble.manifest
        self._pipeline = RequestPipeline(args, telemetry)
        self._model = self._serve(engine.ensemble)
        self._probe_lock, self._probed_at = asyncio.Lock(), -_READINESS_TTL_S
        self._probe_error: RequestError | None = None
        self.app = self._create_app()

    def _serve(self, ensemble: Ensemble) -> ServedModel:
        """Return an ensemble as clients see it."""
        manifest = ensemble.manifest
        return ServedModel(self._args.name, ensemble.id[:12], manifest.classes, manifest.shape)

    def _create_app(self) -> FastAPI:
        access = self._args.access
        app = create_app("raysplit ensemble", self._args.cors, [HEADER_LENGTH])
        app.add_api_route("/", self._page, response_class=HTMLResponse, include_in_schema=False)
        app.add_api_route("/v2", self._server_metadata, name="server_metadata")
        app.add_api_route("/v2/health/live", self._live, name="live")
        app.add_api_route("/v2/health/ready", self._ready, name="ready", responses=errors(503))
        private = APIRouter(dependencies=key_dependencies(access))
        private.add_api_route("/v1/recent", self._recent, name="recent", responses=errors(access=access))
        private.add_api_route(
            "/v1/predict",
            self._predict,
            name="predict",
            methods=["POST"],
            response_model=Prediction,
            responses=errors(*_POST_ERRORS, 415, access=access),
            openapi_extra=describe_predict_request(self._manifest.input.media),
        )
        infer = describe_infer_request(self._model if access.api_key_env is None else None, self._manifest.input.media)
        add_model_routes(
            app,
            private,
            access,
            ready=self._model_ready,
            ready_errors=(404, 503),
            metadata=self._model_metadata,
        )
        for path in MODEL_PATHS:
            private.add_api_route(
                f"{path}/config",
                self._model_configuration,
                name="model_configuration",
                responses=errors(404, access=access),
            )
            private.add_api_route(
                f"{path}/infer",
                self._infer,
                name="infer",
                methods=["POST"],
                response_model=InferResponse,
                responses=describe_infer_response() | errors(*_POST_ERRORS, 404, 415, access=access),
                openapi_extra=infer,
            )
        app.include_router(private)
        return app

    async def _page(self) -> Response:
        """A page to try the ensemble with; the requests it makes are authenticated like any other."""
        taken = self._manifest.input
        return page_response(
            _PAGE,
            media=taken.media,
            prompt=_PROMPTS[taken.media],
            expected="" if self._args.access.api_key_env is not None else self._describe_input(taken),
        )

    def _describe_input(self, taken: InputFormat) -> str:
        """Return what the page says about images or recordings."""
        (_, height, width), classes = taken.shape, self._manifest.classes
        named = ", ".join(classes[:_NAMED]) + (f" and {len(classes) - _NAMED} more" if len(classes) > _NAMED else "")
        if taken.audio is not None:
            return escape(
                f"A recording of one of: {named}. It is cut into pieces of {taken.audio.seconds:g} s, which are "
                "answered together."
            )
        return escape(f"A picture of one of: {named}. It is scaled to {width} × {height} pixels.")

    async def _server_metadata(self) -> ServerMetadata:
        """Name, version and protocol extensions of the server."""
        return server_metadata("binary_tensor_data", "classification", "model_configuration")

    async def _live(self) -> ServerLive:
        """200 if the application is running."""
        return ServerLive(live=True)

    async def _ready(self) -> ServerReady:
        """200 if the sub-models answer, 503 with an error if not. Requests within one second share one probe."""
        async with self._probe_lock:
            if time.monotonic() - self._probed_at > _READINESS_TTL_S:
                self._probe_error = await self._probe()
                self._probed_at = time.monotonic()
        if self._probe_error:
            raise self._probe_error
        return ServerReady(ready=True)

    async def _probe(self) -> RequestError | None:
        """Predict a blank image, and return the error if that fails."""
        timeout_s = 2 * self._args.branch_timeout_s
        try:
            await asyncio.wait_for(self._engine.predict(np.zeros((1, *self._manifest.shape), np.uint8)), timeout_s)
        except RequestError as err:
            return err
        except asyncio.TimeoutError:
            return RequestError(f"sub-models have not answered for {timeout_s:g} s; try again soon", 503)
        return None

    async def _model_metadata(self, request: Request, name: str, version: str | None = None) -> ModelMetadata:
        """Inputs and outputs of the model."""
        self._pipeline.authenticate(request)
        self._model.check(name, version)
        return self._model.metadata()

    async def _model_configuration(self, request: Request, name: str, version: str | None = None) -> ModelConfiguration:
        """Inputs and outputs as Triton's tools read them, and how many images a request may have."""
        self._pipeline.authenticate(request)
        self._model.check(name, version)
        return configure(self._model.metadata(), self._args.limits.images)

    async def _model_ready(self, name: str, version: str | None = None) -> ModelReady:
        """200 if the sub-models of the model answer, 503 with an error if not."""
        self._model.check(name, version)
        return ModelReady(name=name, ready=(await self._ready()).ready)

    async def _infer(self, request: Request, name: str, version: str | None = None) -> Response:
        """Probabilities and labels by the Open Inference Protocol v2, with tensors as JSON or binary."""

        async def handle(body: bytes) -> HandlerResult:
            self._model.check(name, version)
            length = request.headers.get(HEADER_LENGTH)
            parsed = await asyncio.to_thread(parse_infer_request, body, length, self._model, self._args.limits)
            if parsed.images is None:
                images, chunks = await self._decode(parsed.files)
            else:
                images, chunks = parsed.images, (1,) * len(parsed.images)
            prediction = (await self._engine.predict(images)).average(chunks)
            model = self._serve(prediction.ensemble)
            model.check(name, version)
            degraded = bool(prediction.missing)
            parameters: dict[str, Parameter] = {
                "degraded": degraded,
                "missing": ",".join(map(str, prediction.missing)),
            }
            response = build_infer_response(model, parsed, prediction.probabilities, parameters)
            return HandlerResult(Response(response.body, headers=response.headers), degraded)

        return await self._pipeline.handle("infer", request, handle)

    async def _predict(self, request: Request) -> Response:
        """The most likely classes of files: one as the body, or several as multipart/form-data."""
        start = time.perf_counter()

        async def handle(body: bytes) -> HandlerResult:
            content_type = request.headers.get("content-type")
            media = self._manifest.input.media
            files = await asyncio.to_thread(parse_uploads, body, content_type, self._args.limits, media)
            images, chunks = await self._decode(files)
            decode_s = time.perf_counter() - start
            prediction = (await self._engine.predict(images)).average(chunks)
            response = build_response(
                self._serve(prediction.ensemble),
                self._deployments,
                prediction,
                [file.name for file in files],
                self._args.top,
                decode_s=decode_s,
                total_s=time.perf_counter() - start,
            )
            content = response.model_dump_json()
            return HandlerResult(Response(content, media_type="application/json"), response.degraded)

        return await self._pipeline.handle("predict", request, handle)

    async def _recent(self, request: Request) -> RecentTraffic:
        """Request rate and latency of this replica in the last 30 seconds."""
        self._pipeline.authenticate(request)
        return self._telemetry.recent_traffic()

    async def _decode(self, files: Sequence[Upload]) -> Inputs:
        return await asyncio.to_thread(decode_inputs, files, self._manifest.input, self._args.limits)
