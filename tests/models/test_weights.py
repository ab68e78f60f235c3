"""Networks start from weights of a file: prefixes, heads, what does not fit, what is refused."""

from __future__ import annotations

import argparse
import json
import logging

import pytest
import timm
import torch
import torchvision.models as zoo
from safetensors.torch import save_file
from torch import nn

from raysplit.config import ModelConfig
from raysplit.errors import ConfigError, ModelError
from raysplit.models import build, read_normalization, read_start_weights
from raysplit.models.checkpoint_file import read_tensors

SHAPE = (3, 64, 64)
OWN = """
import timm
from torch import nn


class Wrapped(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.backbone = timm.create_model("resnet10t", num_classes=0)
        self.classify = nn.Linear(512, classes)

    def forward(self, x):
        return self.classify(self.backbone(x))


def wrapped(classes, shape):
    return Wrapped(classes)
"""
SMALL_VIT = {"patch_size": 32, "embed_dim": 48, "depth": 2, "num_heads": 3}


def save(state, path):
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return str(path)


def start(config, classes=3, shape=SHAPE):
    torch.manual_seed(5)
    model = build(config, classes, shape)
    return model, read_start_weights(config, model, classes, shape)


def theirs(name, **args):
    torch.manual_seed(9)
    library, _, bare = name.partition(":")
    return timm.create_model(bare, **args) if library == "timm" else zoo.get_model(bare, **args)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".bin"])
@pytest.mark.parametrize(
    ("name", "args", "head"),
    [
        ("timm:resnet10t", {}, "fc"),
        ("timm:vit_tiny_patch16_224", {"img_size": 64, **SMALL_VIT}, "head"),
        ("torchvision:squeezenet1_1", {}, "classifier.1"),
    ],
)
def test_a_network_starts_from_a_file_with_a_head_of_its_own(name, args, head, suffix, tmp_path):
    state = theirs(name, **args).state_dict()
    file = save(state, tmp_path / f"net{suffix}")
    kept = {key: value for key, value in args.items() if key != "img_size"}
    model, found = start(ModelConfig(name=name, args=kept, weights=file))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found.load_into(model)
    for key, value in model.state_dict().items():
        expected = before[key] if key.startswith(head) else state[key]
        assert value.equal(expected), key
    assert f"new head: {head}.weight, {head}.bias, for 3 classes in place of 1000" in found.notes


@pytest.mark.parametrize(
    ("wrap", "prefix"),
    [
        (lambda state: {"state_dict": state, "epoch": 3}, ""),
        (
            lambda state: {"model": {f"module.{k}": v for k, v in state.items()}, "args": argparse.Namespace(lr=1)},
            "module.",
        ),
        (lambda state: {"model_state_dict": {f"_orig_mod.{k}": v for k, v in state.items()}}, "_orig_mod."),
        (lambda state: {f"module._orig_mod.{k}": v for k, v in state.items()}, "module._orig_mod."),
        (lambda state: {"state_dict": {f"model.{k}": v for k, v in state.items()}, "hyper_parameters": {}}, "model."),
        (lambda state: {f"backbone.{k}": v for k, v in state.items()}, "backbone."),
    ],
)
def test_wrappers_and_prefixes_are_left_out_with_a_word(wrap, prefix, tmp_path, caplog):
    state = theirs("timm:resnet10t", num_classes=3).state_dict()
    model, found = start(ModelConfig(name="timm:resnet10t", weights=save(wrap(state), tmp_path / "net.pth")))
    found.load_into(model)
    assert all(value.equal(state[key]) for key, value in model.state_dict().items())
    with caplog.at_level(logging.INFO):
        found.log()
    assert f"{len(state)} of {len(state)} tensors" in caplog.text
    assert (f"prefix '{prefix}' left out" in caplog.text) == bool(prefix)


def test_a_backbone_within_an_own_network_starts_from_the_plain_file(tmp_path):
    (tmp_path / "nets.py").write_text(OWN)
    state = theirs("timm:resnet10t").state_dict()
    name = f"{tmp_path / 'nets.py'}:wrapped"
    model, found = start(ModelConfig(name=name, weights=save(state, tmp_path / "net.safetensors")))
    found.load_into(model)
    assert model.backbone.layer4[0].conv1.weight.equal(state["layer4.0.conv1.weight"])
    assert "new head: classify.weight, classify.bias, for 3 classes in place of 1000" in found.notes


def test_a_file_without_a_head_gets_one(tmp_path):
    state = theirs("timm:resnet10t", num_classes=0).state_dict()
    _, found = start(ModelConfig(name="timm:resnet10t", weights=save(state, tmp_path / "net.pth")))
    assert "new head: fc.weight, fc.bias, for 3 classes" in found.notes


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ({"a": torch.ones(2), "b": torch.ones(3)}, r"has none of the \d+ tensors of resnet18.*; it has a, b\. Name"),
        (zoo.resnet34().state_dict(), r"layer1\.2\.conv1\.weight: 64×64×3×3 in the file, not in the network"),
        (
            zoo.resnet50().state_dict(),
            r"layer1\.0\.conv1\.weight: 64×64×1×1 in the file, 64×64×3×3 in the network.*more",
        ),
        (
            timm.create_model("resnet18", in_chans=1).state_dict(),
            r"conv1\.weight: 64×1×7×7 in the file.*data\.channels",
        ),
    ],
)
def test_what_does_not_fit_is_listed(state, text, tmp_path):
    with pytest.raises(ModelError, match=text) as caught:
        start(ModelConfig(name="resnet18", weights=save(state, tmp_path / "net.pth")))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1500


