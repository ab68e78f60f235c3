"""The HTTP side of an ensemble: the Open Inference Protocol v2 and image files."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response

from raysplit.errors import RequestError
from raysplit.serving.args import EnsembleArgs
from raysplit.serving.ensemble.engine import Engine
from raysplit.serving.ensemble.response import Prediction, prediction
from raysplit.serving.http.body import uploads
from raysplit.serving.http.images import Upload, decode_images
from raysplit.serving.http.pipeline import RequestPipeline, new_app, refusal
from raysplit.serving.http.telemetry import Recent, Telemetry
from raysplit.serving.oip.protocol import HEADER_LENGTH, ServedModel, answer_infer, parse_infer, server_metadata

_PAGE = Path(__file__).with_name("page.html")
_ITSELF = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page is one file and talks to its own server alone."""
_FRESH_S = 1.0
"""How old the answer to `ready` may be."""


class EnsembleRoutes:
    """Answers HTTP requests with an engine; `app` is the ASGI application."""

    def __init__(self, engine: Engine, args: EnsembleArgs, groups: Mapping[str, tuple[int, ...]], telemetry: Telemetry):
        """Raises ConfigError for a key that is named and not there."""
        self._engine, self._args, self._groups, self._telemetry = engine, args, groups, telemetry
        self._about = engine.ensemble.manifest
        self._door = RequestPipeline(args, telemetry)
        self._served = ServedModel(args.name, engine.ensemble.id[:12], self._about.classes, self._about.shape)
        self._probe, self._probed_at = asyncio.Lock(), -_FRESH_S
        self._unready: RequestError | None = None
        self.app = self._routes()

    def _routes(self) -> FastAPI:
        app = new_app("raysplit ensemble")
        app.add_api_route("/", self._page, response_class=HTMLResponse, include_in_schema=False)
        app.add_api_route("/v1/predict", self._predict, methods=["POST"], response_model=Prediction)
        app.add_api_route("/v1/recent", self._recent)
        app.add_api_route("/v2", self._server)
        app.add_api_route("/v2/health/live", self._live)
        app.add_api_route("/v2/health/ready", self._ready)
        for path in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
            app.add_api_route(path, self._model)
            app.add_api_route(f"{path}/ready", self._model_ready)
            app.add_api_route(f"{path}/infer", self._infer, methods=["POST"])
        return app

    async def _page(self) -> Response:
        """A page to try the ensemble with; what it asks for is checked like all else."""
        return HTMLResponse(_PAGE.read_text(encoding="utf-8"), headers={"Content-Security-Policy": _ITSELF})

    async def _server(self) -> dict[str, Any]:
        """Name, version and protocol extensions of the server."""
        return server_metadata()

    async def _live(self) -> Response:
        """200 when the application runs."""
        return Response()

    async def _ready(self) -> Response:
        """200 when sub-models answer, 503 when not. All who ask within a second share one answer."""
        async with self._probe:
            if time.monotonic() - self._probed_at > _FRESH_S:
                self._unready = await self._fault()
                self._probed_at = time.monotonic()
        return refusal(self._unready) if self._unready else Response()

    async def _fault(self) -> RequestError | None:
        """Ask the sub-models about an image of nothing, and return why there is no answer."""
        wait_s = 2 * self._args.branch_timeout_s
        try:
            await asyncio.wait_for(self._engine.answer(np.zeros((1, *self._about.shape), np.uint8)), wait_s)
        except RequestError as err:
            return err
        except asyncio.TimeoutError:
            return RequestError(f"sub-models have not answered for {wait_s:g} s; try again soon", 503)
        return None

    async def _model(self, request: Request, name: str, version: str | None = None) -> dict[str, Any]:
        """Inputs and outputs of the model."""
        self._door.check(request)
        self._served.check(name, version)
        return self._served.metadata()

    async def _model_ready(self, name: str, version: str | None = None) -> Response:
        """200 when the sub-models of the model answer, 503 when not."""
        self._served.check(name, version)
        return await self._ready()

    async def _infer(self, request: Request, name: str, version: str | None = None) -> Response:
        """Probabilities and labels by the Open Inference Protocol v2, tensors as JSON or binary."""

        async def work(body: bytes) -> tuple[Response, bool]:
            self._served.check(name, version)
            length = request.headers.get(HEADER_LENGTH)
            asked = await asyncio.to_thread(parse_infer, body, length, self._served, self._args.limits)
            images = await self._pixels(asked.files) if asked.images is None else asked.images
            answer = await self._engine.answer(images)
            about: dict[str, str | bool] = {
                "degraded": bool(answer.missing),
                "missing": ",".join(map(str, answer.missing)),
            }
            content, headers = answer_infer(self._served, asked, answer.probabilities, about)
            return Response(content, headers=headers), bool(answer.missing)

        return await self._door.open("infer", request, work)

    async def _predict(self, request: Request) -> Response:
        """The likeliest classes of image files: JPEG or PNG, one as the body or several as multipart/form-data."""
        start = time.perf_counter()

        async def work(body: bytes) -> tuple[Response, bool]:
            kind = request.headers.get("content-type")
            sent = await asyncio.to_thread(uploads, body, kind, self._args.limits)
            images = await self._pixels(sent)
            decoded = time.perf_counter()
            answer = await self._engine.answer(images)
            names, times = [file.name for file in sent], (decoded - start, time.perf_counter() - start)
            found = prediction(self._served, self._about, self._groups, answer, names, self._args.top, times)
            return Response(found.model_dump_json(), media_type="application/json"), found.degraded

        return await self._door.open("predict", request, work)

    async def _recent(self, request: Request) -> Recent:
        """Request rate and latency of this replica in the last 30 seconds."""
        self._door.check(request)
        return self._telemetry.recent()

    async def _pixels(self, sent: Sequence[Upload]) -> np.ndarray:
        return await asyncio.to_thread(decode_images, sent, self._about.shape, self._args.limits)
