"""Ensembles of data whose columns, files and labels are named in the config."""

from __future__ import annotations

import re

import pytest

from raysplit.config import GroupsConfig
from raysplit.data import read_facts
from raysplit.ensemble.build import build_ensemble
from raysplit.ensemble.preview import preview_build
from raysplit.errors import ConfigError
from tests.ensemble.tiny_build import config
from tests.own_data import write_own_digits

TENS = tuple(str(10 * digit) for digit in range(10))


@pytest.mark.parametrize(
    ("held", "rows", "serves"),
    [
        (False, 287, "72 for the test (a fifth of the training split, held out)"),
        (True, 359, "50 for the test (the validation split)"),
    ],
)
def test_the_dry_run_says_what_serves_as_the_test_split(tmp_path, held, rows, serves):
    given = config(retrain=None).with_settings([*write_own_digits(tmp_path, held), "data.train_rows=null"])
    facts = read_facts(given.data)
    assert facts.train_rows + facts.val_rows == rows and facts.classes == TENS
    data = next(line for line in preview_build(given).splitlines() if line.startswith("data "))
    assert "10 classes" in data and data.endswith(serves)


def test_data_with_a_test_split_need_no_word():
    assert re.search(r"359 for the test$", preview_build(config(retrain=None)), re.MULTILINE)


def test_a_build_takes_them_and_its_record_says_so(tmp_path):
    settings = [*write_own_digits(tmp_path, held=True), "base.train.epochs=1", "fusion.epochs=1"]
    given = config(retrain=None, groups=GroupsConfig(n=2)).with_settings(settings)
    summary = build_ensemble(given, str(tmp_path / "build"))
    assert (summary.test_from, summary.test_images, summary.classes) == ("validation", 50, TENS)


def test_they_are_refused_where_they_mean_nothing():
    with pytest.raises(ConfigError, match="image and label name columns and files of Parquet data"):
        config().with_settings(["data.image=photo", "data.label=kind"])
