"""The server half over HTTP: the family's own answers, and what is refused."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient

from raysplit.compress.quantizing_codec import extract
from raysplit.config import DataConfig
from raysplit.data import load, prepare_batch
from raysplit.device import DeviceClient
from raysplit.device.halves import DeviceHalves
from raysplit.errors import ModelError
from raysplit.serving.args import Limits, SplitArgs
from raysplit.serving.split.app import SplitRoutes, build
from raysplit.serving.split.halves import ServerHalves
from raysplit.torch_utils.compute import autocast
from raysplit.wire.message import Kind, parse
from raysplit.wire.split_api import FAMILY_HEADER, LEVEL_HEADER
from tests.serving.running import serve_run


@pytest.fixture(scope="module")
def client(family):
    web = SplitRoutes(ServerHalves(family, Limits(images=4)), SplitArgs(family="unused"))
    with TestClient(web.app, client=("127.0.0.1", 50000)) as client:
        yield client


def message(family, level: str, count: int):
    """Return what a device sends at a level for the first test images."""
    images = load(DataConfig(name="digits"), "test").images[:count]
    x = prepare_batch(images, family.about.mean, family.about.std, "none", 0)
    half, codec = family.device(level), family.codec(level)
    with torch.inference_mode():
        return codec.compress(half(x), 7, half.encoder.choose_channels(codec.level.channels), None)


def ask(client, family, body: bytes, level: str, **headers):
    known = {LEVEL_HEADER: level.replace("·", "."), FAMILY_HEADER: family.id}
    return client.post("/v1/split", content=body, headers=known | headers)


def test_every_level_answers_as_the_family_does_in_this_process(client, family):
    for entry in family.levels:
        for count in (1, 3):
            sent = message(family, entry.level, count)
            answer = ask(client, family, sent.to_bytes(), entry.level).json()
            half = family.server(entry.level)
            train, z = family.config.train, extract(parse(sent.to_bytes()))
            if train.channels_last:
                z = z.to(memory_format=torch.channels_last)
            with torch.inference_mode(), autocast(z.device, train.precision):
                expected = half(z).float().softmax(1)
            assert answer["level"] == entry.level and len(answer["images"]) == count
            assert answer["seconds"]["compute"] > 0 and answer["seconds"]["queue"] >= 0
            for row, named in zip(expected, answer["images"], strict=True):
                best = row.topk(3)
                assert [one["name"] for one in named] == [family.about.classes[i] for i in best.indices]
                np.testing.assert_array_equal([one["probability"] for one in named], best.values.tolist())


def test_the_family_is_described(client, family):
    found = client.get("/v1/family").json()
    assert found["id"] == family.id
    assert [level["level"] for level in found["levels"]] == [level.level for level in family.levels]
    assert client.get("/v2/health/ready").status_code == 200


@pytest.mark.ray
def test_the_shipped_config_answers_devices(family, tmp_path):
    place = tmp_path / "bundles" / "mnist5k_vgg11_prune"
    place.parent.mkdir()
    place.symlink_to(family._bundle.location)
    images = load(DataConfig(name="digits"), "test").images[:3]
    local = TestClient(
        SplitRoutes(ServerHalves(family, Limits()), SplitArgs(family="unused")).app, client=("127.0.0.1", 1)
    )
    with serve_run("split.yaml", tmp_path) as url, DeviceClient(family, url, target_s=60) as client:
        answer = client.predict(images)
        sent = DeviceHalves(family).message(images, answer.level).to_bytes()
        expected = ask(local, family, sent, answer.level).json()["images"]
        assert [[named.model_dump() for named in image] for image in answer.images] == expected


def test_what_is_no_message_of_this_family_is_refused(client, family):
    level = family.levels[-1].level
    sent = message(family, level, 1)
    whole = sent.to_bytes()
    damaged = whole[:-1] + bytes([whole[-1] ^ 1])
    faults = [
        (ask(client, family, whole, level, **{FAMILY_HEADER: "0" * 64}), 409, "give both the same bundle"),
        (ask(client, family, whole, "c99.b4/b4"), 404, "there is no level 'c99.b4/b4'"),
        (ask(client, family, damaged, level), 400, "checksum does not match"),
        (ask(client, family, b"hello", level), 400, "shorter than a header"),
        (ask(client, family, sent.of(Kind.GRADIENT).to_bytes(), level), 400, "expected an ACTIVATION"),
        (ask(client, family, message(family, level, 5).to_bytes(), level), 413, "send 1 to 4"),
        (client.post("/v1/split", content=whole, headers={FAMILY_HEADER: family.id}), 400, LEVEL_HEADER),
    ]
    for answer, status, text in faults:
        assert (answer.status_code, text in answer.json()["error"]) == (status, True), answer.text


def test_what_no_device_half_of_the_level_sends_is_refused(client, family):
    loose, tight = family.levels[0].level, family.levels[-1].level
    body = message(family, tight, 1).to_bytes()
    answer = ask(client, family, body, loose)
    assert answer.status_code == 400 and f"those of level {loose}" in answer.json()["error"]


def test_an_idle_half_that_answers_with_no_number_is_found_out(family):
    halves = ServerHalves(family, Limits())
    half = halves._halves[family.levels[0].level]
    with torch.no_grad():
        next(iter(half.parameters())).fill_(float("nan"))
    with pytest.raises(ModelError, match="answers with no number"):
        halves.check_health()


def test_strangers_are_refused(family):
    web = SplitRoutes(ServerHalves(family, Limits(images=4)), SplitArgs(family="unused"))
    with TestClient(web.app, client=("10.0.0.9", 1)) as stranger:
        assert stranger.get("/v1/family").status_code == 403


def test_an_application_is_built_from_a_bundle(family):
    assert type(build(SplitArgs(family=family._bundle.location))).__name__ == "Application"


def test_a_message_that_hangs_is_no_health(family, monkeypatch):
    monkeypatch.setattr("raysplit.serving.split.app.HUNG_S", 0.05)
    web, go = SplitRoutes(ServerHalves(family, Limits(images=4)), SplitArgs(family="unused")), threading.Event()

    async def run():
        asked = asyncio.ensure_future(web._compute(go.wait, 10))
        await asyncio.sleep(0)
        await web.check_health()
        await asyncio.sleep(0.1)
        with pytest.raises(ModelError, match="no message was answered"):
            await web.check_health()
        go.set()
        assert await asked
        await web.check_health()

    asyncio.run(run())
