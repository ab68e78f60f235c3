from __future__ import annotations

import pytest

from tests.train.recipes import plain_config, squeezed_config


@pytest.fixture
def plain():
    return plain_config()


@pytest.fixture
def squeezed():
    return squeezed_config()
