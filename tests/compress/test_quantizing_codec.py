import itertools
import math

import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from raysplit.compress.quantizing_codec import QuantizingCodec, extract, positions
from raysplit.config import Level
from raysplit.errors import CodecError, WireError
from raysplit.wire.message import Kind, Message, parse
from tests.examples import examples

BITS = (1, 2, 3, 4, 5, 6, 7, 8, 16, 32)
ENTROPY = ("none", "zstd")
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def randn(*shape, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


# name: (maker of a tensor, its channel dimension)
TENSORS = {
    "scalar": (lambda d: randn(dtype=d), 1),
    "empty": (lambda d: randn(0, dtype=d), 1),
    "empty batch": (lambda d: randn(0, 8, 4, 4, dtype=d), 1),
    "flat": (lambda d: randn(3, 8, dtype=d), 1),
    "one channel": (lambda d: randn(3, 1, 2, 2, dtype=d), 1),
    "image": (lambda d: randn(2, 8, 4, 4, dtype=d), 1),
    "transposed": (lambda d: randn(8, 2, 4, 5, dtype=d).transpose(0, 1), 1),
    "strided": (lambda d: randn(4, 8, 8, 5, dtype=d)[::2, :, ::2], 1),
    "channels_last": (lambda d: randn(2, 8, 4, 4, dtype=d).to(memory_format=torch.channels_last), 1),
    "tokens": (lambda d: randn(2, 5, 9, dtype=d), 2),
    "nhwc": (lambda d: randn(2, 4, 3, 8, dtype=d), 3),
}


def codec(bits, direction="up", channel_dim=1, channels=None, entropy="none"):
    return QuantizingCodec(
        Level(channels=channels, up_bits=bits, down_bits=bits, entropy=entropy), direction, channel_dim
    )


def over_the_wire(message):
    data = message.to_bytes()
    assert message.size == len(data)
    return parse(data)


def largest_error(x, bits, direction):
    """Return the error allowed for standard normal values, float and dtype rounding included."""
    if not x.numel():
        return 0.0
    top = x.double().abs().max()
    slack = top * (torch.finfo(x.dtype).eps + 2**-21)
    if bits >= 16:
        return top * 2**-10 if bits == 16 else slack
    step = (x.double().max() - x.double().min()) / ((1 << bits) - 1)
    return step * (1 if direction == "down" else 0.5) * (1 + 1e-3) + slack


@pytest.mark.parametrize("name", TENSORS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("bits", BITS)
def test_round_trip_and_size(bits, dtype, name):
    make, channel_dim = TENSORS[name]
    x = make(dtype)
    levels = [None] if x.ndim <= channel_dim else [None, 1, 4]
    for direction, entropy, channels in itertools.product(("up", "down"), ("none", "zstd"), levels):
        this = codec(bits, direction, channel_dim, channels, entropy)
        kept = None
        if channels is not None and channels < x.shape[channel_dim]:
            kept = tuple(range(x.shape[channel_dim] - channels, x.shape[channel_dim]))
        message = over_the_wire(this.compress(x, batch=7, channels=kept, seed=5))
        message.expect(Kind.ACTIVATION if direction == "up" else Kind.GRADIENT, 7, tuple(x.shape))

        estimate = this.estimate(x.shape)
        assert estimate.exact == (entropy == "none")
        assert message.size == estimate.bytes if estimate.exact else message.size <= estimate.bytes

        y = extract(message)
        assert y.dtype == x.dtype and y.shape == x.shape
        mask = torch.ones(x.shape, dtype=torch.bool)
        if kept is not None:
            mask = torch.zeros(x.shape, dtype=torch.bool)
            mask.movedim(channel_dim, 0)[list(kept)] = True
        assert (y[~mask] == 0).all()
        sent = x[mask]
        if bits == 32 or (bits == 16 and dtype.itemsize == 2):
            assert y[mask].equal(sent.float().to(dtype))
        else:
            assert ((y[mask].double() - sent.double()).abs() <= largest_error(sent, bits, direction)).all()


@pytest.mark.parametrize("bits", BITS)
def test_layout_does_not_matter(bits):
    """A tensor and its contiguous copy make the same message."""
    for name in ("transposed", "strided", "channels_last"):
        x = TENSORS[name][0](torch.float32)
        assert not x.is_contiguous()
        assert (
            codec(bits).compress(x, channels=(1, 2)).body == codec(bits).compress(x.contiguous(), channels=(1, 2)).body
        )


@pytest.mark.parametrize(("channel_dim", "shape"), [(1, (2, 8, 3, 3)), (2, (2, 5, 8)), (3, (2, 4, 3, 8)), (1, (4, 8))])
@pytest.mark.parametrize("kept", [(0,), (7,), (1, 3, 6), tuple(range(8))], ids=str)
def test_kept_channels(kept, channel_dim, shape):
    x = randn(*shape) + 10
    message = over_the_wire(codec(32, channel_dim=channel_dim).compress(x, channels=kept))
    assert message.channels == kept and message.channel_dim == channel_dim
    y = extract(message)
    for channel in range(8):
        expected = x.select(channel_dim, channel) if channel in kept else torch.zeros(())
        assert (y.select(channel_dim, channel) == expected).all()


def test_grid_spans_the_kept_channels_only():
    x = torch.stack([torch.linspace(0, 1, 16), torch.linspace(-1000, 1000, 16)])[None]
    y = extract(codec(8).compress(x, channels=[0]))
    assert (y[0, 0] - x[0, 0]).abs().max() <= 0.5 / 255 * 1.001
    assert (y[0, 1] == 0).all()


def test_directions():
    """Activations are rounded to the nearest code whatever the seed, gradients by the seed."""
    x = randn(2, 8, 4, 4)
    bodies = {d: [codec(4, d).compress(x, seed=seed).body for seed in (1, 1, 2)] for d in ("up", "down")}
    assert len(set(bodies["up"])) == 1
    assert bodies["down"][0] == bodies["down"][1] != bodies["down"][2]
    mixed = Level(up_bits=2, down_bits=8)
    assert (QuantizingCodec(mixed, "up").bits, QuantizingCodec(mixed, "down").bits) == (2, 8)
    assert (QuantizingCodec(mixed, "up").compress(x).bits, QuantizingCodec(mixed, "down").compress(x).bits) == (2, 8)


def test_gradient_mean_survives():
    """Mean over n seeds: within 5σ of x, σ ≤ step/(2√n), plus the 1/512 step of the dither."""
    x, draws = randn(2, 4, 3), 600
    step = float(x.max() - x.min()) / 3
    mean = torch.stack([extract(codec(2, "down").compress(x, seed=s)) for s in range(draws)]).double().mean(0)
    assert (mean - x).abs().max() < 5 * step / (2 * draws**0.5) + step / 512


@pytest.mark.parametrize("bits", BITS)
def test_nan_and_inf(bits):
    x = randn(2, 3, 4)
    x[0, 0, 0], x[1, 2, 3] = float("nan"), float("inf")
    if bits <= 8:
        with pytest.raises(CodecError, match=r"^2 of 24 values are NaN or infinite"):
            codec(bits).compress(x)
        assert extract(codec(bits).compress(x, channels=[1])).isfinite().all(), "what is not sent cannot hurt"
    else:
        y = extract(over_the_wire(codec(bits).compress(x)))
        assert y.isnan().equal(x.isnan()) and y.isinf().equal(x.isinf())


def test_entropy_only_if_it_helps():
    flat, short = torch.zeros(1, 4, 64), randn(1, 4, 1)
    squeezed, raw = (codec(32, entropy="zstd").compress(x) for x in (flat, short))
    assert squeezed.zstd and squeezed.size < 100 and extract(over_the_wire(squeezed)).equal(flat)
    assert not raw.zstd and len(raw.body) == 4 * 4
    assert not codec(32).compress(flat).zstd


def test_compress_leaves_the_tensor_and_graph_alone():
    x = randn(2, 8, 4, 4).requires_grad_()
    before = x.detach().clone()
    y = extract(codec(4, "down").compress(x, channels=[2]))
    assert not y.requires_grad and x.detach().equal(before)


@st.composite
def cases(draw):
    """Any level of the stages together, a tensor for it, its channel dimension and the channels to keep."""
    shape = draw(st.lists(st.integers(1, 5), min_size=2, max_size=4))
    shape[0] = draw(st.integers(0, 4))
    channel_dim = draw(st.integers(1, len(shape) - 1))
    channels = draw(st.none() | st.integers(1, shape[channel_dim]))
    kept, sent = None, list(shape[1:])
    if channels is not None and channels < shape[channel_dim]:
        sent[channel_dim - 1] = channels
        kept = tuple(sorted(draw(st.permutations(range(shape[channel_dim])))[:channels]))
    bits = st.sampled_from(BITS)
    fields = dict(channels=channels, up_bits=draw(bits), down_bits=draw(bits), entropy=draw(st.sampled_from(ENTROPY)))
    if draw(st.booleans()):
        fields |= dict(top=draw(st.integers(1, math.prod(sent))), top_random=draw(st.sampled_from([0, 10, 99])))
    elif min(fields["up_bits"], fields["down_bits"]) <= 8:
        fields |= dict(per_channel=draw(st.booleans()))
    dtype = draw(st.sampled_from(DTYPES))
    return Level(**fields), randn(*shape, dtype=dtype), channel_dim, kept


def assert_as_estimated(this, message, shape):
    estimate = this.estimate(shape)
    assert estimate.exact == (this.level.entropy == "none")
    assert message.size == estimate.bytes if estimate.exact else message.size <= estimate.bytes


def assert_within(x, y, bits, direction):
    """All values that share a range are within its error."""
    if bits == 32 or (bits == 16 and x.dtype.itemsize == 2):
        assert y.equal(x.float().to(x.dtype))
    else:
        assert ((y.double() - x.double()).abs() <= largest_error(x, bits, direction)).all()


@examples(400)
@given(cases(), st.integers(0, 2**40))
def test_every_combination_of_stages(case, seed):
    """Both directions of one exchange: bytes, zeros and errors are what the level says."""
    level, x, channel_dim, kept = case
    up, down = (QuantizingCodec(level, direction, channel_dim) for direction in ("up", "down"))
    activation = over_the_wire(up.compress(x, 3, kept, seed))
    mask = positions(activation)
    gradient = over_the_wire(down.compress(x, 3, kept, seed, mask))
    channels = list(range(x.shape[channel_dim])) if kept is None else list(kept)
    sent = x.movedim(channel_dim, 0)[channels].movedim(0, channel_dim)
    for this, message, known in ((up, activation, None), (down, gradient, mask)):
        assert_as_estimated(this, message, x.shape)
        assert message.per_channel == (level.per_channel and this.bits <= 8)
        y = extract(message, known)
        assert y.dtype == x.dtype and y.shape == x.shape
        rest = [i for i in range(x.shape[channel_dim]) if i not in channels]
        assert not y.movedim(channel_dim, 0)[rest].any()
        y = y.movedim(channel_dim, 0)[channels].movedim(0, channel_dim)
        if mask is not None:
            assert not y[~mask].any()
            assert_within(sent[mask], y[mask], this.bits, this.direction)
        elif message.per_channel:
            for i in range(len(channels)):
                assert_within(sent.select(channel_dim, i), y.select(channel_dim, i), this.bits, this.direction)
        else:
            assert_within(sent, y, this.bits, this.direction)


def test_top_k_by_hand():
    """Two samples, k = 2, fp32: a bitmap of one byte and four values."""
    x = torch.tensor([[1.0, -5.0, 2.0, 4.0], [0.0, 0.5, -0.25, 0.0]])
    message = over_the_wire(QuantizingCodec(Level(top=2), "up").compress(x))
    assert bytes(message.body) == bytes([0b01101010]) + torch.tensor([-5.0, 4.0, 0.5, -0.25]).numpy().tobytes()
    assert extract(message).tolist() == [[0, -5, 0, 4], [0, 0.5, -0.25, 0]]
    assert message.size == 27 + 4 * 2 + 4 + 1 + 16


def test_top_k_is_chosen_among_the_channels_kept():
    x = randn(3, 6, 4, 4)
    x[:, 1] *= 1000
    level = Level(channels=2, top=5, up_bits=4, entropy="zstd")
    message = over_the_wire(QuantizingCodec(level, "up").compress(x, channels=(0, 4)))
    mask = positions(message)
    assert mask.shape == (3, 2, 4, 4) and mask.flatten(1).sum(1).tolist() == [5] * 3
    y = extract(message)
    assert y[:, 1].abs().max() == 0
    grid = float(x[:, [0, 4]][mask].max() - x[:, [0, 4]][mask].min()) / 15
    assert (y[:, [0, 4]][mask] - x[:, [0, 4]][mask]).abs().max() <= grid / 2 * 1.001, "the grid is over values sent"


def test_gradient_of_top_k_has_no_bitmap():
    x, g = randn(4, 8, 5, 5), randn(4, 8, 5, 5) * 1e-4
    up, down = (QuantizingCodec(Level(top=10, up_bits=8, down_bits=8), direction) for direction in ("up", "down"))
    activation = over_the_wire(up.compress(x, batch=9))
    mask = positions(activation)
    gradient = over_the_wire(down.compress(g, batch=9, mask=mask))
    assert len(gradient.body) == 8 + 4 * 10 and len(activation.body) == 4 * 8 * 25 // 8 + 8 + 4 * 10
    y = extract(gradient, mask)
    assert not y[~mask].any() and (y[mask] - g[mask]).abs().max() <= float(g[mask].max() - g[mask].min()) / 255 * 1.001
    assert not gradient.zstd and up.estimate(x.shape).bytes == activation.size


def test_positions_of_all_values():
    assert positions(codec(4).compress(randn(2, 3))) is None


def test_random_picks_are_for_training():
    """Without a seed an evaluation sends the true top k, whatever the level's share."""
    x, this = randn(4, 200), QuantizingCodec(Level(top=20, top_random=30), "up")
    plain = QuantizingCodec(Level(top=20), "up").compress(x, seed=1).body
    assert this.compress(x, seed=None).body == plain != this.compress(x, seed=1).body
    assert this.compress(x, seed=1).body == this.compress(x, seed=1).body != this.compress(x, seed=2).body


def test_without_a_seed_gradients_are_rounded_to_the_nearest():
    x = randn(2, 8, 4, 4)
    assert codec(4, "down").compress(x, seed=None).body == codec(4, "up").compress(x).body


def exchange(top=2):
    """A gradient, the mask that it needs, and a gradient of the same shape that holds all values."""
    x = randn(2, 8)
    mask = positions(QuantizingCodec(Level(top=top), "up").compress(x))
    return (
        QuantizingCodec(Level(top=top), "down").compress(x, mask=mask),
        mask,
        QuantizingCodec(Level(), "down").compress(x),
    )


@pytest.mark.parametrize("spoil", [lambda m: None, lambda m: m.T, lambda m: m[:1], lambda m: ~m, lambda m: m & False])
def test_a_gradient_without_the_right_positions(spoil):
    gradient, mask, _ = exchange()
    with pytest.raises(WireError, match="message 0 belongs to an activation with other positions than these"):
        extract(gradient, spoil(mask))


def test_a_gradient_that_is_not_restricted():
    _, mask, dense = exchange()
    with pytest.raises(WireError, match="message 0 is not restricted to the positions of its activation"):
        extract(dense, mask)


def test_positions_are_not_in_a_gradient():
    with pytest.raises(WireError, match="message 0 does not contain the positions of its values"):
        positions(exchange()[0])


@pytest.mark.parametrize(
    ("level", "direction", "shape", "text"),
    [
        ("all.k9.b4/b4", "up", (2, 8), r"cannot keep 9 values of each sample of a tensor of shape \(2, 8\)"),
        ("all.k9.b4/b4", "up", (), "cannot keep 9 values"),
        ("all.k2.b4/b4", "down", (2, 8), "a gradient at level all·k2·b4/b4 needs the positions of its activation"),
        ("all.b4/b4.ch", "up", (8,), r"level all·b4/b4·ch has a range per channel, shape \(8,\) has no channels"),
    ],
)
def test_tensors_that_a_level_does_not_fit(level, direction, shape, text):
    with pytest.raises(CodecError, match=text):
        QuantizingCodec(Level.model_validate(level), direction).compress(torch.ones(shape))


@pytest.mark.parametrize("level", ["all.k9.b4/b4", "all.b4/b4.ch"])
def test_estimates_that_a_level_does_not_fit(level):
    with pytest.raises(CodecError, match="level|top-k"):
        QuantizingCodec(Level.model_validate(level), "up").estimate((8,))


def test_ranges_per_channel_pay_where_channels_differ():
    x = randn(4, 3, 8, 8) * torch.tensor([1e-3, 1.0, 1e3]).view(1, 3, 1, 1)
    together, apart = (
        extract(QuantizingCodec(Level.model_validate(t), "up").compress(x)) for t in ("all.b4/b4", "all.b4/b4.ch")
    )
    assert not (together[:, 0] - together[0, 0, 0, 0]).any(), "one grid has no step for the smallest channel"
    assert (apart[:, 0] - x[:, 0]).abs().max() <= float(x[:, 0].max() - x[:, 0].min()) / 30 * 1.001


def test_ranges_per_channel_are_for_the_direction_with_few_bits():
    x, level = randn(2, 3, 4), Level(up_bits=32, down_bits=4, per_channel=True)
    assert (
        not QuantizingCodec(level, "up").compress(x).per_channel
        and QuantizingCodec(level, "down").compress(x).per_channel
    )


def message(shape, body=b"", bits=32, dtype=torch.float32, kind=Kind.ACTIVATION, **more):
    return over_the_wire(Message(kind, 0, shape, dtype, bits, body, **more))


def zstd(data):
    return pa.Codec("zstd", compression_level=1).compress(data, asbytes=True)


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (dict(shape=(2, 2), body=b"\0" * 15), "body of 15 bytes, shape .* at 32 bits takes 16"),
        (dict(shape=(2, 2), body=b"\0" * 16, bits=4), "body of 16 bytes, shape .* at 4 bits takes 10"),
        (dict(shape=(2, 2), body=b"\0" * 16, channels=(0,)), "body of 16 bytes, shape .* takes 8"),
        (dict(shape=(), body=b""), "body of 0 bytes"),
        (dict(shape=(2,), body=b"\0\0", bits=8, dtype=torch.uint8), "carries torch.uint8, not a floating tensor"),
        (dict(shape=(2,), body=b"\0" * 8, kind=Kind.LABELS, dtype=torch.int32), "LABELS carries torch.int32"),
        (dict(shape=(100,), body=zstd(b"a" * 399), zstd=True), "zstd body cannot be read"),
        (dict(shape=(100,), body=zstd(b"a" * 401), zstd=True), "zstd body cannot be read"),
        (dict(shape=(100,), body=zstd(b"a" * 400)[:-1], zstd=True), "zstd body cannot be read"),
        (dict(shape=(100,), body=b"not zstd at all", zstd=True), "zstd body cannot be read"),
        (dict(shape=(1 << 31,), body=b"bomb", zstd=True, dtype=torch.float64), "4 bytes cannot hold 8589934592"),
        (dict(shape=(1,), body=b"", zstd=True), "0 bytes cannot hold 4"),
        (dict(shape=(2, 8), body=b"\1\1" * 5 + b"\0", top=1), "body of 11 bytes, shape .* takes 10"),
        (dict(shape=(2, 8), body=b"\1\3" + b"\0" * 8, top=1), "does not mark 1 values of each sample"),
        (dict(shape=(2, 4), body=b"\1" + b"\0" * 8, top=1), "does not mark 1 values of each sample"),
        (dict(shape=(2, 8), body=zstd(b"\0" * 10), zstd=True, top=1), "does not mark 1 values of each sample"),
        (dict(shape=(2, 8), body=b"\0" * 8, top=1, positions_known=True), "with other positions than these"),
        (dict(shape=(2, 3), body=b"\0" * 29, bits=8, per_channel=True), "body of 29 bytes, shape .* takes 30"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_body_that_its_header_does_not_describe(bad, text):
    with pytest.raises(WireError, match=text):
        extract(message(**bad))
