import json
import runpy
import sys
from pathlib import Path

import pytest

from raysplit.config import DataConfig
from raysplit.data import export, load
from raysplit.data.images import load_source
from raysplit.errors import DataError

JOB = Path(__file__).parents[2] / "jobs" / "prepare_data.py"


@pytest.mark.parametrize("channels", [1, 3])
def test_round_trip(two_files, tmp_path, channels):
    config = DataConfig(name=f"parquet:{two_files}", channels=channels, size=11)
    for split in ("train", "test"):
        written = export(config, split, tmp_path / "out" / f"{split}.parquet")
        assert len(written.labels) == {"train": 20, "test": 6}[split]
    back = DataConfig(name=f"parquet:{tmp_path / 'out'}")
    for split in ("train", "test"):
        before, after = load_source(config, split), load_source(back, split)
        assert after.images.equal(before.images) and after.labels.equal(before.labels)
        assert after.classes == before.classes
    assert load(back, "val").images.equal(load(config, "val").images)


def test_unwritable(two_files, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write .*file/test\.parquet"):
        export(DataConfig(name=f"parquet:{two_files}"), "test", tmp_path / "file" / "test.parquet")


def test_job(two_files, tmp_path, capsys):
    out = tmp_path / "out"
    args = ["--data", f"parquet:{two_files}", "--out", str(out), "--size", "9", "--channels", "1"]
    runpy.run_path(str(JOB))["main"](args)
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {
        "data": f"parquet:{two_files}",
        "out": str(out),
        "train_rows": 20,
        "test_rows": 6,
        "test_from": "test",
        "classes": ["cat", "dog"],
    }
    assert load(DataConfig(name=f"parquet:{out}"), "test").images.shape == (6, 1, 9, 9)


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("--data", "mnist"), "error: unknown data set 'mnist'. Nearest: "),
        (("--data", "mnist5k", "--size", "3"), "error: the data set: size: Input should be greater than or equal to 8"),
    ],
)
def test_job_fails_in_one_line(args, text, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(JOB), *args, "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(JOB), run_name="__main__")
    out, err = capsys.readouterr()
    assert end.value.code == 1 and out == ""
    assert err.startswith(text) and err.count("\n") == 1
