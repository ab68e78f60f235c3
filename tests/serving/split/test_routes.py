"""The server halves over HTTP: the family's own predictions, and requests that are refused."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest
import torch

from raysplit.compress.quantizing_codec import extract
from raysplit.errors import ModelError
from raysplit.serving.args import Limits, SplitArgs
from raysplit.serving.split.routes import SplitRoutes
from raysplit.serving.split.server_halves import ServerHalves
from raysplit.torch_utils.compute import autocast
from raysplit.wire.message import Kind, parse
from raysplit.wire.split_api import FAMILY_HEADER, LEVEL_HEADER
from tests.serving.split.messages import make_client, message, post


@pytest.fixture(scope="module")
def client(family):
    with make_client(family, images=4) as client:
        yield client


def test_every_level_predicts_as_in_this_process(client, family):
    for entry in family.levels:
        for count in (1, 3):
            sent = message(family, entry.level, count)
            answer = post(client, family, sent.to_bytes(), entry.level).json()
            half = family.server(entry.level)
            train, z = family.config.train, extract(parse(sent.to_bytes()))
            if train.channels_last:
                z = z.to(memory_format=torch.channels_last)
            with torch.inference_mode(), autocast(z.device, train.precision):
                expected = half(z).float().softmax(1)
            assert answer["level"] == entry.level and len(answer["images"]) == count
            assert answer["seconds"]["compute"] > 0 and answer["seconds"]["queue"] >= 0
            for row, image in zip(expected, answer["images"], strict=True):
                best = row.topk(3)
                assert [entry["name"] for entry in image] == [family.manifest.classes[i] for i in best.indices]
                np.testing.assert_array_equal([entry["probability"] for entry in image], best.values.tolist())


def test_the_family_is_described(client, family):
    description = client.get("/v1/family").json()
    assert description == {"id": family.id} | family.manifest.model_dump(mode="json")
    assert "/v1/family" in client.get("/openapi.json").json()["paths"]
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.head("/v1/family").headers["content-length"] == str(len(client.get("/v1/family").content))


def test_invalid_messages_are_refused(client, family):
    level = family.levels[-1].level
    sent = message(family, level, 1)
    whole = sent.to_bytes()
    damaged = whole[:-1] + bytes([whole[-1] ^ 1])
    faults = [
        (post(client, family, whole, level, **{FAMILY_HEADER: "0" * 64}), 409, "use the same bundle on both"),
        (post(client, family, whole, "c99.b4/b4"), 404, "the family has no level 'c99.b4/b4'"),
        (post(client, family, damaged, level), 400, "checksum does not match"),
        (post(client, family, b"hello", level), 400, "shorter than a header"),
        (post(client, family, sent.of(Kind.GRADIENT).to_bytes(), level), 400, "expected an ACTIVATION"),
        (post(client, family, message(family, level, 5).to_bytes(), level), 413, "send 1 to 4"),
        (client.post("/v1/split", content=whole, headers={FAMILY_HEADER: family.id}), 400, LEVEL_HEADER),
    ]
    for answer, status, text in faults:
        assert (answer.status_code, text in answer.json()["error"]) == (status, True), answer.text


def test_a_message_of_another_level_is_refused(client, family):
    loose, tight = family.levels[0].level, family.levels[-1].level
    body = message(family, tight, 1).to_bytes()
    answer = post(client, family, body, loose)
    assert answer.status_code == 400 and f"that level {loose} does not have" in answer.json()["error"]


def test_remote_clients_are_refused(family):
    with make_client(family, "10.0.0.9") as remote:
        assert remote.get("/v1/family").status_code == 403


def test_a_message_that_hangs_fails_the_health_check(family, monkeypatch):
    monkeypatch.setattr("raysplit.serving.serial_executor.HUNG_AFTER_S", 0.05)
    routes = SplitRoutes(ServerHalves(family, Limits()), SplitArgs(family="unused"))
    release = threading.Event()

    async def run():
        call = asyncio.ensure_future(routes._executor.run(release.wait, 10))
        await asyncio.sleep(0)
        await routes.check_health()
        await asyncio.sleep(0.1)
        with pytest.raises(ModelError, match="a message takes longer than"):
            await routes.check_health()
        release.set()
        assert await call
        await routes.check_health()

    asyncio.run(run())
