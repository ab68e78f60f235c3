"""The entropies of codes, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from raysplit.compress.quantizing_codec import QuantizingCodec
from raysplit.config import Level

HALVES = np.array([[[0, 0, 1, 1], [3, 3, 3, 3]]] * 8, np.uint8)
"""Two channels at 2 bits: one has two codes in equal shares, the other one code."""


@pytest.fixture
def entropy():
    import entropy

    return entropy


@pytest.mark.parametrize("level", ["all.b4/b4", "all.b2/b2.ch", "c3.b3/b3"])
def test_codes_are_read_from_messages(entropy, level):
    x = torch.randint(0, 2, (4, 5, 2, 3), generator=torch.Generator().manual_seed(0)).float()
    codec = QuantizingCodec(Level(level), "up")
    channels = (0, 2, 4) if codec.level.channels else None
    codes = entropy.read_codes(codec.compress(x, channels=channels))
    sent = x if channels is None else x[:, list(channels)]
    assert codes.shape == (4, sent.shape[1], 6)
    assert np.array_equal(codes > 0, sent.flatten(2).numpy() > 0) and codes.max() == 2**codec.bits - 1


@pytest.mark.parametrize(
    ("coder", "bits"),
    [
        ("packed", 2.0),
        ("entropy", 1.5),  # a half, and two quarters
        ("by channel", 0.5),  # one bit in one channel of two
        ("by neighbor", 0.5),  # a bit for the first of each row, and one after each 0
    ],
)
def test_bits_per_value(entropy, coder, bits):
    assert entropy.coders()[coder](HALVES, HALVES, 2) / HALVES.size == pytest.approx(bits)


def test_the_message_before_tells_nearly_as_much(entropy):
    many = np.tile(HALVES, (50, 1, 1))
    coder = entropy.coders()["before"]
    before = coder(many, many, 2) / many.size
    assert 0.5 < before < 0.51
    assert coder(many, 3 - many, 2) / many.size > 3
