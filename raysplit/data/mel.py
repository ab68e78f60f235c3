"""Log-mel spectrograms.

Mel bands by torch alone: torchaudio, which has them, is tied to one release of torch, and librosa brings numba.
"""

from __future__ import annotations

from functools import lru_cache

import torch

from raysplit.config.audio import AudioConfig, hz_to_mel, mel_to_hz

_SILENCE = 1e-20
"""Power below which everything is equally silent: −200 dB of full scale, black whatever the range."""
_QUIETEST_WHITE = -60.0
"""Decibels of full scale: a recording that is quieter throughout is not brightened any further."""


def log_mel(chunks: torch.Tensor, audio: AudioConfig) -> torch.Tensor:
    """Return the power in each band and frame, in decibels of a full-scale sine: (K, bands, frames) of (K, samples).

    Frame t is the Hann window around sample t · hop. Band 0 is the lowest.

    >>> log_mel(torch.zeros(2, AudioConfig().chunk), AudioConfig()).unique()
    tensor([-200.])
    """
    window = torch.hann_window(audio.window)
    spectrum = torch.stft(
        chunks, audio.n_fft, audio.hop, audio.window, window, center=True, pad_mode="constant", return_complex=True
    )
    # By Parseval's theorem, so that a sine's power is 1 in all its bins together.
    power = 4 / (audio.n_fft * window.square().sum()) * spectrum[..., : audio.frames].abs().square()
    return 10 * (mel_bands(audio.n_mels, audio.n_fft, audio.sample_rate) @ power).clamp_min(_SILENCE).log10()


def to_pixels(decibels: torch.Tensor, range_db: float) -> torch.Tensor:
    """Return spectrograms (K, bands, frames) of one recording as uint8 images (K, 1, bands, frames).

    Its loudest place is 255, and what is `range_db` below it, 0: how loud the recording is as a whole does not matter.

    >>> to_pixels(torch.tensor([[[-10.0, -50.0, -100.0]]]), range_db=80).tolist()
    [[[[255, 128, 0]]]]
    """
    white = max(float(decibels.max()), _QUIETEST_WHITE)
    share = ((decibels - white) / range_db + 1).clamp(0, 1)
    return (255 * share).round().to(torch.uint8).unsqueeze(1)


@lru_cache(maxsize=8)
def mel_bands(n_mels: int, n_fft: int, sample_rate: int) -> torch.Tensor:
    """Return how much of each frequency of a Fourier transform belongs to each band, float32 (bands, n_fft / 2 + 1).

    The bands are triangles that peak at 1, each from its lower neighbour's peak to its upper neighbour's, equally wide
    on the mel scale from 0 Hz to half the sample rate.

    >>> mel_bands(64, 1024, 16_000).shape
    torch.Size([64, 513])
    """
    step = hz_to_mel(sample_rate / 2) / (n_mels + 1)
    corners = torch.tensor([mel_to_hz(step * index) for index in range(n_mels + 2)], dtype=torch.float64)
    low, peak, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    hz = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1, dtype=torch.float64)
    return torch.minimum((hz - low) / (peak - low), (high - hz) / (high - peak)).clamp_min(0).float()
