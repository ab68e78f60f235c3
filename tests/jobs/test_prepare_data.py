from __future__ import annotations

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from raysplit.config import DataConfig
from raysplit.data import read_facts
from raysplit.data.images import load_source
from tests.full_disk import nearly_full
from tests.sounds import AUDIO


def test_a_data_set_is_written_and_read_back(run_job, tmp_path):
    done = run_job("prepare_data", "--data", "digits", "--out", tmp_path / "digits")
    last = json.loads(done.out.splitlines()[-1])
    assert done.code == 0 and list(last) == ["data", "out", "train_rows", "test_rows", "test_from", "classes"]
    written = read_facts(DataConfig(name=f"parquet:{tmp_path / 'digits'}"))
    assert list(written.classes) == last["classes"] and written.test_rows == last["test_rows"]
    assert written.train_rows + written.val_rows == last["train_rows"]


def test_columns_and_files_are_named(run_job, tmp_path):
    images = [{"bytes": png(shade), "path": None} for shade in range(20)]
    labels = [(7, 100)[i % 2] for i in range(20)]
    pq.write_table(pa.table({"photo": images, "kind": labels, "id": list(range(20))}), tmp_path / "all.parquet")
    settings = ["data.label=kind", "data.splits={train: all.parquet}", "data.unused_labels=drop"]
    done = run_job("prepare_data", "--data", f"parquet:{tmp_path}", "--out", tmp_path / "out", "--set", *settings)
    last = json.loads(done.out.splitlines()[-1])
    assert done.code == 0 and (last["train_rows"], last["test_rows"], last["test_from"]) == (16, 4, "train")
    assert read_facts(DataConfig(name=f"parquet:{tmp_path / 'out'}")).classes == ("7", "100") == tuple(last["classes"])


def test_recordings_are_carried_with_their_official_lists(run_job, recordings, tmp_path, sound_cache):
    for folder in recordings.iterdir():
        (tmp_path / "words" / folder.name).mkdir(parents=True)
        for file in folder.iterdir():
            (tmp_path / "words" / folder.name / file.name).symlink_to(file)
    (tmp_path / "words" / "testing_list.txt").write_text("low/s0_nohash_0.wav\n")
    (tmp_path / "words" / "validation_list.txt").write_text("low/s1_nohash_2.wav\n")
    done = run_job("prepare_data", "--data", f"audio:{tmp_path / 'words'}", "--out", tmp_path / "out")
    last = json.loads(done.out.splitlines()[-1])
    assert done.code == 0 and last["classes"] == ["high", "low", "middle"] and last["test_from"] == "test"
    assert (last["train_rows"], last["validation_rows"], last["test_rows"]) == (52, 1, 1)
    facts = read_facts(DataConfig(name=f"parquet:{tmp_path / 'out'}", audio=AUDIO))
    assert (facts.val_rows, facts.test_rows) == (3, 1)  # chunks


def png(shade):
    return encode(Image.new("L", (8, 8), shade))


def noise(seed):
    return encode(Image.fromarray(np.random.RandomState(seed).randint(0, 256, (16, 16)).astype(np.uint8)))


def encode(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(("limit", "file"), [(5_000, "train"), (40_000, "test")])
def test_a_full_disk_leaves_the_earlier_files(fail_job, tmp_path, monkeypatch, limit, file):
    """Of two splits that belong together, whichever does not fit."""
    monkeypatch.setenv("RAYSPLIT_CACHE", str(tmp_path / "cache"))
    for split, count in {"train": 50, "test": 250}.items():
        table = pa.table({"image": [noise(i) for i in range(count)], "label": [i % 2 for i in range(count)]})
        pq.write_table(table, tmp_path / f"{split}.parquet")
    data = DataConfig(name=f"parquet:{tmp_path}")
    load_source(data, "train"), load_source(data, "test")  # decoded before the disk is full
    out = tmp_path / "out"
    out.mkdir()
    (out / "train.parquet").write_bytes(b"earlier")
    with nearly_full(limit):
        text = fail_job("prepare_data", "--data", data.name, "--out", out)
    assert f"cannot write {out}/{file}.parquet (" in text and "choose a folder that can be written to" in text
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {"train.parquet": b"earlier"}


def test_mistakes(fail_job, tmp_path):
    assert "cifar10" in fail_job("prepare_data", "--data", "cifer10", "--out", tmp_path)
    assert "the data set: size: " in fail_job("prepare_data", "--data", "cifar10", "--out", tmp_path, "--size", 2)
