"""Gaussian noise on the activations that cross: a level's `n50` (docs/privacy.md)."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

SECRET = "RAYSPLIT_NOISE_SECRET"
"""Environment variable of a device whose text goes into its noise: nobody who lacks it can subtract the noise."""


def add_noise(
    z: Tensor, percent: int, seed: int | None, channels: Sequence[int] | None = None, channel_dim: int = 1
) -> Tensor:
    """Return a code with Gaussian noise of `percent` of the standard deviation of what is sent, on the CPU.

    The result has no gradient, as what is compressed; the gradient of the noisy code is that of the code. At 0 percent
    it is `z` itself.

    Args:
        z: floating, of any shape, on any device.
        percent: standard deviation of the noise, in percent.
        seed: decides the noise, with the text in the environment variable `RAYSPLIT_NOISE_SECRET`; None: it is drawn
            anew, from the operating system's randomness.
        channels: indices of the channels that are sent; None: all.
        channel_dim: dimension of the channels.

    >>> z = torch.linspace(-1, 1, 1000)
    >>> noise = add_noise(z, 50, seed=7) - z
    >>> round((noise.std() / z.std()).item(), 1), torch.equal(add_noise(z, 50, seed=7) - z, noise)
    (0.5, True)
    """
    if not percent:
        return z
    x = z.detach().cpu()
    sent = x if channels is None else x.index_select(channel_dim, torch.tensor(list(channels)))
    noise = torch.from_numpy(_stream(seed).standard_normal(tuple(x.shape), dtype=np.float32))
    return (x.float() + sent.float().std(correction=0) * (percent / 100) * noise).to(x.dtype)


def _stream(seed: int | None) -> np.random.Generator:
    # Seeded by 256 bits: torch's generator takes 32 of a seed, few enough to try them all.
    if seed is None:
        return np.random.default_rng(secrets.randbits(256))
    text = repr(("noise", seed, os.environ.get(SECRET, "")))
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest(), "little"))
