"""Messages of a family's devices, and requests that carry them."""

from __future__ import annotations

import torch
from starlette.testclient import TestClient

from raysplit.config import DataConfig
from raysplit.data import load, prepare_batch
from raysplit.serving.args import Limits, SplitArgs
from raysplit.serving.split.routes import SplitRoutes
from raysplit.serving.split.server_halves import ServerHalves
from raysplit.wire.split_api import FAMILY_HEADER, LEVEL_HEADER, level_to_header


def make_client(family, address: str = "127.0.0.1", **limits) -> TestClient:
    """Return a client of a family's application in this process."""
    routes = SplitRoutes(ServerHalves(family, Limits(**limits)), SplitArgs(family="unused"))
    return TestClient(routes.app, client=(address, 50000))


def message(family, level: str, count: int):
    """Return the message that a device sends at a level for the first test images."""
    images = load(DataConfig(name="digits"), "test").images[:count]
    x = prepare_batch(images, family.manifest.mean, family.manifest.std, "none", 0)
    half, codec = family.device(level), family.codec(level)
    with torch.inference_mode():
        return codec.compress(half(x), 7, half.encoder.choose_channels(codec.level.channels), None)


def post(client: TestClient, family, body: bytes, level: str, **headers):
    """Send a message as a device of the family does, unless `headers` say otherwise."""
    own = {LEVEL_HEADER: level_to_header(level), FAMILY_HEADER: family.id}
    return client.post("/v1/split", content=body, headers=own | headers)
