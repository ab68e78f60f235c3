"""How the applications handle a request: authenticate, read the body, compute, record what happened."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from raysplit.errors import RequestError
from raysplit.serving.args import AppArgs
from raysplit.serving.http.authenticator import Authenticator
from raysplit.serving.http.body import read_body
from raysplit.serving.http.docs import create_documented_app
from raysplit.serving.http.head import HeadMiddleware
from raysplit.serving.http.telemetry import Telemetry
from raysplit.wire.split_api import KEY_HEADER

RETRY_AFTER_S = 1
"""`Retry-After` of responses with status 503, unless there is reason for another."""
_REQUEST_HEADERS = (KEY_HEADER, "Content-Type", "Content-Encoding")
"""Headers, beyond those that every page may send, which pages of other origins may send."""
_CLIENT_CLOSED_REQUEST = 499
"""Status under which requests are counted whose client did not wait for the response."""
_log = logging.getLogger("ray.serve")


@dataclass(frozen=True)
class HandlerResult:
    """The response to a request, and whether sub-models were missing from it."""

    response: Response
    degraded: bool = False


Handler = Callable[[bytes], Awaitable[HandlerResult]]
"""Turns the body of a request into a response; it may raise RequestError."""


def create_app(title: str, cors: Sequence[str] = (), headers: Sequence[str] = ()) -> FastAPI:
    """Return an ASGI application that answers errors as `{"error": text}`, with its OpenAPI as a page at `/docs`.

    Web pages of the origins `cors` may send requests, with a key and with `headers`, and read them in responses.

    >>> create_app("raysplit ensemble").openapi()["info"]["title"]
    'raysplit ensemble'
    """
    app = create_documented_app(title)
    app.add_middleware(HeadMiddleware)
    if cors:  # the preflight carries no key, so it is answered before keys are checked
        app.add_middleware(
            CORSMiddleware,
            allow_origins=cors,
            allow_methods=("GET", "HEAD", "POST"),
            allow_headers=(*_REQUEST_HEADERS, *headers),
            expose_headers=("Retry-After", *headers),
        )
    app.add_exception_handler(RequestError, lambda _, err: error_response(err))
    app.add_exception_handler(HTTPException, lambda _, err: _json_error(err.detail, err.status_code, err.headers))
    return app


def error_response(err: RequestError) -> Response:
    """Return the response to a request that is refused.

    >>> response = error_response(RequestError("too busy; try again", 503))
    >>> response.status_code, response.headers["retry-after"], response.body
    (503, '1', b'{"error":"too busy; try again"}')
    """
    pause_s = RETRY_AFTER_S if err.retry_after_s is None else err.retry_after_s
    headers = {503: {"Retry-After": str(pause_s)}, 401: {"WWW-Authenticate": KEY_HEADER}}.get(err.status)
    return _json_error(str(err), err.status, headers)


def _json_error(text: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": text}, status, headers)


class RequestPipeline:
    """Authenticates requests, reads their bodies, and records how they were answered."""

    def __init__(self, args: AppArgs, telemetry: Telemetry):
        """Raises ConfigError if `access.api_key_env` names a variable without a usable key."""
        self._limits, self._authenticator = args.limits, Authenticator(args.access, os.environ)
        self._telemetry = telemetry

    def authenticate(self, request: Request) -> None:
        """Raise RequestError, 401 or 403, for a client that may not use the application."""
        self._authenticator.check(request.scope)

    async def handle(self, path: str, request: Request, handler: Handler) -> Response:
        """Return the response that `handler` makes from the body of a request.

        `path` is the short name of the endpoint in metrics and logs. A RequestError becomes the response; any other
        error is logged and becomes a response with status 500.
        """
        start, body_bytes, degraded = time.perf_counter(), 0, False
        try:
            self.authenticate(request)
            body = await read_body(request, self._limits)
            body_bytes = len(body)
            result = await handler(body)
            response, degraded = result.response, result.degraded
        except RequestError as err:
            response = error_response(err)
        except asyncio.CancelledError:  # the client went away, or the request timed out
            elapsed = time.perf_counter() - start
            self._telemetry.record_request(path, _CLIENT_CLOSED_REQUEST, elapsed, body_bytes, degraded)
            raise
        except Exception:
            _log.exception("request to %s failed", path)
            response = _json_error("internal error; see the server's log", 500)
        elapsed = time.perf_counter() - start
        self._telemetry.record_request(path, response.status_code, elapsed, body_bytes, degraded)
        return response
