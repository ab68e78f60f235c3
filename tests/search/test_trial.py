"""Trials of ensembles: what cannot be is refused, and a base is shared by those that train it alike."""

from __future__ import annotations

import re

import pytest

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
from raysplit.folders.build_dir import BASE_WEIGHTS
from raysplit.hardware.link import get_link
from raysplit.hardware.machine import NAMED
from raysplit.search import trial
from raysplit.search.config import SearchConfig
from raysplit.search.trial import fault_of, prepare, reports, shared_base
from raysplit.utils.storage import Folder

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


def asked(**changes):
    machines = {"link": get_link("wifi"), "device": NAMED["pi4"], "server": NAMED["server"]}
    given = {"recipe": CONFIG, "space": "tune_spaces.ensemble", "objectives": ("accuracy", "mib"), **machines}
    return SearchConfig(**(given | changes))


@pytest.mark.parametrize(
    "changes, settings, reason",
    [
        ({}, ["groups.n=40"], "10 classes cannot be split into 40 groups"),
        ({"rate": 1e9}, [], "the device takes .* ms an image"),
        ({"device": NAMED["pi4"].replaced(memory_mib=0.001)}, [], "a sub-model needs .* MiB, pi4 has 0.0"),
    ],
)
def test_what_cannot_be_is_refused_before_it_is_trained(changes, settings, reason):
    assert fault_of(asked(), CONFIG) is None
    assert re.search(reason, fault_of(asked(**changes), CONFIG.with_settings(settings)) or "")


def test_a_base_is_shared_by_trials_that_train_it_alike(tmp_path, monkeypatch):
    search, place = asked(), Folder.at(str(tmp_path))
    prepare(search, place)
    kept = (tmp_path / "base").glob(f"*/{BASE_WEIGHTS}")
    assert len(list(kept)) == 1
    trained = []
    monkeypatch.setattr(
        "raysplit.ensemble.runner.train_base",
        lambda context, log: (trained.append(context.config.base.train.epochs), trial.train_base(context, log)),
    )
    [first] = reports(search, CONFIG.with_settings(["fusion.layers=1"]), str(tmp_path))
    assert trained == [] and first["last"] and 0 <= first["accuracy"] <= 1 and first["mib"] > 0
    longer = CONFIG.with_settings(["base.train.epochs=2"])
    list(reports(search, longer, str(tmp_path)))
    list(reports(search, longer.with_settings(["groups.n=5"]), str(tmp_path)))
    assert trained == [2] and shared_base(longer, place).has(BASE_WEIGHTS)
    assert shared_base(longer, place).location != shared_base(CONFIG, place).location
