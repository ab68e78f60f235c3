"""Recordings in files: what their header says, and their samples."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from raysplit.data.schema import BadRow
from raysplit.errors import MissingExtra

FORMATS = ("WAV", "WAVEX", "RF64", "FLAC", "AIFF", "AU", "OGG", "MP3")
"""libsndfile's names of the formats that are read."""
_BLOCK = 1 << 20
"""Frames that are read at a time: a header may promise more than there is memory for."""
_RATES = range(1_000, 1_000_001)
_UNRECOGNISED, _NO_FILE = 1, 7
"""libsndfile's numbers of errors."""
_NO_END = 1 << 40
"""Frames that no file has: the header of a stream does not say how many there are."""
_LOSSY = ("OGG", "MP3")
"""Formats whose number of frames libsndfile estimates."""
_UNKNOWN_SIZE = 0xFFFFFFFF
"""Of the samples in a file that was written to a pipe."""
_CHUNKED: dict[tuple[bytes, bytes], tuple[Literal["little", "big"], bytes]] = {
    (b"RIFF", b"WAVE"): ("little", b"data"),
    (b"FORM", b"AIFF"): ("big", b"SSND"),
    (b"FORM", b"AIFC"): ("big", b"SSND"),
}
"""How sizes are written, and the name of the chunk with the samples, by the first bytes of a file."""


class UnknownFormat(BadRow):
    """A file in none of the `FORMATS`."""


@dataclass(frozen=True)
class AudioHeader:
    """What the header of a recording says.

    >>> AudioHeader(44_100, channels=2, sample_rate=44_100).seconds
    1.0
    """

    frames: int
    """Samples of one channel."""
    channels: int
    sample_rate: int

    @property
    def seconds(self) -> float:
        return self.frames / self.sample_rate


def read_header(raw: bytes | Path) -> AudioHeader:
    """Return what the header of a recording says, without reading its samples; raises BadRow as `read_samples`."""
    with _open(_contents(raw)) as file:
        return AudioHeader(file.frames, file.channels, file.samplerate)


def read_samples(raw: bytes | Path) -> tuple[torch.Tensor, int]:
    """Return the samples of a recording as float32 (N,), full scale at ±1, the mean of its channels, and their rate.

    Raises BadRow for what is no recording, for one that is empty, incomplete or holds NaN, MissingExtra without the
    package soundfile.

    >>> file = io.BytesIO()
    >>> require_soundfile().write(file, np.zeros((400, 2)), 8_000, format="WAV")
    >>> samples, rate = read_samples(file.getvalue())
    >>> samples.shape, rate
    (torch.Size([400]), 8000)
    """
    data = _contents(raw)
    _check_length(data)
    blocks: list[np.ndarray] = []
    with _open(data) as file:
        frames, rate, kind = file.frames, file.samplerate, file.format
        try:
            while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
                blocks.append(block.mean(1, dtype=np.float32))
        except require_soundfile().LibsndfileError as err:
            raise _damaged(err) from None
    wave = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    if len(wave) < frames and kind not in _LOSSY:
        raise BadRow(f"the recording is incomplete: it ends after {len(wave)} of {frames} samples")
    if not len(wave):
        raise BadRow("the recording has no samples")
    if not np.isfinite(wave).all():
        raise BadRow("the recording holds samples that are NaN or infinite")
    return torch.from_numpy(wave), rate


def _contents(raw: bytes | Path) -> bytes:
    if isinstance(raw, bytes):
        return raw
    try:
        return raw.read_bytes()
    except OSError as err:
        raise BadRow(f"unreadable recording ({err.strerror})") from None


def _open(data: bytes) -> Any:
    """Return an open soundfile.SoundFile."""
    if not data:
        raise BadRow("the file is empty")
    soundfile = require_soundfile()
    try:
        file = soundfile.SoundFile(io.BytesIO(data))
    except soundfile.LibsndfileError as err:
        if err.code == _UNRECOGNISED:
            raise UnknownFormat("this is no recording; WAV, FLAC, AIFF, AU, OGG and MP3 files are read") from None
        raise _damaged(err) from None
    if file.format not in FORMATS:
        raise UnknownFormat(f"{file.format} is not read; convert the recording to WAV or FLAC")
    if not 0 <= file.frames < _NO_END:
        raise BadRow("its header does not say how long the recording is; save it again")
    if file.samplerate not in _RATES:
        raise BadRow(f"its sample rate is {file.samplerate} Hz; {_RATES[0]} to {_RATES[-1]} Hz are read")
    return file


def require_soundfile() -> Any:
    """Return the module soundfile; MissingExtra where it, or its libsndfile, is not installed."""
    try:
        import soundfile
    except (ImportError, OSError):
        raise MissingExtra.of("soundfile", "audio", "reading recordings") from None
    return soundfile


def _check_length(data: bytes) -> None:
    """Refuse a WAV, AIFF or AU file that ends before its samples do: libsndfile takes what there is for all."""
    if data[:4] == b".snd":
        start, size = (int.from_bytes(data[place : place + 4], "big") for place in (4, 8))
        _check_samples(data, start, size)
    kind = (data[:4], data[8:12])
    if kind not in _CHUNKED:
        return
    order, name = _CHUNKED[kind]
    position = 12
    while position + 8 <= len(data):
        size = int.from_bytes(data[position + 4 : position + 8], order)
        if data[position : position + 4] == name:
            return _check_samples(data, position + 8, size)
        position += 8 + size + size % 2


def _check_samples(data: bytes, start: int, size: int) -> None:
    if size != _UNKNOWN_SIZE and start + size > len(data):
        raise BadRow(f"the recording is incomplete: it has {len(data) - start} of {size} bytes of samples")


def _damaged(err: Any) -> BadRow:
    # Of a file in memory, libsndfile says that it does not exist.
    return BadRow("the recording is damaged" + (f" ({err.error_string})" if err.code != _NO_FILE else ""))
