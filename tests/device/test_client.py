"""A device and its server: the answers of the family itself, at the level that keeps the target."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from raysplit.compress.quantizing_codec import extract
from raysplit.config import DataConfig
from raysplit.data import load
from raysplit.device import DeviceClient
from raysplit.device.emulated_link import EmulatedLink, step_rate
from raysplit.device.halves import DeviceHalves
from raysplit.errors import ConfigError, DataError, RequestError, ServerError
from raysplit.serving.args import Limits, SplitArgs
from raysplit.serving.split.routes import SplitRoutes
from raysplit.serving.split.server_halves import ServerHalves
from raysplit.torch_utils.compute import autocast
from tests.device.servers import AppTransport, Scripted


@pytest.fixture(scope="module")
def app(family):
    return SplitRoutes(ServerHalves(family, Limits(images=4)), SplitArgs(family="unused")).app


@pytest.fixture(scope="module")
def images():
    return load(DataConfig(name="digits"), "test").images


def test_answers_are_those_of_the_family(family, app, images):
    train = family.config.train
    with DeviceClient(family, "http://app", target_s=60, transport=AppTransport(app)) as client:
        for count in (1, 3):
            answer = client.predict(images[:count])
            assert answer.level == family.levels[0].level and answer.within_target and answer.seconds.total < 60
            message = DeviceHalves(family).encode(images[:count], answer.level)
            assert answer.bytes_up == len(message.to_bytes())
            z = extract(message)
            if train.channels_last:
                z = z.to(memory_format=torch.channels_last)
            half = family.server(answer.level)
            with torch.inference_mode(), autocast(z.device, train.precision):
                expected = half(z).float().softmax(1).topk(3)
            assert [[named.probability for named in image] for image in answer.images] == expected.values.tolist()
            assert answer.classes == tuple(family.manifest.classes[i] for i in expected.indices[:, 0])


def test_files_arrays_and_tensors_are_the_same(family, app, images, tmp_path):
    Image.fromarray(images[0, 0].numpy()).save(tmp_path / "digit.png")
    with DeviceClient(family, "http://app", target_s=60, transport=AppTransport(app)) as client:
        of_file, of_array, of_tensor = (
            client.predict(given).images for given in ([tmp_path / "digit.png"], images[:1].numpy(), images[:1])
        )
    assert of_file == of_array == of_tensor


def test_the_level_follows_the_link(family, images):
    many, thin_bit_s = images[:100], 300e3
    halves = DeviceHalves(family)
    sizes = {level: len(halves.encode(many, level).to_bytes()) for level in halves.levels}
    loosest, tightest = family.levels[0].level, min(sizes, key=sizes.__getitem__)
    transport = Scripted(count=len(many))
    link = EmulatedLink(transport, step_rate((5, 20e6), (25, thin_bit_s), (60, 20e6)), 0.01, transport.clock)
    # What crosses besides the message, and a message halfway between the two levels.
    target_s = 0.015 + 8 * (600 + 3800 + (sizes[loosest] + sizes[tightest]) / 2) / thin_bit_s
    client = DeviceClient(family, "http://app", target_s=target_s, transport=link)
    used: dict[str, list[str]] = {"fast": [], "thin": [], "again": []}
    kept = []
    while (now := transport.clock.now()) < 50:
        transport.clock.sleep(0.05)
        answer = client.predict(many)
        used["fast" if now < 5 else "thin" if now < 25 else "again"].append(answer.level)
        kept.append(answer.within_target)
    assert used["fast"].count(loosest) > 0.8 * len(used["fast"])
    assert used["thin"].count(loosest) < 0.2 * len(used["thin"])
    assert used["again"].count(loosest) > 0.8 * len(used["again"])
    assert sum(kept) > 0.95 * len(kept)


def test_a_server_with_another_family_refuses(family, app, images):
    client = DeviceClient(family, "http://app", target_s=60, transport=AppTransport(app))
    client._headers["X-Raysplit-Family"] = "0" * 64
    with pytest.raises(RequestError, match="use the same bundle on both") as err:
        client.predict(images[:1])
    assert err.value.status == 409


def test_what_is_no_image(family, images, tmp_path):
    client = DeviceClient(family, "http://app", target_s=1, transport=Scripted())
    (tmp_path / "notes.txt").write_text("hello")
    for given, text in (
        (images[:1].float(), "takes uint8 images in shape"),
        (np.zeros((1, 3, 8, 9), np.uint8), "takes uint8 images in shape"),
        (images[:0], "takes uint8 images in shape"),
        ([], "give a list of one or more"),
        (str(tmp_path / "notes.txt"), "give a list of one or more"),
        ([tmp_path / "notes.txt"], "notes.txt"),
    ):
        with pytest.raises(DataError, match=text):
            client.predict(given)


def test_answers_of_something_else(family, images):
    transport = Scripted()
    client = DeviceClient(family, "http://app", target_s=1, transport=transport)
    with pytest.raises(ServerError, match="answered for 1 images, 2 were sent"):
        client.predict(images[:2])
    transport.send = lambda request: type("R", (), {"status": 200, "headers": {}, "body": b"<html>"})()
    with pytest.raises(ServerError, match="does not answer like a split server"):
        client.predict(images[:1])


def test_a_busy_server_is_no_slow_link(family, images):
    transport = Scripted()
    client = DeviceClient(family, "http://app", target_s=0.01, transport=transport)
    client.predict(images[:1])
    before = vars(client._link).copy()
    busy = type("R", (), {"status": 503, "headers": {"retry-after": "1"}, "body": b'{"error": "full"}'})()
    transport.send = lambda request: busy
    for _ in range(3):
        with pytest.raises(ServerError, match="503: full"):
            client.predict(images[:1])
    assert vars(client._link) == before


@pytest.mark.parametrize("args", [{"target_s": 0}, {"target_s": 1, "timeout_s": 0}, {"target_s": 1, "api_key": "a\nb"}])
def test_what_it_cannot_be_made_of(family, args):
    with pytest.raises(ConfigError):
        DeviceClient(family, "http://app", **args)
