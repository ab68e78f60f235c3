"""Spectrograms: tones are where they should be, and loudness as a whole does not matter."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from raysplit.config import AudioConfig
from raysplit.config.audio import hz_to_mel
from raysplit.data.mel import log_mel, mel_bands, to_pixels
from tests.sounds import tone

CONFIGS = [
    AudioConfig(),
    AudioConfig(sample_rate=8_000, seconds=0.5, n_mels=40),
    AudioConfig(sample_rate=44_100, n_mels=128, hop_ms=10),
    AudioConfig(sample_rate=22_050, seconds=3, n_mels=96, window_ms=46, hop_ms=23),
]


def spectrogram(hz: float, config: AudioConfig, loudness: float = 0.3) -> torch.Tensor:
    sound = tone(hz, config.chunk / config.sample_rate, config.sample_rate, loudness)[: config.chunk]
    return log_mel(torch.from_numpy(sound).float()[None], config)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("hz", [150, 440, 1_500, 3_300])
def test_a_tone_is_in_its_band(config, hz):
    found = spectrogram(hz, config)
    assert found.shape == (1, *config.shape[1:])
    step = hz_to_mel(config.sample_rate / 2) / (config.n_mels + 1)
    expected = hz_to_mel(hz) / step - 1
    assert abs(found[0].mean(1).argmax() - expected) <= 1


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_no_band_is_empty_and_neighbours_add_up_to_one(config):
    bands = mel_bands(config.n_mels, config.n_fft, config.sample_rate)
    assert (bands.sum(1) > 0).all() and bands.min() == 0 and bands.max() <= 1
    inner = bands[:, bands[0].argmax() + 1 : bands[-1].argmax()]
    assert inner.sum(0) == pytest.approx(torch.ones(inner.shape[1]), abs=1e-4)


def test_a_full_scale_tone_is_about_0_db():
    loudest = spectrogram(1_000, AudioConfig(), loudness=1.0).max()
    assert -3 < float(loudest) < 0.1
    assert float(loudest - spectrogram(1_000, AudioConfig(), loudness=0.1).max()) == pytest.approx(20, abs=0.1)


def test_loudness_as_a_whole_does_not_matter():
    sound = torch.from_numpy(tone(500, 1.024, 16_000) + 0.01 * np.random.default_rng(0).standard_normal(16_384)).float()
    loud, quiet = (to_pixels(log_mel(scale * sound[None], AudioConfig()), 80.0) for scale in (1.0, 0.03))
    assert loud.dtype == torch.uint8 and loud.shape == (1, 1, 64, 64) and loud.max() == 255
    assert (loud.int() - quiet.int()).abs().max() <= 1


@pytest.mark.parametrize("level", [0.0, 1e-6])
def test_silence_is_dark(level):
    noise = level * torch.randn(1, 16_384, generator=torch.Generator().manual_seed(0))
    assert to_pixels(log_mel(noise, AudioConfig()), 80.0).max() <= 130
    assert to_pixels(log_mel(torch.zeros(3, 16_384), AudioConfig()), 40.0).unique().tolist() == [0]
