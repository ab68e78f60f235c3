"""One recording, from whatever a source, a request or a user holds, to the spectrograms of its chunks."""

from __future__ import annotations

from pathlib import Path

import torch

from raysplit.config import AudioConfig
from raysplit.data.audio_file import AudioHeader, read_samples
from raysplit.data.mel import log_mel, to_pixels
from raysplit.data.resample import resample
from raysplit.data.schema import BadRow, Pixels


def decode_audio(raw: object, audio: AudioConfig) -> Pixels:
    """Return uint8 spectrograms (K, 1, bands, frames) of a recording's K chunks, in order.

    `raw` is an encoded recording, or the path of one. Channels are averaged, the sample rate is changed to
    `audio.sample_rate`, and a recording shorter than a chunk is padded with silence at its end; a longer one has as
    many chunks as cover it, evenly spaced, the last at its end. Raises BadRow for anything else, MissingExtra without
    the package soundfile.
    """
    if raw is None:
        raise BadRow("there are no bytes of a recording")
    if not isinstance(raw, bytes | Path):
        raise BadRow(f"a {type(raw).__name__} is not a recording; give the bytes or the path of a file")
    wave, rate = read_samples(raw)
    chunks = cut_chunks(resample(wave, rate, audio.sample_rate), audio)
    return to_pixels(log_mel(chunks, audio), audio.range_db).numpy()


def cut_chunks(wave: torch.Tensor, audio: AudioConfig) -> torch.Tensor:
    """Return the chunks (K, audio.chunk) of samples (N,).

    >>> config = AudioConfig()
    >>> cut_chunks(torch.zeros(100), config).shape, cut_chunks(torch.zeros(2 * config.chunk + 300), config).shape
    (torch.Size([1, 16384]), torch.Size([3, 16384]))
    """
    size, count = audio.chunk, audio.count_chunks(len(wave))
    if len(wave) < size:
        return torch.nn.functional.pad(wave, (0, size - len(wave)))[None]
    starts = [round(index * (len(wave) - size) / max(count - 1, 1)) for index in range(count)]
    return torch.stack([wave[start : start + size] for start in starts])


def count_chunks(header: AudioHeader, audio: AudioConfig) -> int:
    """Return how many chunks `decode_audio` makes of a recording, from its header alone.

    >>> count_chunks(AudioHeader(frames=44_100, channels=2, sample_rate=44_100), AudioConfig())
    1
    """
    return audio.count_chunks(-(-header.frames * audio.sample_rate // header.sample_rate))
