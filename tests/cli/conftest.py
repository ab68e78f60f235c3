from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from raysplit.cli.main import main
from raysplit.config import DataConfig
from raysplit.data import load


@pytest.fixture
def fail(capsys) -> Callable[..., str]:
    """Run a command that must fail without output; return its one line of error."""

    def run(*words: str) -> str:
        assert main(list(words)) == 1
        captured = capsys.readouterr()
        assert captured.out == "" and captured.err.count("\n") == 1
        return captured.err

    return run


@pytest.fixture(scope="session")
def bundle(tiny_ensemble) -> str:
    return str(tiny_ensemble / "bundle")


@pytest.fixture(scope="session")
def digits(tmp_path_factory) -> list[str]:
    """Test digits as image files: in the bundle's size, larger and in colour, not square."""
    folder, paths = tmp_path_factory.mktemp("digits"), []
    images = load(DataConfig(name="digits"), "test").images
    for name, number, size, mode in (
        ("a", 0, (8, 8), "L"),
        ("b", 1, (40, 40), "RGBA"),
        ("long name", 2, (30, 21), "P"),
    ):
        paths.append(str(folder / f"{name}.png"))
        pixels: np.ndarray = images[number, 0].numpy()
        Image.fromarray(pixels).resize(size).convert(mode).save(paths[-1])
    return paths
