from __future__ import annotations

import re
from pathlib import Path

import pytest

from raysplit.containers.image_names import RAY_VERSION, ImageNames
from raysplit.errors import ConfigError

DOCKER = Path(__file__).parents[2] / "docker"
HASH = "0123456789abcdef" * 4


@pytest.mark.parametrize("prefix", ["localhost/raysplit", "registry.example.com:5000/team/shop", "raysplit"])
def test_tags_begin_with_rays_version_and_end_with_the_bundle(prefix):
    names = ImageNames.of(prefix, HASH)
    assert names.server == f"{prefix}-server:{RAY_VERSION}-0123456789ab"
    assert names.device == f"{prefix}-device:{RAY_VERSION}-0123456789ab"
    assert names.submodel(11) == f"{prefix}-submodel-11:{RAY_VERSION}-0123456789ab"


@pytest.mark.parametrize("prefix", ["raysplit:2.60.0", "registry.example.com/x:1", "Upper", "", "a b", "-x"])
def test_no_prefix(prefix):
    with pytest.raises(ConfigError, match=re.escape(f"'{prefix}' cannot begin the name of an image; write it like ")):
        ImageNames.of(prefix, HASH)


def test_the_lock_file_pins_that_version_and_every_hash():
    assert f"\nray=={RAY_VERSION} \\\n" in (DOCKER / "server.lock").read_text()
    for role in ("server", "device"):
        text = (DOCKER / f"{role}.lock").read_text()
        pinned = re.findall(r"^(\S+)==\S+ \\\n    --hash=sha256:[0-9a-f]{64}", text, re.M)
        assert len(pinned) == len(re.findall(r"^[a-z]", text, re.M)) and "torch" not in pinned
        wanted = re.findall(r"^([a-z-]+)", (DOCKER / f"{role}.in").read_text(), re.M)
        assert set(wanted) - {"torch"} <= set(pinned)
        torch = re.search(r"^torch==(\S+)", (DOCKER / f"{role}.in").read_text(), re.M)
        assert torch and f"ARG TORCH={torch[1]}\n" in (DOCKER / f"{role}.Dockerfile").read_text()


def test_the_image_of_a_device_has_no_ray():
    assert not re.search(r"^(ray|torchvision|timm)\b", (DOCKER / "device.lock").read_text(), re.M)
