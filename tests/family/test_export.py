"""Halves as programs: equal to the halves themselves, on any number of images."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from raysplit.cli.main import main
from raysplit.config import BottleneckConfig, DataConfig, Fixed, ModelConfig
from raysplit.data import load, prepare_batch
from raysplit.errors import BundleError, ConfigError, MissingExtra
from raysplit.family.bundle import load_family
from raysplit.family.export import export
from raysplit.family.network import load_run
from raysplit.models import build
from raysplit.train.local import train_local
from tests.train.recipes import plain_config


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
    with pytest.raises(ConfigError, match="'servr' is not a part of a network; choose device, server or whole"):
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


@pytest.mark.parametrize("order, ending, run", [("learned", "pt2", run_pt2), ("fixed", "onnx", run_onnx)])
def test_programs_of_a_bottleneck_from_the_identity(images, tmp_path, order, ending, run):
    box = BottleneckConfig(start="identity", order=order)
    config = plain_config().replaced(bottleneck=box, schedule=Fixed(level="c3.b8/b8"))
    train_local(config.replaced(train=config.train.replaced(epochs=2)), str(tmp_path / "run"))
    trained = load_family(str(tmp_path / "run"))
    level, files = trained.levels[0].level, [str(tmp_path / f"{half}.{ending}") for half in ("device", "server")]
    code, logits = expected(trained, level, images[:3])
    channels = export(str(tmp_path / "run"), "device", files[0]).channels
    export(str(tmp_path / "run"), "server", files[1])
    found = run(files[0], images[:3])
    assert channels is not None and len(channels) == 3 and (order == "learned" or channels == (0, 1, 2))
    np.testing.assert_allclose(found, code, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(run(files[1], torch.from_numpy(found)), logits, rtol=1e-4, atol=1e-4)
    export(str(tmp_path / "run"), "whole", str(tmp_path / "whole.safetensors"))
    whole, network = load_file(str(tmp_path / "whole.safetensors")), load_run(str(tmp_path / "run"))
    network.load_state_dict(whole)
    assert network(images[:3]).argmax(1).tolist() == logits.argmax(1).tolist()


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


PLAIN = {
    "timm resnet": ("timm:resnet10t", "layer2", {}),
    "timm vit": ("vit", "blocks.0", {"patch": 4, "width": 24, "depth": 2, "heads": 3}),
    "timm mobilenet": ("timm:mobilenetv3_small_050", "blocks.1", {}),
    "torchvision squeezenet": ("squeezenet1_1", "features.2", {}),
    "vgg": ("vgg11", "features.7", {"width": 0.125}),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "timm mobilenet" else name for name in PLAIN]
)
def test_a_plain_network_comes_back_as_its_own_state_dict(name, tmp_path):
    model, cut, args = PLAIN[name]
    plain = plain_config()
    config = plain.replaced(
        model=ModelConfig(name=model, args=args), cut=cut, data=plain.data.replaced(train_rows=32, size=32, channels=3)
    )
    train_local(config, str(tmp_path / "run"))
    out = str(tmp_path / "model.safetensors")
    assert main(["export", str(tmp_path / "run"), "--half", "whole", "-o", out]) == 0
    network = load_run(str(tmp_path / "run"))
    own = build(config.model, 10, network.family.manifest.shape).eval()
    own.load_state_dict(load_file(out), strict=True)
    images = torch.randint(0, 256, (4, *network.family.manifest.shape), dtype=torch.uint8)
    x = prepare_batch(images, network.family.manifest.mean, network.family.manifest.std, "none", 0)
    with torch.no_grad():
        assert torch.equal(own(x), network(images))


def test_the_whole_with_a_bottleneck(family, tmp_path):
    location, level = family._bundle.location, family.levels[1].level
    images = torch.randint(0, 256, (3, *family.manifest.shape), dtype=torch.uint8)
    export(location, "whole", str(tmp_path / "whole.pt2"), level)
    _, logits = expected(family, level, images)
    program = torch.export.load(str(tmp_path / "whole.pt2")).module()
    np.testing.assert_allclose(program(images).detach(), logits, rtol=1e-4, atol=1e-4)
    export(location, "whole", str(tmp_path / "whole.safetensors"), level)
    network = load_run(location)
    network.load_state_dict(load_file(tmp_path / "whole.safetensors"), strict=True)
    for name, value in load_run(location, level).state_dict().items():
        assert value.equal(network.state_dict()[name])


def test_onnx_of_a_given_opset_with_a_named_batch(family, tmp_path):
    onnx = pytest.importorskip("onnx")
    out = str(tmp_path / "whole.onnx")
    assert main(["export", family._bundle.location, "--half", "whole", "--opset", "20", "-o", out]) == 0
    model = onnx.load(out)
    assert [entry.version for entry in model.opset_import if entry.domain == ""] == [20]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"
    with pytest.raises(ConfigError, match=r"an opset is of ONNX, .*whole\.pt2' is not"):
        export(family._bundle.location, "whole", str(tmp_path / "whole.pt2"), opset=20)
    with pytest.raises(ConfigError, match="or the whole as .safetensors"):
        export(family._bundle.location, "device", str(tmp_path / "device.safetensors"))
