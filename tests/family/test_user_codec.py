"""A family that was trained with a codec of the user's."""

from __future__ import annotations

import pytest
import torch

from raysplit.device.halves import DeviceHalves
from raysplit.errors import ConfigError, RequestError
from raysplit.family import write_family
from raysplit.family.bundle import load_family
from raysplit.serving.args import Limits
from raysplit.serving.split.server_halves import ServerHalves
from raysplit.train.local import train_local
from tests.train.recipes import family_config
from tests.train.test_extensions import OWN


def test_it_is_served_with_its_codec(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    config = family_config().with_settings([f"codec={tmp_path}/own.py:Half", "train.precision=fp32"])
    train_local(config, str(tmp_path / "run"))
    location = write_family(str(tmp_path / "run"), str(tmp_path / "family"))
    family = load_family(location)
    values = torch.Size(family.manifest.code_shape).numel()
    assert {level.bytes_per_image - 2 * values for level in family.levels} == {27 + 4 * 4}

    level, images = family.levels[1].level, torch.randint(256, (3, 1, 8, 8), dtype=torch.uint8)
    message = DeviceHalves(family).encode(images, level)
    assert len(message.body) == 3 * 2 * values
    server = ServerHalves(family, Limits())
    assert server.predict(message.to_bytes(), level, family.id).probabilities.shape == (3, 10)
    short = message.__class__(message.kind, 0, message.shape, message.dtype, 16, message.body[:-2])
    with pytest.raises(RequestError, match="own.py:Half cannot extract ACTIVATION 0 of .* bytes"):
        server.predict(short.to_bytes(), level, family.id)

    (tmp_path / "own.py").unlink()
    with pytest.raises(ConfigError, match=r"own.py:Half: there is no file"):
        load_family(location).codec(level)
