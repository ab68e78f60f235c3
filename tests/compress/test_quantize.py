import struct

import numpy as np
import pytest
import torch

from raysplit.compress.quantize import channels_size, decode, decode_channels, encode, encode_channels, values_size
from raysplit.errors import CodecError

GRID = (1, 2, 3, 4, 5, 6, 7, 8)
BITS = (*GRID, 16, 32)
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
LARGEST = float(np.finfo(np.float32).max)


def noise(seed=0):
    return np.random.Generator(np.random.SFC64(seed))


def randn(count, dtype=torch.float32, seed=0):
    return torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def round_trip(x, bits, generator=None):
    data = encode(x, bits, generator)
    assert len(data) == values_size(len(x), bits)
    y = decode(data, len(x), bits, x.dtype)
    assert y.dtype == x.dtype and y.shape == x.shape
    return y


def bound(x, bits, stochastic=False):
    """Return the largest error allowed per value: that of the grid, of float32 and of the tensor's own dtype."""
    x = x.double()
    top = float(x.abs().max()) if len(x) else 0.0
    if bits == 16:
        # Values 2**-27 of the largest and below are fp16 subnormals: there the error is absolute.
        return (x.abs() * 2**-10).clamp(min=top * 2**-38)
    step = float(x.max() - x.min()) / ((1 << bits) - 1) if len(x) else 0.0
    if step < 1.2e-38:
        return torch.full_like(x, step * ((1 << bits) - 1))
    return torch.full_like(x, (step if stochastic else step / 2) * (1 + 1e-3) + top * 2**-21)


def assert_close(x, y, bits, stochastic=False):
    slack = torch.finfo(x.dtype).eps * x.double().abs().max() if len(x) else 0.0
    error = (x.double() - y.double()).abs()
    assert (error <= bound(x, bits, stochastic) + slack).all(), float((error - bound(x, bits, stochastic)).max())


VALUES = {
    "empty": torch.zeros(0, dtype=torch.float64),
    "one": torch.tensor([-1.25], dtype=torch.float64),
    "normal": randn(1001, torch.float64),
    "zeros": torch.zeros(9, dtype=torch.float64),
    "constant": torch.full((9,), 0.3125, dtype=torch.float64),
    "offset": 1000 + randn(99, torch.float64),
    "signed zeros": torch.tensor([0.0, -0.0, 1.0, -1.0], dtype=torch.float64),
    "skewed": randn(200, torch.float64).pow(9),
    "small": randn(99, torch.float64) * 1e-4,
}


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("bits", BITS)
def test_error(bits, dtype, name):
    x = VALUES[name].to(dtype)
    y = round_trip(x, bits)
    if bits == 32:
        assert y.equal(x.float().to(dtype))
    elif bits == 16 and dtype.itemsize == 2:
        assert y.view(torch.int16).equal(x.view(torch.int16))
    else:
        assert_close(x, y, bits)
    if name in ("zeros", "constant", "one"):
        assert y.equal(x), "a constant is exact at any width"
    if bits < 16:
        assert_close(x, round_trip(x, bits, noise()), bits, stochastic=True)


@pytest.mark.parametrize(
    "x",
    [
        torch.tensor([3e38, -3e38, 1.0]),
        torch.tensor([0.0, LARGEST]),
        torch.tensor([-LARGEST, LARGEST, 0.0, 1e38]),
        torch.linspace(-LARGEST / 3, LARGEST / 3 * 2, 65, dtype=torch.float64).float(),
        torch.linspace(0, LARGEST / 2, 65),
        torch.tensor([1e-35, 3e-36, -2e-36]),
        torch.tensor([1.2e-38, -1.2e-38, 0.0]),
        torch.tensor([1e-45, 3e-45, -4e-45, 0.0]),
        torch.tensor([1e-40, 2e-40]),
        torch.tensor([1e30, 1e-30]),
    ],
    ids=["3e38", "0..max", "-max..max", "third", "half", "1e-35", "least normal", "denormal", "1e-40", "both"],
)
@pytest.mark.parametrize("bits", BITS)
def test_ranges_at_the_ends_of_float32(bits, x):
    if bits == 16:
        x = x.clamp(-3.4e38, 3.4e38)  # the last 2**-12 of the range rounds to 2**128 in an fp16's 11 bits
    for generator in (None, noise()) if bits < 16 else (None,):
        y = round_trip(x, bits, generator)
        assert y.isfinite().all()
        assert_close(x, y, bits, stochastic=generator is not None)
    if bits == 32:
        assert y.equal(x)


