"""Halves as programs: equal to the halves themselves, on any number of images."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch

from raysplit.cli.main import main
from raysplit.config import DataConfig
from raysplit.data import load, prepare_batch
from raysplit.errors import BundleError, ConfigError, MissingExtra
from raysplit.family.export import export


@pytest.fixture(scope="module")
def images():
    return load(DataConfig(name="digits"), "test").images


def expected(family, level: str, images):
    """Return the kept code and the logits, from the halves themselves."""
    manifest, half, server = family.manifest, family.device(level), family.server(level)
    with torch.inference_mode():
        z = half(prepare_batch(images, manifest.mean, manifest.std, "none", 0))
        kept = half.encoder.choose_channels(family.codec(level).level.channels)
        if kept is None:
            return z, server(z)
        full = torch.zeros_like(z)
        full[:, list(kept)] = z[:, list(kept)]
        return z[:, list(kept)], server(full)


def run_pt2(path: str, given: torch.Tensor) -> np.ndarray:
    return torch.export.load(path).module()(given).detach().numpy()


def run_onnx(path: str, given: torch.Tensor) -> np.ndarray:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"input": given.numpy()})[0]


def test_a_half_that_there_is_not(family, tmp_path):
    with pytest.raises(ConfigError, match="'servr' is not a half of a network; choose device or server"):
        export(family._bundle.location, "servr", str(tmp_path / "half.pt2"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending, run", [("pt2", run_pt2), ("onnx", run_onnx)])
@pytest.mark.parametrize("tight", [pytest.param(False, marks=pytest.mark.slow), True])
def test_programs_are_equal_to_the_halves(family, images, tmp_path, ending, run, tight):
    level = family.levels[-1 if tight else 0].level
    device, server = str(tmp_path / f"device.{ending}"), str(tmp_path / f"server.{ending}")
    info = export(family._bundle.location, "device", device, level)
    assert info.family == family.id and info.level == level
    export(family._bundle.location, "server", server, level)
    for count in (1, 5):
        code, logits = expected(family, level, images[:count])
        found = run(device, images[:count])
        np.testing.assert_allclose(found, code, rtol=1e-4, atol=1e-5)
        assert list(found.shape[1:]) == list(info.output.shape[1:])
        np.testing.assert_allclose(run(server, torch.from_numpy(found)), logits, rtol=1e-4, atol=1e-4)


def test_a_program_describes_itself(family, tmp_path, capsys):
    out, onnx_out = str(tmp_path / "device.pt2"), str(tmp_path / "device.onnx")
    assert main(["export", family._bundle.location, "--half", "device", "-o", out]) == 0
    assert family.levels[0].level in capsys.readouterr().out
    extra = {"raysplit.json": ""}
    torch.export.load(out, extra_files=extra)
    info = json.loads(extra["raysplit.json"])
    assert info["classes"] == list(family.manifest.classes) and info["input"]["shape"] == ["N", 1, 8, 8]
    onnx = pytest.importorskip("onnx")
    export(family._bundle.location, "device", onnx_out)
    assert json.loads({p.key: p.value for p in onnx.load(onnx_out).metadata_props}["raysplit.json"]) == info


def test_what_cannot_be_exported(family, tmp_path, monkeypatch):
    location = family._bundle.location
    with pytest.raises(ConfigError, match=r"ends neither in \.pt2"):
        export(location, "device", str(tmp_path / "device.pth"))
    with pytest.raises(BundleError, match="has no level 'c99"):
        export(location, "device", str(tmp_path / "device.pt2"), "c99·b4/b4")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingExtra, match=r"raysplit\[onnx\]"):
        export(location, "device", str(tmp_path / "device.onnx"))
    assert not list(tmp_path.iterdir())
