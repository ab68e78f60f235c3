"""What is refused before the base is trained."""

from __future__ import annotations

from dataclasses import replace

import pytest

from raysplit.config import (
    BaseConfig,
    ClassifierFit,
    DataConfig,
    FusionConfig,
    GroupsConfig,
    RetrainConfig,
)
from raysplit.data import read_facts
from raysplit.ensemble.build import build_ensemble
from raysplit.ensemble.check import check_build
from raysplit.errors import ConfigError, DataError
from tests.ensemble.tiny_build import FIT, VIT, config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base": BaseConfig(model=VIT, mean=(0.5,) * 3, std=(0.5,) * 3)}, "have 3 numbers, .* have 1 channels"),
        (
            {"groups": GroupsConfig(n=10, rest=False), "retrain": RetrainConfig(**FIT)},
            "groups.rest is false and sub-model 0 has one class: .*retrain.distill above 0, or retrain to null",
        ),
        (
            {"groups": GroupsConfig(n=10, negatives=0), "retrain": RetrainConfig(**FIT)},
            "groups.negatives is 0 and sub-model 0 has one class: .*set .* groups.negatives above 0",
        ),
        ({"fusion": FusionConfig(device="cuda:x")}, "fusion.device 'cuda:x' cannot be used here"),
        ({"base": BaseConfig(model=VIT, train=ClassifierFit(device="gpu"))}, "base.train.device 'gpu' cannot be used"),
        (
            {"base": BaseConfig(model=VIT, train=ClassifierFit(**FIT), workers=3)},
            "batches of 32 images cannot be divided equally among 3 workers; set base.train.batch_size",
        ),
    ],
    ids=["mean", "one class", "no negatives", "fusion", "device", "workers"],
)
def test_an_impossible_training_is_refused_before_the_base_is_trained(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        build_ensemble(config(**changes), str(tmp_path))
    assert not (tmp_path / "base").exists()


@pytest.mark.parametrize("by", ["seed", "confusion"])
def test_a_sub_model_needs_images_of_its_own_classes(by, tmp_path):
    given = config(
        groups=GroupsConfig(n=10, by=by), data=DataConfig(name="digits", train_rows=4), common=RetrainConfig(**FIT)
    )
    given = given.replaced(base=given.base.replaced(train=ClassifierFit(**FIT | {"batch_size": 4})))
    with pytest.raises(DataError, match="no training image of the classes of sub-model"):
        build_ensemble(given.replaced(common=given.common.replaced(batch_size=4)), str(tmp_path))
    assert (tmp_path / "base").exists() == (by == "confusion"), "groups that the base does not decide are known before"


def test_one_class_is_not_enough():
    with pytest.raises(DataError, match="digits has 1 class; a classifier needs data with at least 2"):
        check_build(config(), replace(read_facts(config().data), classes=("0",)))
