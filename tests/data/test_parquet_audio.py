"""Recordings in Parquet files, and what the package writes of them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raysplit.config import DataConfig
from raysplit.data import export, export_all, export_recordings, load, read_facts
from raysplit.data.images import find_part
from raysplit.errors import DataError
from tests.full_disk import nearly_full
from tests.sounds import AUDIO, tone, wav

ROWS = 20


def config(path, **more) -> DataConfig:
    return DataConfig(name=f"parquet:{path}", audio=AUDIO, **more)


def write(path, columns) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def cells(folder, kind: str, name: str = "{}.wav") -> list:
    sounds = [wav(tone(200 * (1 + index % 2), 0.2 + index % 3 / 4)) for index in range(ROWS)]
    paths = [name.format(index) for index in range(ROWS)]
    if kind in ("paths", "structs of paths"):
        for path, sound in zip(paths, sounds, strict=True):
            (folder / path).write_bytes(sound)
        return paths if kind == "paths" else [{"bytes": None, "path": path} for path in paths]
    if kind == "bytes":
        return sounds
    return [{"bytes": sound, "path": path} for sound, path in zip(sounds, paths, strict=True)]


LABELS = ["high" if index % 2 else "low" for index in range(ROWS)]


@pytest.mark.parametrize("kind", ["structs", "bytes", "paths", "structs of paths"])
def test_columns_of_recordings(tmp_path, kind):
    write(tmp_path / "all.parquet", {"audio": cells(tmp_path, kind), "label": LABELS})
    found = config(tmp_path / "all.parquet")
    sets = [load(found, split) for split in ("train", "val", "test")]
    assert sum(len(one.clips.chunks) for one in sets) == ROWS and len(sets[2].clips.chunks) == 4
    assert {*sets[0].chunks} == {1, 2, 3} and sets[0].classes == ("high", "low")
    facts = read_facts(found)
    assert (facts.train_rows, facts.val_rows, facts.test_rows) == tuple(len(one.labels) for one in sets)


@pytest.mark.parametrize(
    ("column", "setting"), [("speaker_id", None), ("speaker", None), ("song", None), ("reader", "reader"), (None, None)]
)
def test_speakers_stay_together(tmp_path, column, setting):
    who = [f"s{index % 5}" for index in range(ROWS)]
    columns = {"audio": cells(tmp_path, "structs", "x/s{}.wav"), "label": LABELS}
    if column is None:
        for index, cell in enumerate(columns["audio"]):
            cell["path"] = f"x/{who[index]}_nohash_{index}.wav"
    write(tmp_path / "train.parquet", columns if column is None else columns | {column: who})
    found = config(tmp_path, group=setting)
    groups = [{row.group for row in find_part(found, split).rows()} for split in ("train", "test")]
    assert len(groups[0]) == 4 and len(groups[1]) == 1 and not groups[0] & groups[1]
    train, val = load(found, "train"), load(found, "val")
    assert not set(train.clips.groups.tolist()) & set(val.clips.groups.tolist())


@pytest.mark.parametrize("kind", ["structs", "paths"])
def test_speakers_that_the_column_leaves_out_are_told_by_files(tmp_path, kind):
    who = [f"s{index % 5}" for index in range(ROWS)]
    columns = {"audio": cells(tmp_path, kind, "s{}_nohash_0.wav"), "label": LABELS}
    for index, cell in enumerate(columns["audio"]):
        if kind == "structs":
            cell["path"] = f"x/{who[index]}_nohash_{index}.wav"
    named = [one if index < ROWS // 2 else None for index, one in enumerate(who)]
    write(tmp_path / "train.parquet", columns | {"speaker_id": named})
    groups = [{row.group for row in find_part(config(tmp_path), split).rows()} for split in ("train", "test")]
    known = 5 if kind == "structs" else 5 + ROWS // 2
    assert not groups[0] & groups[1] and len(groups[0] | groups[1]) == known


def test_tensors_are_no_recordings(tmp_path):
    pixels = pa.FixedShapeTensorArray.from_numpy_ndarray(np.zeros((ROWS, 8, 8), np.uint8))
    columns = {"pixels": pixels, "sound": cells(tmp_path, "bytes"), "label": LABELS}
    write(tmp_path / "train.parquet", columns)
    assert sum(len(load(config(tmp_path), split).clips.chunks) for split in ("train", "val", "test")) == ROWS
    with pytest.raises(DataError, match=r"column 'pixels' is .*, expected struct<.*>, bytes, or paths as strings"):
        read_facts(config(tmp_path, image="pixels"))
    pictures = DataConfig(name=f"parquet:{tmp_path}", image="pixels")
    assert [len(load(pictures, split).labels) for split in ("train", "val", "test")] == [14, 2, 4]


def test_what_must_be_said(tmp_path):
    write(tmp_path / "train.parquet", {"audio": cells(tmp_path, "bytes"), "label": LABELS})
    with pytest.raises(DataError, match=r"the column 'audio' holds recordings; set data.audio=\{\} to read them"):
        read_facts(DataConfig(name=f"parquet:{tmp_path}"))
    with pytest.raises(DataError, match=r"there is no column 'who' \(data.group\)"):
        read_facts(config(tmp_path, group="who"))
    write(tmp_path / "train.parquet", {"text": LABELS, "label": LABELS})
    with pytest.raises(DataError, match=r"column.*recordings"):
        read_facts(config(tmp_path))
    write(tmp_path / "train.parquet", {"sound": [b"no sound"] * ROWS, "label": LABELS})
    with pytest.raises(DataError, match=r"train.parquet row \d+: this is no recording"):
        read_facts(config(tmp_path))


def test_a_validation_split_is_held_out(tmp_path):
    for split, rows in (("train", 12), ("validation", 4), ("test", 4)):
        write(tmp_path / f"{split}.parquet", {"audio": cells(tmp_path, "bytes")[:rows], "label": LABELS[:rows]})
    assert [len(load(config(tmp_path), split).clips.chunks) for split in ("train", "val", "test")] == [12, 4, 4]


def test_what_is_written_reads_back(tmp_path, recordings):
    (tmp_path / "lists").mkdir()
    for folder in recordings.iterdir():
        (tmp_path / "lists" / folder.name).symlink_to(folder)
    (tmp_path / "lists" / "testing_list.txt").write_text("low/s0_nohash_0.wav\nhigh/s0_nohash_2.wav\n")
    (tmp_path / "lists" / "validation_list.txt").write_text("low/s1_nohash_0.wav\n")
    original = DataConfig(name=f"audio:{tmp_path / 'lists'}", audio=AUDIO)
    written = export_recordings(original, tmp_path / "out")
    assert written.rows == {"train": 51, "test": 2, "validation": 1} and written.test_from == "test"
    copy = config(tmp_path / "out")
    for split in ("val", "test"):
        assert load(copy, split).images.equal(load(original, split).images)
    assert len(load(copy, "train").labels) == len(load(original, "train").labels)
    for one in (original, copy):
        assert {row.group for row in find_part(one, "train").rows()} == {f"s{index}" for index in range(6)}


@pytest.mark.parametrize("stale", ["validation.parquet", "val.parquet", "data/validation-00000-of-00001.parquet"])
def test_the_validation_split_of_other_data_is_not_taken_over(tmp_path, stale):
    write(tmp_path / "in" / "train.parquet", {"audio": cells(tmp_path, "bytes"), "label": LABELS})
    write(tmp_path / "out" / stale, {"audio": cells(tmp_path, "bytes"), "label": LABELS})
    with pytest.raises(DataError, match=f"{stale} would be read as the validation split of parquet:"):
        export_recordings(config(tmp_path / "in"), tmp_path / "out")
    assert not (tmp_path / "out" / "train.parquet").exists()
    (tmp_path / "out" / stale).unlink()
    assert export_recordings(config(tmp_path / "in"), tmp_path / "out").rows == {"train": 16, "test": 4}


def test_recordings_are_not_exported_as_images(recordings, tmp_path):
    found = DataConfig(name=f"audio:{recordings}", audio=AUDIO)
    for write_images in (lambda: export(found, "test", tmp_path / "test.parquet"), lambda: export_all(found, tmp_path)):
        with pytest.raises(DataError, match=r"holds recordings, not images; write them with .*export_recordings"):
            write_images()
    assert not list(tmp_path.glob("*.parquet"))


def test_a_bad_recording_is_not_exported(tmp_path):
    sounds = cells(tmp_path, "bytes")
    write(tmp_path / "in" / "train.parquet", {"audio": [*sounds[:-1], b"?"], "label": LABELS})
    with pytest.raises(DataError, match=r"row 19: .*data.on_bad_rows=skip"):
        for split in ("out", "again"):
            export_recordings(config(tmp_path / "in"), tmp_path / split)
    rows = export_recordings(config(tmp_path / "in", on_bad_rows="skip"), tmp_path / "out").rows
    assert sum(rows.values()) == ROWS - 1


@pytest.mark.parametrize(("limit", "file"), [(20_000, "train"), (70_000, "test"), (120_000, "validation")])
def test_a_full_disk_leaves_the_earlier_files(tmp_path, limit, file):
    """Of three splits that belong together, whichever does not fit."""
    random = np.random.RandomState(0)
    for split, rows in {"train": 4, "test": 8, "validation": 12}.items():
        sounds = [wav(random.uniform(-0.5, 0.5, 6_000)) for _ in range(rows)]
        write(tmp_path / f"{split}.parquet", {"audio": sounds, "label": LABELS[:rows]})
    out = tmp_path / "out"
    out.mkdir()
    for split in ("train", "validation"):
        (out / f"{split}.parquet").write_bytes(b"earlier")
    with nearly_full(limit), pytest.raises(DataError, match=rf"cannot write {out}/{file}.parquet \(.*choose a folder"):
        export_recordings(config(tmp_path), out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {
        "train.parquet": b"earlier",
        "validation.parquet": b"earlier",
    }
