"""From a recording to its chunks: any rate, channels, length; the same sound gives the same picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from raysplit.config import AudioConfig
from raysplit.data.audio import count_chunks, decode_audio
from raysplit.data.audio_file import read_header
from raysplit.data.inputs import InputFormat
from raysplit.data.schema import BadRow
from raysplit.errors import DataError
from tests.sounds import AUDIO, encode, tone, wav

CHUNK_S = AUDIO.chunk / AUDIO.sample_rate


@pytest.mark.parametrize(
    ("seconds", "chunks"),
    [
        (0.001, 1),
        (0.1, 1),
        (CHUNK_S, 1),
        (CHUNK_S + 0.01, 1),
        (CHUNK_S + 0.1, 2),
        (2 * CHUNK_S, 2),
        (1.0, 4),
        (3.0, 12),
    ],
)
@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100])
def test_chunks_cover_a_recording(seconds, chunks, rate):
    data = wav(tone(500, seconds, rate), rate)
    found = decode_audio(data, AUDIO)
    assert found.shape == (chunks, 1, 16, 16) and found.dtype == np.uint8
    assert count_chunks(read_header(data), AUDIO) == chunks


def test_every_part_of_a_long_recording_is_in_a_chunk():
    config = AudioConfig(sample_rate=8_000, seconds=0.256, n_mels=16)
    for place in np.linspace(0.0, 1.9, 30):
        sound = np.zeros(16_000)
        start = round(place * 8_000)
        sound[start : start + 400] = tone(1_000, 0.05)[: len(sound[start : start + 400])]
        assert (decode_audio(wav(sound), config).max((1, 2, 3)) == 255).any(), place


def test_a_short_recording_is_followed_by_silence():
    found = decode_audio(wav(tone(1_000, 0.1)), AUDIO)[0, 0]
    assert found[:, :5].max() == 255 and found[:, 8:].max() == 0


@pytest.mark.parametrize("rate", [16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_same_sound_gives_the_same_picture(rate, channels):
    pictures = []
    for one in (8_000, rate):
        sound = sum(tone(hz, 0.25, one) for hz in (300, 1_100, 2_900)) / 2
        pictures.append(decode_audio(wav(np.stack([sound] * channels, 1), one), AUDIO).astype(int))
    loud = pictures[0][..., 1:-2] > 100  # not at its ends, where a tone is cut off
    assert loud.any() and np.abs(pictures[0] - pictures[1])[..., 1:-2][loud].max() <= 4


def test_silence_is_an_answerable_recording():
    assert not decode_audio(wav(np.zeros(100)), AUDIO).any()
    assert not decode_audio(encode(np.zeros((9_000, 2)), "FLAC"), AUDIO).any()


@pytest.mark.parametrize("raw", [None, 3, np.zeros(8), "tone.wav"])
def test_what_is_no_file(raw):
    with pytest.raises(BadRow):
        decode_audio(raw, AUDIO)


def test_files_as_a_network_takes_them(tmp_path, png):
    (tmp_path / "long.wav").write_bytes(wav(tone(440, 1.0)))
    (tmp_path / "short.flac").write_bytes(encode(tone(440, 0.1), "FLAC"))
    (tmp_path / "photo.png").write_bytes(png())
    taken = InputFormat(AUDIO.shape, AUDIO)
    images, chunks = taken.decode_files([tmp_path / "long.wav", str(tmp_path / "short.flac")])
    assert images.shape == (5, 1, 16, 16) and chunks == (4, 1)
    assert InputFormat((3, 8, 8)).decode_files([tmp_path / "photo.png"]).images.shape == (1, 3, 8, 8)
    for wrong, file in ((taken, "photo.png"), (InputFormat((3, 8, 8)), "long.wav"), (taken, "none.wav")):
        with pytest.raises(DataError, match=f"{file}: .*; give {wrong.media} files"):
            wrong.decode_files([Path(tmp_path, file)])
