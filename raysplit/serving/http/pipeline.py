"""What the HTTP sides of all applications share: how requests are let in, timed and refused."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from raysplit.errors import RequestError
from raysplit.serving.args import AppArgs
from raysplit.serving.http.access import Authenticator
from raysplit.serving.http.body import read_body
from raysplit.serving.http.telemetry import Telemetry
from raysplit.wire.split_api import KEY_HEADER

RETRY_AFTER_S = 1
"""What a 503 tells clients to wait."""
_GONE = 499
"""What requests are counted as whose client did not wait for the answer."""
_log = logging.getLogger("ray.serve")


def new_app(title: str) -> FastAPI:
    """Return an application whose OpenAPI page is at /docs."""
    app = FastAPI(title=title, description='Errors are `{"error": text}` with a status of 400 or more.')
    app.add_exception_handler(RequestError, lambda _, err: refusal(err))
    app.add_exception_handler(HTTPException, lambda _, err: _error(err.detail, err.status_code, err.headers))
    return app


def refusal(err: RequestError) -> Response:
    """Return the answer to a request that is refused."""
    headers = {503: {"Retry-After": str(RETRY_AFTER_S)}, 401: {"WWW-Authenticate": KEY_HEADER}}.get(err.status)
    return _error(str(err), err.status, headers)


def _error(text: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": text}, status, headers)


class RequestPipeline:
    """Lets requests in one by one: checks who asks, reads the body, and notes what came of it."""

    def __init__(self, args: AppArgs, telemetry: Telemetry):
        """Raises ConfigError for a key that is named and not there."""
        self._limits, self._gate = args.limits, Authenticator(args.access, os.environ)
        self._telemetry = telemetry

    def check(self, request: Request) -> None:
        """Raise RequestError for a client that is not let in."""
        self._gate.check(request.scope)

    async def open(
        self, path: str, request: Request, work: Callable[[bytes], Awaitable[tuple[Response, bool]]]
    ) -> Response:
        """Answer a request to `path`, a name for its figures, with what `work` makes of its body.

        `work` returns the answer, and whether it is degraded; a RequestError that it raises becomes the answer.
        """
        start, size, degraded = time.perf_counter(), 0, False
        try:
            self.check(request)
            body = await read_body(request, self._limits)
            size = len(body)
            answer, degraded = await work(body)
        except RequestError as err:
            answer = refusal(err)
        except asyncio.CancelledError:  # the client went away, or its time was over
            self._telemetry.answered(path, _GONE, time.perf_counter() - start, size, degraded)
            raise
        except Exception:
            _log.exception("%s failed", path)
            answer = _error("the server failed; its log says why", 500)
        self._telemetry.answered(path, answer.status_code, time.perf_counter() - start, size, degraded)
        return answer
