"""A family for the device's tests, trained once."""

from __future__ import annotations

import pytest

from raysplit.family import load_family, write_family
from raysplit.train.local import train_local
from tests.train.recipes import family_config


@pytest.fixture(scope="session")
def family(tmp_path_factory):
    place = tmp_path_factory.mktemp("device")
    train_local(family_config(), str(place / "run"))
    return load_family(write_family(str(place / "run"), str(place / "bundle")))
