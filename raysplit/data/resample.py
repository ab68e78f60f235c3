"""Another sample rate for a recording, by windowed-sinc interpolation.

Smith, "Digital Audio Resampling" (ccrma.stanford.edu/~jos/resample). Written here in torch: the packages that have it
(torchaudio, librosa, scipy) would be dependencies for this alone, and torchaudio's table of kernels takes gigabytes for
rates without a common divisor.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch

_ZERO_CROSSINGS = 16
"""Of the sinc on each side, under a Hann window."""
_ROLL_OFF = 0.95
"""Share of the lower rate's band that is kept; the filter falls in the rest."""
_BLOCK = 1 << 21
"""Products that are computed at a time, so that a recording of any rate needs little memory."""


def resample(wave: torch.Tensor, rate: int, wanted: int) -> torch.Tensor:
    """Return float32 samples (N,) of `rate` per second as (ceil(N · wanted / rate),) of `wanted` per second.

    What lies above half the lower rate is filtered out; the recording is taken to be silent before and after.

    >>> resample(torch.ones(441), rate=44_100, wanted=16_000).shape
    torch.Size([160])
    """
    if rate == wanted:
        return wave
    divisor = math.gcd(rate, wanted)
    rate, wanted = rate // divisor, wanted // divisor
    taps = _taps(rate, wanted)
    reach = taps.shape[1] // 2
    padded = torch.nn.functional.pad(wave, (reach, reach + 1))
    length = -(-len(wave) * wanted // rate)
    offsets = torch.arange(taps.shape[1])
    step = max(1, _BLOCK // len(offsets))
    blocks = []
    for first in range(0, length, step):
        place = torch.arange(first, min(first + step, length)) * rate
        start, phase = place // wanted, place % wanted
        blocks.append((padded[start[:, None] + offsets] * taps[phase]).sum(1))
    return torch.cat(blocks)


@lru_cache(maxsize=4)
def _taps(rate: int, wanted: int) -> torch.Tensor:
    """Return the filter at each phase between two samples, (wanted, taps): what surrounds a place, weighted."""
    cutoff = _ROLL_OFF * min(1.0, wanted / rate)
    reach = math.ceil(_ZERO_CROSSINGS / cutoff)
    places = torch.arange(-reach, reach + 1, dtype=torch.float64)
    blocks = []
    for phase in torch.arange(wanted, dtype=torch.float64).split(max(1, _BLOCK // len(places))):
        distance = places - phase[:, None] / wanted
        window = torch.cos(math.pi / 2 * (distance / (reach + 1)).clamp(-1, 1)) ** 2
        taps = torch.sinc(cutoff * distance) * window
        blocks.append((taps / taps.sum(1, keepdim=True)).float())
    return torch.cat(blocks)
