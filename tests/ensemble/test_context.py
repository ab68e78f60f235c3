"""What the stages of a build share."""

from __future__ import annotations

import pickle

from raysplit.config import BaseConfig
from raysplit.config.ensemble_plan import EnsemblePlan
from raysplit.data import load, mean_std
from raysplit.ensemble.context import PlannedBuild, open_build, read_normalization
from tests.ensemble.tiny_build import VIT, config


def test_it_has_the_facts_about_the_data(tmp_path):
    context = open_build(config(), str(tmp_path / "new"))
    assert context.data.classes == tuple("0123456789") and context.data.shape == (1, 8, 8)
    mean, std = mean_std(load(config().data, "train").images)
    assert (context.normalization.mean, context.normalization.std) == (mean, std)
    assert not (tmp_path / "new").exists(), "opening writes nothing"


def test_the_configs_normalization_comes_first():
    found = read_normalization(config(base=BaseConfig(model=VIT, mean=(0.5,), std=(0.25,))))
    assert (found.mean, found.std) == ((0.5,), (0.25,))


def test_samples_are_normalized_for_the_base(tmp_path):
    context = open_build(config(), str(tmp_path))
    train = context.load_samples("train")
    assert len(train) == 320 and train.teacher is None
    x = train.batch(slice(None))
    assert x.shape == (320, 1, 8, 8)
    assert abs(x.mean().item()) < 1e-3
    assert abs(x.std().item() - 1) < 1e-2


def test_a_planned_build_can_be_sent_to_another_process(tmp_path):
    plan = EnsemblePlan(kind="vit", size_steps=3, shape=(1, 8, 8), submodels=())
    build = open_build(config(), str(tmp_path)).with_plan(plan)
    data = pickle.dumps(build)
    copy = pickle.loads(data)
    assert isinstance(copy, PlannedBuild) and len(data) < 10_000
    assert (copy.config, copy.data, copy.plan) == (build.config, build.data, build.plan)
    assert copy.folder.location == build.folder.location
