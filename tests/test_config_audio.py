"""Settings of recordings: what fits together, what old files hold."""

from __future__ import annotations

import pytest

from raysplit.config import AudioConfig, DataConfig
from raysplit.errors import ConfigError
from raysplit.utils.settings import loads, parse, with_settings


def test_audio_data_have_settings_and_other_data_none():
    assert DataConfig(name="audio:words").audio == AudioConfig()
    assert parse(DataConfig, {"name": "parquet:words", "audio": {}}, "mine").audio == AudioConfig()
    assert DataConfig(name="parquet:photos").audio is None and "audio" not in DataConfig(name="mnist5k").model_dump()
    config = DataConfig(name="audio:words", audio=AudioConfig(seconds=3), group="^(.)")
    assert loads(DataConfig, config.model_dump_json(), "file") == config


def test_settings_by_name():
    audio = with_settings(DataConfig(name="audio:words"), ["audio.seconds=3", "audio.n_mels=96"], "mine").audio
    assert audio.shape == (1, 96, 188)
    digits = DataConfig(name="mnist5k")
    assert with_settings(digits, ["name=audio:words", "audio={seconds: 0.5}"], "mine").audio.frames == 31
    assert with_settings(digits, ["name=audio:words"], "mine").audio == AudioConfig()


@pytest.mark.parametrize(
    ("tree", "text"),
    [
        ({"name": "mnist5k", "audio": {}}, "audio is for audio:PATH and parquet:PATH"),
        ({"name": "folder:x", "audio": {}}, "name is 'folder:x'"),
        ({"name": "folder:x", "group": "(.)"}, "the data are images"),
        ({"name": "audio:x", "size": 32}, "size is of images"),
        ({"name": "audio:x", "channels": 3}, "channels is of images"),
        ({"name": "audio:x", "augment": "crop_flip"}, "backwards; use crop or none"),
        ({"name": "audio:x", "augment": "small_crop_flip"}, "backwards; use small_crop or none"),
        ({"name": "audio:x", "audio": {"seconds": 0.05}}, "are 3 frames of hop_ms 16; 8 to 8192"),
        ({"name": "audio:x", "audio": {"seconds": 600, "hop_ms": 1, "window_ms": 4}}, "600000 frames"),
        ({"name": "audio:x", "audio": {"hop_ms": 40}}, "hop_ms 40 is more than window_ms 32"),
        ({"name": "audio:x", "audio": {"n_mels": 256}}, "n_mels 256 are too many for window_ms 32"),
        ({"name": "audio:x", "audio": {"n_mels": 64, "window_ms": 4, "hop_ms": 4}}, "make the window longer"),
        ({"name": "audio:x", "audio": {"sample_rate": 100}}, "audio.sample_rate"),
        ({"name": "audio:x", "audio": {"nmels": 40}}, "unknown key 'nmels'. Nearest: n_mels"),
        ({"name": "audio:x", "label": "y"}, "name columns and files of Parquet data"),
    ],
)
def test_what_does_not_fit_is_refused(tree, text):
    with pytest.raises(ConfigError, match=text.replace("(", r"\(")):
        parse(DataConfig, tree, "mine")
