"""Recordings dealt to devices by their speakers: from class folders, and from a column of Parquet files."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from raysplit.config import DataConfig, DevicesConfig
from raysplit.data import load, load_shard
from raysplit.errors import DataError
from raysplit.folders.run_dir import RunDir
from raysplit.train.local import train_local
from tests.sounds import AUDIO, TONES, run_config

pytestmark = pytest.mark.usefixtures("sound_cache")
SPLITS = ("train", "val", "test")


def devices(shards: str, count: int = 2) -> DevicesConfig:
    return DevicesConfig(count=count, shards=shards)


@pytest.fixture(scope="session")
def table(recordings, tmp_path_factory):
    """Return a Parquet file of the same recordings, with a column of speakers and one of microphones."""
    files = sorted(recordings.rglob("*.wav"))
    speakers = [file.name.partition("_")[0] for file in files]
    columns = {
        "audio": [{"bytes": file.read_bytes(), "path": None} for file in files],
        "label": [file.parent.name for file in files],
        "speaker": speakers,
        "microphone": ["left" if speaker < "s3" else "right" for speaker in speakers],
    }
    path = tmp_path_factory.mktemp("table") / "all.parquet"
    pq.write_table(pa.table(columns), path)
    return DataConfig(name=f"parquet:{path}", audio=AUDIO, val_fraction=0.2)


@pytest.fixture(params=["folders", "parquet"])
def data(request, recordings, table):
    return table if request.param == "parquet" else run_config(recordings).data


@pytest.mark.parametrize("count", [2, 3])
def test_a_speaker_is_on_one_device_and_every_recording_once(data, count):
    for split in SPLITS:
        whole = load(data, split)
        own = [load_shard(data, devices("column(speaker)", count), index, 4, split) for index in range(count)]
        assert sum(len(one.labels) for one in own) == len(whole.labels)
        groups = [set(one.clips.groups.tolist()) for one in own]
        assert set().union(*groups) == set(whole.clips.groups.tolist())
        assert sum(map(len, groups)) == len(set().union(*groups))
        chunks = sorted(count for one in own for count in one.clips.chunks.tolist())
        assert chunks == sorted(whole.clips.chunks.tolist())
    assert all(
        len(set(load_shard(data, devices("column(speaker)"), i, 4, "train").labels.tolist())) == 3 for i in (0, 1)
    )


def test_other_columns_of_parquet(table):
    own = [load_shard(table, devices("column(microphone)"), index, 4, "train") for index in (0, 1)]
    assert sum(len(one.labels) for one in own) == len(load(table, "train").labels)
    with pytest.raises(DataError, match=r"no column 'mikrophone' \(devices.shards\); it has the columns audio"):
        load_shard(table, devices("column(mikrophone)"), 0, 4, "train")


@pytest.mark.parametrize("name", ["song", "group"])
def test_all_names_of_a_group_in_folders_mean_the_same(recordings, name):
    data = run_config(recordings).data
    one, other = (load_shard(data, devices(f"column({column})"), 0, 4, "train") for column in ("speaker", name))
    assert one.images.equal(other.images)


def test_what_tells_speakers_apart_is_the_users_own(recordings):
    """Takes in place of speakers: three, and of them one is held out for the test split, one for validation."""
    data = run_config(recordings).data.replaced(group=r"_nohash_(\d)")
    with pytest.raises(DataError, match=r"column\(speaker\): the training rows have [12] values? for 3 devices"):
        load_shard(data, devices("column(speaker)", 3), 0, 4, "train")


@pytest.mark.parametrize("mode", ["splitfed_v2", "merged"])
def test_devices_train_on_their_speakers(data, mode, tmp_path):
    config = run_config(tmp_path).replaced(data=data)
    config = config.replaced(
        devices=DevicesConfig(count=2, mode=mode, shards="column(speaker)"),
        train=config.train.replaced(epochs=2, batch_size=4),
    )
    run = RunDir.at(train_local(config, str(tmp_path / "run")).run_dir)
    rows = [row for row in run.device_records() if row.epoch.epoch == 0]
    assert {row.device for row in rows} == {0, 1} and all(row.samples >= 4 for row in rows)
    assert run.summary().classes == tuple(sorted(TONES))


@pytest.mark.parametrize(
    ("name", "shards", "expected"),
    [
        ("audio:words", "column(age)", "recordings in folders have no columns; column(speaker) or column(song)"),
        ("audio:words", "column(speaker_id)", "recordings in folders have no columns"),
        ("folder:photos", "column(site)", "reads a Parquet column or the speakers of audio:PATH, and data.name is"),
        ("cifar10", "column(speaker)", "and data.name is 'cifar10'"),
    ],
)
def test_data_without_the_column(name, shards, expected):
    config = run_config("words")
    with pytest.raises(ValidationError) as caught:
        config.replaced(data=DataConfig(name=name), devices=devices(shards))
    assert expected in str(caught.value)