@pytest.mark.parametrize("bits", GRID)
def test_extremes_are_codes(bits):
    x = torch.tensor([-2.0, 0.1, 6.0])
    y = round_trip(x, bits)
    assert y[0] == -2.0 and y[2] == pytest.approx(6.0, rel=1e-6)
    assert round_trip(y, bits).tolist() == pytest.approx(y.tolist(), rel=1e-6), "what a grid made, it keeps"


def test_nearest_by_hand():
    """Range 0..3 at 2 bits: the grid is 0, 1, 2, 3."""
    x = torch.tensor([0.0, 0.4, 0.6, 1.4, 1.6, 3.0])
    assert round_trip(x, 2).tolist() == [0, 0, 1, 1, 2, 3]
    assert encode(x, 2)[:8] == struct.pack("<2f", 0, 3)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("bad", [[float("nan")], [float("inf")], [float("-inf"), float("nan"), float("inf")]], ids=str)
def test_nan_and_inf(bad, dtype):
    x = torch.cat([torch.tensor(bad, dtype=torch.float64), randn(7, torch.float64)]).to(dtype)
    for bits in GRID:
        for generator in (None, noise()):
            with pytest.raises(CodecError, match=rf"^{len(bad)} of {len(x)} values are NaN or infinite .*{bits}-bit"):
                encode(x, bits, generator)
    for bits in (16, 32):
        y = round_trip(x, bits)
        assert y[: len(bad)].equal(x[: len(bad)]) or x[: len(bad)].isnan().any()
        assert y.isnan().equal(x.isnan()) and y.isposinf().equal(x.isposinf()) and y.isneginf().equal(x.isneginf())
        assert_close(x[len(bad) :], y[len(bad) :], 16)


def test_bit_for_bit():
    """NaN payloads and -0.0 pass where the width on the wire is the dtype's own."""
    words = torch.tensor([0x7FC00001, 0x7F800000, -0x80000000, -0x400000, 1], dtype=torch.int64).to(torch.int32)
    x = words.view(torch.float32)
    assert round_trip(x, 32).view(torch.int32).equal(words)
    halves = torch.arange(-(1 << 15), 1 << 15, dtype=torch.int32).to(torch.int16)
    for dtype in (torch.float16, torch.bfloat16):
        assert round_trip(halves.view(dtype), 16).view(torch.int16).equal(halves)
    for bits in (16, 32):
        assert torch.signbit(round_trip(torch.tensor([-0.0, 1.0]), bits)).tolist() == [True, False]


def test_all_bad_at_16_bits():
    x = torch.tensor([float("nan"), float("inf")])
    y = round_trip(x, 16)
    assert y[0].isnan() and y[1].isposinf()


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_stochastic_rounding_is_unbiased(bits):
    """A draw's variance is step²·f(1−f) ≤ step²/4; the mean of n draws is within 5σ, plus 1/512 of a step."""
    x, draws = randn(64), 1000
    step = float(x.max() - x.min()) / ((1 << bits) - 1)
    mean = torch.stack([round_trip(x, bits, noise(seed)) for seed in range(draws)]).double().mean(0)
    allowed = 5 * step / (2 * draws**0.5) + step / 512
    assert (mean - x).abs().max() < allowed
    assert (round_trip(x, bits) - x).abs().max() > allowed, "the bound tells it from rounding to the nearest"


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_stochastic_rounding_depends_on_the_seed_alone(bits):
    x = randn(500)
    assert encode(x, bits, noise(3)) == encode(x, bits, noise(3))
    assert encode(x, bits, noise(3)) != encode(x, bits, noise(4))
    assert encode(x, bits) == encode(x, bits)


@pytest.mark.parametrize("bits", BITS)
def test_input_is_left_alone(bits):
    x = randn(33).requires_grad_()
    before = x.detach().clone()
    data = encode(x, bits)
    assert x.detach().equal(before)
    y = decode(memoryview(data), 33, bits, torch.float32)
    y.zero_()
    assert encode(x, bits) == data, "a decoded tensor owns its memory"


def test_half_flag_in_a_wider_tensor():
    """Scale 0 marks raw 16-bit values; in a float32 tensor they are read as fp16."""
    data = struct.pack("<f2e", 0.0, 1.5, -2.0)
    assert decode(data, 2, 16, torch.float32).tolist() == [1.5, -2.0]


