from __future__ import annotations

import pytest
import torch

from tests.train.recipes import plain_config, squeezed_config


@pytest.fixture(autouse=True)
def two_threads():
    """Equal thread counts on both sides of every comparison."""
    torch.set_num_threads(2)


@pytest.fixture
def plain():
    return plain_config()


@pytest.fixture
def squeezed():
    return squeezed_config()
