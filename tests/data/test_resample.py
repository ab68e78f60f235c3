"""Other sample rates: what is heard stays, what cannot be heard goes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from raysplit.data import resample as resampling
from raysplit.data.resample import resample
from tests.sounds import tone


def as_tensor(sound: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(sound).float()


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 44_099, 48_000, 96_000])
@pytest.mark.parametrize("wanted", [8_000, 16_000, 44_100])
def test_a_tone_stays_itself(rate, wanted):
    found = resample(as_tensor(tone(1_000, 0.2, rate)), rate, wanted)
    expected = tone(1_000, 0.3, wanted)[: len(found)]
    assert len(found) == math.ceil(round(0.2 * rate) * wanted / rate)
    edge = len(found) // 10
    assert np.abs(found.numpy() - expected)[edge:-edge].max() < 2e-3


@pytest.mark.parametrize(
    ("rate", "wanted", "hz"), [(44_100, 16_000, 9_000), (16_000, 8_000, 5_000), (48_000, 8_000, 20_000)]
)
def test_what_is_too_high_is_gone(rate, wanted, hz):
    found = resample(as_tensor(tone(hz, 0.2, rate)), rate, wanted)
    assert found[len(found) // 10 : -len(found) // 10].abs().max() < 1e-3


@pytest.mark.parametrize("length", [1, 2, 7, 70_001])
def test_any_length(length):
    found = resample(torch.ones(length), 3, 2)
    assert len(found) == math.ceil(length * 2 / 3) and found.isfinite().all()
    if length > 1000:
        assert (found[100:-100] - 1).abs().max() < 1e-5


@pytest.mark.parametrize(("rate", "wanted"), [(44_100, 16_000), (1_000_000, 4_000), (44_099, 44_100)])
def test_pieces_make_one_whole(rate, wanted, monkeypatch):
    """A recording needs little memory at any rate, since few products are computed at a time."""
    sound = torch.rand(rate // 20, generator=torch.Generator().manual_seed(0))
    whole = resample(sound, rate, wanted)
    monkeypatch.setattr(resampling, "_BLOCK", 100_000)
    resampling._taps.cache_clear()
    assert torch.allclose(resample(sound, rate, wanted), whole, atol=1e-6)


def test_the_same_rate_changes_nothing():
    sound = torch.rand(100)
    assert resample(sound, 16_000, 16_000) is sound
