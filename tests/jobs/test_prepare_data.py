from __future__ import annotations

import json

from raysplit.config import DataConfig
from raysplit.data import read_facts


def test_a_data_set_is_written_and_read_back(run_job, tmp_path):
    done = run_job("prepare_data", "--data", "digits", "--out", tmp_path / "digits")
    last = json.loads(done.out.splitlines()[-1])
    assert done.code == 0 and list(last) == ["data", "out", "train_rows", "test_rows", "classes"]
    written = read_facts(DataConfig(name=f"parquet:{tmp_path / 'digits'}"))
    assert list(written.classes) == last["classes"] and written.test_rows == last["test_rows"]
    assert written.train_rows + written.val_rows == last["train_rows"]


def test_mistakes(fail_job, tmp_path):
    assert "cifar10" in fail_job("prepare_data", "--data", "cifer10", "--out", tmp_path)
    assert "the data set: size: " in fail_job("prepare_data", "--data", "cifar10", "--out", tmp_path, "--size", 2)
