"""Records of trials: flat on disk, typed in memory, and those of older searches."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from raysplit.records.trial import TrialRecord, TrialReport

OLD = {
    "number": 4,
    "state": "failed",
    "point": {"cut": "features.3", "bits": 2},
    "recipe": "{}",
    "fault": "RuntimeError: planted",
    "epochs": 0,
    "trained": 0,
    "start_s": 9.5,
    "wall_s": 64.5,
    "accuracy": None,
    "bytes": None,
}
"""As a search before typed records wrote it."""


def test_a_failed_trial_is_read_and_written_as_before():
    trial = TrialRecord.from_row(OLD | {"a_newer_key": 1})
    assert trial.objectives == {} and trial.state == "failed"
    assert json.dumps(trial.to_row(("accuracy", "bytes"))) == json.dumps(OLD)


def test_numbers_keep_their_kind_and_nan_is_a_value():
    row = OLD | {"state": "finished", "fault": None, "accuracy": float("nan"), "bytes": 10499}
    trial = TrialRecord.from_row(json.loads(json.dumps(row)))
    assert type(trial.objectives["bytes"]) is int and trial.objectives["accuracy"] != trial.objectives["accuracy"]
    assert json.dumps(trial.to_row(("accuracy", "bytes"))) == json.dumps(row)


@pytest.mark.parametrize("change", [{"state": "lost"}, {"number": None}, {"bytes": "many"}])
def test_a_row_that_is_not_a_record(change):
    with pytest.raises(ValidationError):
        TrialRecord.from_row(OLD | change)


def test_a_report_is_picked_out_of_a_larger_row():
    report = TrialReport(epoch=2, trained=1, last=True, objectives={"accuracy": 0.5, "mib": 3})
    assert TrialReport.from_row(report.to_row() | {"pid": 7, "seconds": None}) == report
