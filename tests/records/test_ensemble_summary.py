"""The summary of a build: grouping by device, and its JSON as older versions wrote it."""

from __future__ import annotations

import json

from raysplit.records.ensemble_summary import EnsembleSummary, sum_by_device
from tests.report.builds import build_record


def test_a_device_bears_the_sum_of_its_sub_models():
    assert sum_by_device([1, 5, 3, 2], ["a", "b", "a", "a"]) == [6, 5]


def test_without_devices_each_sub_model_has_its_own():
    assert sum_by_device([1, 5, 3], [None] * 3) == [1, 5, 3]


def written(path, **kinds):
    """Return a summary as JSON on disk has it."""
    build_record(path, **kinds)
    return json.loads((path / "summary.json").read_text())


def test_what_was_not_measured_is_left_out_of_the_json(tmp_path):
    tree = written(tmp_path, n=2, devices=False)
    assert "lost2" not in tree and "base_spikes" not in tree and tree["submodels"][0]["device"] is None
    summary = EnsembleSummary.model_validate(tree)
    assert summary.lost == {1: tree["lost1"]} and summary.lost2 is None
    again = json.loads(summary.model_dump_json())
    assert again == tree | {"seconds": tree["seconds"] | {"common": 0.0}}
    assert list(again) == list(tree) and list(again["submodels"][0]) == list(tree["submodels"][0])


def test_spikes_are_kept_where_they_were_counted(tmp_path):
    tree = written(tmp_path, n=1) | {"base_spikes": 9.5}
    tree["submodels"][0]["spikes"] = 3.5
    summary = EnsembleSummary.model_validate(tree)
    assert summary.cost_by_device("spikes") == [3.5]
    again = json.loads(summary.model_dump_json())
    assert again["base_spikes"] == 9.5 and again["submodels"][0]["spikes"] == 3.5


def test_costs_are_grouped_by_device(tmp_path):
    summary = EnsembleSummary.model_validate(written(tmp_path))  # ten sub-models on four of five devices
    assert summary.cost_by_device("params") == [300_000, 330_000, 200_000, 220_000]
    assert summary.cost_by_device("feature_bytes") == [384, 384, 256, 256]
