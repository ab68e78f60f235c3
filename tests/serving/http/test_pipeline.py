"""Requests from authentication to the record of their answer."""

from __future__ import annotations

import asyncio

import pytest
from fastapi.responses import Response
from starlette.requests import Request

from raysplit.errors import RequestError
from raysplit.serving.args import AppArgs, Limits
from raysplit.serving.http.pipeline import HandlerResult, RequestPipeline
from raysplit.serving.http.telemetry import Telemetry


def request(body: bytes = b"", client: str = "127.0.0.1") -> Request:
    async def receive():
        return {"type": "http.request", "body": body}

    return Request({"type": "http", "client": (client, 1), "headers": []}, receive)


def handle(handler, **kwargs):
    """Return the response to a request, and how it was recorded: path, status, bytes, degraded."""
    telemetry, recorded = Telemetry(), []
    telemetry.record_request = lambda path, status, _, size, degraded: recorded.append((path, status, size, degraded))
    pipeline = RequestPipeline(AppArgs(limits=Limits(body_mib=1)), telemetry)
    try:
        response = asyncio.run(pipeline.handle("predict", request(**kwargs), handler))
    except asyncio.CancelledError:
        response = None
    [record] = recorded
    return response, record


async def answer(body: bytes) -> HandlerResult:
    return HandlerResult(Response(body), degraded=True)


def test_a_response_is_recorded():
    response, record = handle(answer, body=b"abc")
    assert response.body == b"abc" and record == ("predict", 200, 3, True)


@pytest.mark.parametrize(
    ("kwargs", "status"),
    [({"client": "10.0.0.1"}, 403), ({"body": bytes(2**20 + 1)}, 413)],
)
def test_a_refused_request_does_not_reach_its_handler(kwargs, status):
    async def fail(_):
        raise AssertionError("the handler was called")

    response, record = handle(fail, **kwargs)
    assert response.status_code == status and record == ("predict", status, 0, False)


def test_errors_of_a_handler():
    async def busy(_):
        raise RequestError("try again", 503)

    async def bug(_):
        raise KeyError("secret")

    response, record = handle(busy)
    assert (response.status_code, response.headers["retry-after"], record[1]) == (503, "1", 503)
    response, record = handle(bug)
    assert response.status_code == record[1] == 500 and b"secret" not in response.body


def test_a_cancelled_request_is_recorded():
    async def cancel(_):
        raise asyncio.CancelledError

    response, record = handle(cancel, body=b"abc")
    assert response is None and record == ("predict", 499, 3, False)
