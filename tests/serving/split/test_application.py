"""The application of a family, from its bundle and from the shipped config."""

from __future__ import annotations

import pytest
from ray.serve import Application

from raysplit.config import DataConfig
from raysplit.data import load
from raysplit.device import DeviceClient
from raysplit.device.halves import DeviceHalves
from raysplit.serving.args import SplitArgs
from raysplit.serving.split import build
from tests.serving.running import serve_run
from tests.serving.split.messages import make_client, post


def test_an_application_is_built_from_a_bundle(family):
    assert isinstance(build(SplitArgs(family=family._bundle.location)), Application)


@pytest.mark.ray
def test_the_shipped_config_serves_devices(family, tmp_path):
    folder = tmp_path / "bundles" / "mnist5k_vgg11_prune"
    folder.parent.mkdir()
    folder.symlink_to(family._bundle.location)
    images = load(DataConfig(name="digits"), "test").images[:3]
    with serve_run("split.yaml", tmp_path) as run, DeviceClient(family, run.url, target_s=60) as client:
        answer = client.predict(images)
        sent = DeviceHalves(family).encode(images, answer.level).to_bytes()
        expected = post(make_client(family), family, sent, answer.level).json()["images"]
        assert [[entry.model_dump() for entry in image] for image in answer.images] == expected
