"""The ensemble's application asked by kserve's own client, from an environment of its own.

kserve asks for other versions of packages than Ray, so it is not among the development requirements.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.listening import listening
from tests.serving.apps import App

CLIENT = Path(__file__).with_name("kserve_client.py")


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Return the interpreter of an environment with kserve; skips where it cannot be installed."""
    folder = tmp_path_factory.mktemp("kserve")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    done = subprocess.run([python, "-m", "pip", "install", "-q", "kserve>=0.15"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"kserve cannot be installed: {done.stderr.strip()[-200:]}")
    return python


@pytest.mark.slow
def test_kserve(tiny_ensemble, python):
    app = App(str(tiny_ensemble / "bundle"))
    with listening(app.asgi) as url:
        done = subprocess.run([python, CLIENT, url, "raysplit"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["live"] is said["ready"] is said["model"] is True
    expected = app.ensemble.predict(torch.zeros(2, 1, 8, 8, dtype=torch.uint8)).numpy()
    for way in ("binary=False", "binary=True"):
        np.testing.assert_allclose(said[way]["probabilities"], expected, rtol=1e-5)
