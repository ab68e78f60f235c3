"""How recordings become the pictures of sound that networks take."""

from __future__ import annotations

from math import log10
from typing import Annotated

from pydantic import Field, model_validator

from raysplit.utils.frozen import Frozen

_FEWEST_FRAMES, _MOST_FRAMES = 8, 8192
"""As many as an image has pixels in a row."""


def hz_to_mel(hz: float) -> float:
    """Return a frequency on the mel scale (O'Shaughnessy 1987): equal steps sound equally large.

    >>> round(hz_to_mel(1000))
    1000
    """
    return 2595 * log10(1 + hz / 700)


def mel_to_hz(mel: float) -> float:
    """Return the frequency in Hz of a place on the mel scale.

    >>> round(mel_to_hz(hz_to_mel(440)))
    440
    """
    return 700 * float(10 ** (mel / 2595) - 1)


class AudioConfig(Frozen):
    """How a recording is cut into chunks and each becomes a log-mel spectrogram: an image of one channel.

    It is in every record and bundle, so that whoever answers decodes as training did (docs/audio.md).

    >>> AudioConfig().shape, AudioConfig(seconds=3.0, n_mels=96).shape
    ((1, 64, 64), (1, 96, 188))
    """

    sample_rate: Annotated[int, Field(ge=4_000, le=192_000)] = 16_000
    """Samples per second that recordings are resampled to; half of it is the highest frequency seen."""
    seconds: Annotated[float, Field(gt=0, le=600)] = 1.024
    """Length of a chunk, rounded to whole frames: shorter recordings are padded with silence, longer ones cut."""
    n_mels: Annotated[int, Field(ge=8, le=512)] = 64
    """Bands of frequencies, equally wide on the mel scale: the image's height."""
    window_ms: Annotated[float, Field(gt=0, le=1_000)] = 32.0
    """Length of the piece of sound behind a frame, in milliseconds."""
    hop_ms: Annotated[float, Field(gt=0, le=1_000)] = 16.0
    """Milliseconds from one frame to the next: the image's width is `seconds` in these."""
    range_db: Annotated[float, Field(gt=0, le=120)] = 80.0
    """Decibels between black and white; white is the loudest place of the recording."""

    @property
    def hop(self) -> int:
        """`hop_ms` in samples."""
        return max(1, round(self.sample_rate * self.hop_ms / 1000))

    @property
    def window(self) -> int:
        """`window_ms` in samples."""
        return max(1, round(self.sample_rate * self.window_ms / 1000))

    @property
    def n_fft(self) -> int:
        """Points of the Fourier transform: a power of two, at least twice the window, so that no low band is empty."""
        return 1 << (2 * self.window - 1).bit_length()

    @property
    def frames(self) -> int:
        """Frames of a chunk."""
        return round(self.seconds * self.sample_rate / self.hop)

    @property
    def chunk(self) -> int:
        """Samples of a chunk."""
        return self.frames * self.hop

    @property
    def shape(self) -> tuple[int, int, int]:
        """(1, bands, frames): the shape of an image."""
        return 1, self.n_mels, self.frames

    def count_chunks(self, samples: int) -> int:
        """Return how many chunks a recording of `samples` at `sample_rate` has; less than a hop more makes none.

        >>> AudioConfig().count_chunks(16_000), AudioConfig().count_chunks(40_000)
        (1, 3)
        """
        return max(1, -(-(samples - self.hop) // self.chunk))

    @model_validator(mode="after")
    def _frames_fit(self) -> AudioConfig:
        if not _FEWEST_FRAMES <= self.frames <= _MOST_FRAMES:
            raise ValueError(
                f"seconds {self.seconds:g} are {self.frames} frames of hop_ms {self.hop_ms:g}; {_FEWEST_FRAMES} to "
                f"{_MOST_FRAMES} can be used: change one of them"
            )
        if self.hop > self.window:
            raise ValueError(
                f"hop_ms {self.hop_ms:g} is more than window_ms {self.window_ms:g}, so that no frame hears what lies "
                "between two windows; lower it"
            )
        step = hz_to_mel(self.sample_rate / 2) / (self.n_mels + 1)
        if mel_to_hz(2 * step) < self.sample_rate / self.n_fft:
            raise ValueError(
                f"n_mels {self.n_mels} are too many for window_ms {self.window_ms:g}: the lowest bands would be empty; "
                "lower n_mels, or make the window longer"
            )
        return self
