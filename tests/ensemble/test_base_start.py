"""What the base of an ensemble starts from: errors name the base's own settings, and the record holds the hash."""

from __future__ import annotations

import hashlib

import pytest
import torch
from safetensors.torch import load_file, save_file

from raysplit.data import read_facts
from raysplit.ensemble.base_classifier import import_base, initial_base, train_base
from raysplit.ensemble.check import check_build
from raysplit.ensemble.context import open_build, read_normalization
from raysplit.errors import ConfigError, ModelError
from raysplit.folders.build_dir import BASE_WEIGHTS
from tests.ensemble.tiny_build import config

FILE_SETTINGS = pytest.mark.parametrize("key", ["base.weights", "base.pretrained", "base.model.weights"])
DATA = read_facts(config().data)


@FILE_SETTINGS
def test_what_does_not_fit_names_the_settings_of_the_base(tmp_path, key):
    save_file({"head.weight": torch.zeros(10, 7), "cls_token": torch.zeros(3)}, tmp_path / "theirs.safetensors")
    given = config().with_settings([f"{key}={tmp_path}/theirs.safetensors"])
    with pytest.raises(ModelError, match=r"Set base\.model\.name, base\.model\.args, data\.size and data\.channels"):
        check_build(given, DATA)


@FILE_SETTINGS
def test_a_missing_file_that_should_say_how_to_normalize_is_named(tmp_path, key):
    given = config().with_settings([f"{key}={tmp_path}/none.pth", "base.model.normalize=auto"])
    with pytest.raises(ConfigError, match=rf"^{key}: '.*none\.pth' is not a file here"):
        open_build(given, str(tmp_path / "build"))


@pytest.mark.parametrize(
    ("about", "error", "text"),
    [
        (
            {"mean": "[0.1, 0.2, 0.3]", "std": "[0.5, 0.5, 0.5]"},
            ConfigError,
            r"^base\.model\.normalize=auto: .*data\.channels=3, or base\.model\.normalize=data$",
        ),
        ({"mean": "grey", "std": "3"}, ModelError, r"set base\.model\.normalize=data$"),
    ],
)
def test_what_weights_expect_of_images_names_the_settings_of_the_base(tmp_path, about, error, text):
    save_file({"head.bias": torch.zeros(10)}, tmp_path / "theirs.safetensors", about)
    settings = [f"base.model.weights={tmp_path}/theirs.safetensors", "base.model.normalize=auto"]
    with pytest.raises(error, match=text):
        read_normalization(config().with_settings(settings))


def test_a_network_that_no_hub_has_names_the_settings_of_the_base():
    text = r"^base\.model\.pretrained=true: vit is neither .*; set base\.model\.weights=FILE$"
    with pytest.raises(ConfigError, match=text):
        initial_base(config().with_settings(["base.model.pretrained=true"]), DATA)


@FILE_SETTINGS
def test_the_record_holds_the_hash_of_the_weights(built, tmp_path, key):
    file = tmp_path / "theirs.pth"
    torch.save(load_file(built[0] / BASE_WEIGHTS), file)
    context = open_build(config().with_settings([f"{key}={file}", "base.train.epochs=1"]), str(tmp_path))
    import_base(context) if key == "base.weights" else train_base(context, print)
    assert context.folder.base_record().weights == hashlib.sha256(file.read_bytes()).hexdigest()


def test_random_weights_have_no_hash(built):
    folder, summary = built
    assert open_build(config(), str(folder)).folder.base_record().weights is summary.weights is None
    assert '"weights"' not in (folder / "summary.json").read_text()