def test_files_that_are_no_weights_are_refused(tmp_path):
    broken = theirs("timm:resnet10t").state_dict()
    broken["layer1.0.conv1.weight"][0, 0, 0, 0] = float("nan")
    (tmp_path / "page.pth").write_text("<html>not found</html>")
    cut = tmp_path / "cut.pth"
    cut.write_bytes((tmp_path / "cut").name.encode() and b"PK\x03\x04 short")
    cases = {
        save(broken, tmp_path / "nan.pth"): "layer1.0.conv1.weight in .* holds NaN",
        save(nn.Linear(2, 2), tmp_path / "module.pth"): "holds more than tensors and plain data",
        save({"epoch": 3}, tmp_path / "empty.pth"): "holds no state dict, but epoch",
        str(tmp_path / "page.pth"): "neither a safetensors file nor one of torch.save",
        str(cut): "is damaged",
    }
    for file, text in cases.items():
        with pytest.raises(ModelError, match=text):
            start(ModelConfig(name="timm:resnet10t", weights=file))
    with pytest.raises(ConfigError, match="model.weights: '.*gone.pth' is not a file here"):
        start(ModelConfig(name="timm:resnet10t", weights=str(tmp_path / "gone.pth")))


def test_without_a_hub_the_error_names_model_weights(monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    model = nn.Linear(2, 2)
    for name in ("timm:resnet18", "torchvision:resnet18"):
        with pytest.raises(ModelError, match=r"cannot be fetched here .*no route to host.*model\.weights=FILE"):
            read_start_weights(ModelConfig(name=name, pretrained=True), model, 3, SHAPE)
    with pytest.raises(ConfigError, match="vgg11 is neither torchvision's nor timm's"):
        read_start_weights(ModelConfig(name="vgg11", pretrained=True), model, 3, SHAPE)
    with pytest.raises(ModelError, match=r"timm has no weights of nf_resnet26.*; set model\.weights"):
        read_start_weights(ModelConfig(name="timm:nf_resnet26", pretrained=True), model, 3, SHAPE)
    with pytest.raises(ValueError, match="both say what to start from"):
        ModelConfig(name="resnet18", pretrained=True, weights="net.pth")


def test_the_hubs_weights_get_a_head_of_their_own(monkeypatch):
    state = theirs("torchvision:resnet18").state_dict()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *args, **kwargs: state)
    model, found = start(ModelConfig(name="torchvision:resnet18", pretrained=True))
    found.load_into(model)
    assert model.conv1.weight.equal(state["conv1.weight"]) and model.fc.weight.shape == (3, 512)
    assert len(found.sha256) == 64


@pytest.mark.parametrize("suffix", ["pth", "safetensors", "bin"])
@pytest.mark.parametrize("archive", [True, False])
def test_a_file_of_torch_save_is_one_under_any_suffix(suffix, archive, tmp_path):
    path = tmp_path / f"net.{suffix}"
    torch.save({"weight": torch.ones(2)}, path, _use_new_zipfile_serialization=archive)
    assert read_tensors(path)["weight"].equal(torch.ones(2))


def test_normalization_is_that_of_the_file_or_of_the_library(tmp_path):
    state = {"a": torch.ones(2)}
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]
    expected = (tuple(mean), tuple(std))
    save_file(state, tmp_path / "a.safetensors", {"mean": json.dumps(mean), "std": json.dumps(std)})
    save_file(state, tmp_path / "b.safetensors", {"pretrained_cfg": json.dumps({"mean": mean, "std": std})})
    save({"state_dict": state, "pretrained_cfg": {"mean": mean, "std": std}}, tmp_path / "c.pth")
    for file in ("a.safetensors", "b.safetensors", "c.pth"):
        config = ModelConfig(name="resnet18", weights=str(tmp_path / file), normalize="auto")
        assert read_normalization(config, 3) == expected
        assert read_normalization(config.replaced(normalize="data"), 3) is None
        with pytest.raises(ConfigError, match=r"images of 3 channels, these have 1; set data\.channels=3"):
            read_normalization(config, 1)
    plain = save(state, tmp_path / "plain.pth")
    half = ((0.5,) * 3, (0.5,) * 3)
    imagenet = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    for name, known in {
        "timm:vit_tiny_patch16_224": half,
        "timm:resnet18": imagenet,
        "torchvision:resnet18": imagenet,
        "vgg11": None,
    }.items():
        assert read_normalization(ModelConfig(name=name, weights=plain, normalize="auto"), 3) == known
        assert read_normalization(ModelConfig(name=name, normalize="auto"), 3) is None
    save({**state, "mean": "grey", "std": 3}, tmp_path / "odd.pth")
    with pytest.raises(ModelError, match=r"set model\.normalize=data"):
        read_normalization(ModelConfig(name="vgg11", weights=str(tmp_path / "odd.pth"), normalize="auto"), 3)