def channels_round_trip(x, channel_dim, bits, generator=None):
    data = encode_channels(x, channel_dim, bits, generator)
    assert len(data) == channels_size(x.numel(), x.shape[channel_dim], bits)
    y = decode_channels(memoryview(data), x.shape, channel_dim, bits, x.dtype)
    assert y.dtype == x.dtype and y.shape == x.shape
    return y


CHANNELS = {
    "image": (randn(4 * 5 * 3 * 3, torch.float64).reshape(4, 5, 3, 3), 1),
    "tokens": (randn(4 * 7 * 5, torch.float64).reshape(4, 7, 5), 2),
    "flat": (randn(20, torch.float64).reshape(4, 5), 1),
    "transposed": (randn(4 * 5 * 6, torch.float64).reshape(5, 4, 6).transpose(0, 1), 1),
    "first": (randn(30, torch.float64).reshape(5, 6), 0),
}


@pytest.mark.parametrize("name", CHANNELS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("bits", GRID)
def test_error_per_channel(bits, dtype, name):
    """Channels of sizes 1e-3 to 1e3, one of them constant: each keeps within the error of its own grid."""
    x, dim = CHANNELS[name]
    sizes = torch.tensor([1e-3, 1.0, 0.0, 30.0, 1e3], dtype=torch.float64)
    x = (x * sizes.view([-1 if d == dim else 1 for d in range(x.ndim)]) + 0.25).to(dtype)
    for generator in (None, noise()):
        y = channels_round_trip(x, dim, bits, generator)
        for channel in range(5):
            pair = (t.select(dim, channel).flatten() for t in (x, y))
            assert_close(*pair, bits, stochastic=generator is not None)
        assert y.select(dim, 2).equal(x.select(dim, 2)), "a constant is exact at any width"


@pytest.mark.parametrize("bits", GRID)
def test_one_channel_is_the_whole_tensor(bits):
    x = randn(60)
    for shape, dim in (((60, 1), 1), ((1, 60), 0), ((5, 1, 12), 1)):
        for seed in (None, 4):
            generators = [None if seed is None else noise(seed) for _ in range(2)]
            assert encode_channels(x.reshape(shape), dim, bits, generators[0]) == encode(x, bits, generators[1])


def test_channels_by_hand():
    """Ranges 0..3 and -30..0 at 2 bits: the grids are 0, 1, 2, 3 and -30, -20, -10, 0."""
    x = torch.tensor([[0.0, -30.0], [0.6, -12.0], [3.0, 0.0]])
    assert channels_round_trip(x, 1, 2).tolist() == [[0, -30], [1, -10], [3, 0]]
    assert encode_channels(x, 1, 2)[:16] == struct.pack("<4f", 0, 3, -30, 0)


@pytest.mark.parametrize("bits", GRID)
def test_channels_at_the_ends_of_float32(bits):
    x = torch.tensor([[-LARGEST, 1e-45, 1e-20, 0.0], [LARGEST, -3e-45, 3e-20, 1.0], [1e38, 0.0, 0.0, 0.3]])
    for generator in (None, noise()):
        y = channels_round_trip(x, 1, bits, generator)
        assert y.isfinite().all()
        for channel in range(4):
            assert_close(x[:, channel], y[:, channel], bits, stochastic=generator is not None)


@pytest.mark.parametrize("shape", [(0, 3, 2), (2, 3, 0)])
def test_channels_without_values(shape):
    assert channels_round_trip(torch.zeros(shape), 1, 4).shape == shape
    assert encode_channels(torch.zeros(shape), 1, 4) == bytes(24)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_nan_and_inf_in_a_channel(bad):
    x = randn(24).reshape(2, 3, 4)
    x[0, 1, 2] = bad
    with pytest.raises(CodecError, match="^1 of 24 values are NaN or infinite .*4-bit"):
        encode_channels(x, 1, 4)


def test_stochastic_rounding_per_channel_is_unbiased():
    """As for a whole tensor: within 5σ of each channel's own step, plus 1/512 of it."""
    x, draws = randn(48).reshape(2, 4, 6) * torch.tensor([0.1, 1.0, 10.0, 100.0]).view(1, 4, 1), 600
    step = (x.amax((0, 2)) - x.amin((0, 2))).view(1, 4, 1) / 3
    mean = torch.stack([channels_round_trip(x, 1, 2, noise(s)) for s in range(draws)]).double().mean(0)
    assert ((mean - x).abs() < step * (5 / (2 * draws**0.5) + 1 / 512)).all()
