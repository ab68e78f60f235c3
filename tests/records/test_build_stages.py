"""Records of a build's stages, as their JSON files hold them."""

from __future__ import annotations

import json

from raysplit.records.build_stages import BaseRecord, ClassifierEpoch, DataFingerprint, SubmodelRecord


def test_an_accuracy_that_was_not_measured_is_left_out():
    plain, measured = (
        ClassifierEpoch(epoch=0, loss=1.5, seconds=2),
        ClassifierEpoch(epoch=1, loss=1.0, seconds=2, val_accuracy=0.5),
    )
    assert json.loads(plain.model_dump_json()) == {"epoch": 0, "loss": 1.5, "seconds": 2.0}
    record = BaseRecord(epochs=(plain, measured))
    assert record.seconds == 4 and BaseRecord.model_validate_json(record.model_dump_json()) == record


def test_keys_of_a_newer_version_are_ignored():
    tree = {"score_s": 1.0, "seconds": 3.0, "epochs": [{"epoch": 0, "loss": 1.0, "seconds": 2.0}], "watts": 5}
    assert SubmodelRecord.model_validate(tree).epochs[0].loss == 1.0


def test_the_first_split_that_differs_is_named():
    splits = {name: {"rows": 3, "sha256": name} for name in ("train", "val", "test")}
    one = DataFingerprint.model_validate(splits)
    other = DataFingerprint.model_validate(splits | {"test": {"rows": 3, "sha256": "new"}})
    assert one.first_difference(one) is None and one.first_difference(other) == "test"
