from __future__ import annotations

import pytest

from tests.train.recipes import squeezed_config


@pytest.fixture
def squeezed():
    return squeezed_config()
