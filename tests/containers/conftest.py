from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def bundle(tiny_ensemble) -> str:
    return str(tiny_ensemble / "bundle")
