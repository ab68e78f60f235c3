"""Recordings as people have them: formats, bit depths, channels; and files that are none, or not whole."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from raysplit.data.audio_file import UnknownFormat, read_header, read_samples
from raysplit.data.schema import BadRow
from tests.sounds import encode, tone, wav

TONE = tone(440, 0.5)


@pytest.mark.parametrize(
    ("kind", "subtype", "tolerance"),
    [
        *(("WAV", name, 1e-3) for name in ("PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")),
        ("WAV", "PCM_U8", 1e-2),
        ("WAV", "ULAW", 2e-2),
        ("WAVEX", "PCM_16", 1e-3),
        ("RF64", "PCM_16", 1e-3),
        ("FLAC", "PCM_16", 1e-3),
        ("FLAC", "PCM_24", 1e-3),
        ("AIFF", "PCM_16", 1e-3),
        ("AU", "PCM_16", 1e-3),
        ("OGG", "VORBIS", 0.1),
        ("MP3", "MPEG_LAYER_III", 0.1),
    ],
)
def test_formats(kind, subtype, tolerance, tmp_path):
    (tmp_path / "tone").write_bytes(data := encode(TONE, kind, subtype))
    for raw in (data, tmp_path / "tone"):
        samples, rate = read_samples(raw)
        assert rate == 8_000 and abs(len(samples) - len(TONE)) < (2_000 if kind == "MP3" else 1)
        header = read_header(raw)
        assert (header.channels, header.sample_rate) == (1, 8_000) and abs(header.frames - len(samples)) < 2_000
    if kind != "MP3":  # which begins with a pause
        assert np.abs(samples.numpy() - TONE).max() < tolerance


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_channels_are_averaged(channels):
    sounds = np.stack([tone(200 * (1 + index), 0.1) for index in range(channels)], 1)
    samples, _ = read_samples(wav(sounds))
    assert samples.shape == (800,) and np.abs(samples.numpy() - sounds.mean(1)).max() < 1e-3


def cut(data: bytes, keep: float) -> bytes:
    return data[: round(len(data) * keep)]


def piped(data: bytes) -> bytes:
    """Return a WAV file that says nothing of its length, as programs write it to a pipe."""
    start, size = data.index(b"data") + 4, 0xFFFFFFFF
    return data[:4] + struct.pack("<I", size) + data[8:start] + struct.pack("<I", size) + data[start + 4 :]


NOT_FINITE = np.array([0.0, np.nan, 0.5])


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "the file is empty"),
        (b"RIFF", "no recording"),
        (b"hello, this is text" * 50, "no recording"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "no recording"),
        (wav(TONE)[:30], "damaged|no recording|no samples"),
        (wav(TONE[:0]), "no samples"),
        (encode(TONE[:0], "AIFF"), "no samples"),
        (cut(wav(TONE), 0.5), "incomplete: it has 39.. of 8000 bytes"),
        (wav(TONE)[:-1], "incomplete: it has 7999 of 8000 bytes"),
        (cut(encode(np.stack([TONE, TONE], 1), "WAV", "FLOAT"), 0.9), "incomplete"),
        (cut(encode(TONE, "AU"), 0.4), "incomplete: it has 3186 of 8000 bytes"),
        (cut(encode(TONE, "AIFF"), 0.4), "incomplete: it has 3... of 8008 bytes"),
        (cut(encode(TONE, "MP3"), 0.3), "the recording is damaged$"),
        (cut(encode(np.random.default_rng(0).random(20_000) - 0.5, "FLAC"), 0.6), "incomplete|damaged"),
        (encode(NOT_FINITE, "WAV", "FLOAT"), "NaN or infinite"),
        (encode(np.array([0.0, np.inf]), "WAV", "DOUBLE"), "NaN or infinite"),
        (wav(TONE, rate=500), "sample rate is 500 Hz"),
    ],
    ids=map(str, range(17)),
)
def test_files_that_are_refused(data, text):
    with pytest.raises(BadRow, match=text):
        read_samples(data)


def test_other_formats_are_told_from_damaged_files():
    for data in (b"hello" * 100, encode(TONE, "W64"), encode(TONE, "CAF")):
        with pytest.raises(UnknownFormat):
            read_header(data)
    with pytest.raises(BadRow, match="No such file") as raised:
        read_samples(Path("nothing.wav"))
    assert not isinstance(raised.value, UnknownFormat)


def test_a_wav_file_from_a_pipe_is_read_to_its_end():
    samples, _ = read_samples(piped(wav(TONE)))
    assert len(samples) == len(TONE)


@pytest.mark.parametrize("extra", [b"LIST" + struct.pack("<I", 5) + b"INFO1\0", b"junk" + struct.pack("<I", 0)])
def test_other_chunks_before_the_samples(extra):
    data = wav(TONE)
    start = data.index(b"data")
    data = data[:start] + extra + data[start:]
    data = data[:4] + struct.pack("<I", len(data) - 8) + data[8:]
    assert len(read_samples(data)[0]) == len(TONE)
    with pytest.raises(BadRow, match="incomplete"):
        read_samples(data[:-100])
