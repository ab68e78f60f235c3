"""Trials of ensembles: infeasible configs are refused, and trials that train a base alike share it."""

from __future__ import annotations

import re

import pytest
import torch

from raysplit.config import (
    BaseConfig,
    ClassifierFit,
    DataConfig,
    EnsembleConfig,
    FusionConfig,
    GroupsConfig,
    ModelConfig,
    PruneConfig,
    RetrainConfig,
)
from raysplit.config.search import SearchConfig
from raysplit.ensemble.bundle import load_ensemble
from raysplit.folders.build_dir import BASE_WEIGHTS
from raysplit.folders.search_dir import SearchDir
from raysplit.hardware.machine import NAMED
from raysplit.search import ensemble_trial
from raysplit.search.ensemble_trial import open_shared_base
from raysplit.search.trial import find_fault, prepare_trials, run_trial
from tests.search.searches import PLATFORM

FIT = {"epochs": 1, "batch_size": 32, "device": "cpu"}
CONFIG = EnsembleConfig(
    name="tiny",
    data=DataConfig(name="digits", train_rows=200),
    base=BaseConfig(
        model=ModelConfig(name="vit", args={"patch": 4, "width": 24, "depth": 1, "heads": 3}),
        train=ClassifierFit(**FIT),
    ),
    groups=GroupsConfig(n=2),
    prune=PruneConfig(keep=0.34, proxy=8),
    retrain=RetrainConfig(**FIT),
    fusion=FusionConfig(**FIT),
)


def make_search(**changes):
    given = {"recipe": CONFIG, "space": "tune_spaces.ensemble", "objectives": ("accuracy", "mib"), **PLATFORM}
    return SearchConfig(**(given | changes))


@pytest.mark.parametrize(
    "changes, settings, reason",
    [
        ({}, ["groups.n=40"], "10 classes cannot be split into 40 groups"),
        ({"rate": 1e9}, [], "the device takes .* ms for an image"),
        ({"device": NAMED["pi4"].replaced(memory_mib=0.001)}, [], "a sub-model needs .* MiB, pi4 has 0.0"),
    ],
)
def test_an_infeasible_config_is_refused_before_it_is_trained(changes, settings, reason):
    assert find_fault(make_search(), CONFIG) is None
    assert re.search(reason, find_fault(make_search(**changes), CONFIG.with_settings(settings)) or "")


def test_trials_that_train_a_base_alike_share_it(tmp_path, monkeypatch):
    search, folder = make_search(), SearchDir.at(str(tmp_path))
    prepare_trials(search, folder)
    kept = (tmp_path / "base").glob(f"*/{BASE_WEIGHTS}")
    assert len(list(kept)) == 1
    trained = []
    monkeypatch.setattr(
        "raysplit.ensemble.runner.train_base",
        lambda context, log: (
            trained.append(context.config.base.train.epochs),
            ensemble_trial.train_base(context, log),
        ),
    )
    [report] = run_trial(search, 0, CONFIG.with_settings(["fusion.layers=1"]), folder)
    assert trained == [] and report.last
    ensemble = load_ensemble(str(tmp_path / "front/0000"))
    assert ensemble.predict(torch.zeros(1, 1, 8, 8, dtype=torch.uint8)).shape == (1, 10)
    assert 0 <= report.objectives["accuracy"] <= 1 and report.objectives["mib"] > 0
    longer = CONFIG.with_settings(["base.train.epochs=2"])
    list(run_trial(search, 1, longer, folder))
    list(run_trial(search, 2, longer.with_settings(["groups.n=5"]), folder))
    assert trained == [2] and open_shared_base(longer, folder).has(BASE_WEIGHTS)
    assert open_shared_base(longer, folder).location != open_shared_base(CONFIG, folder).location
