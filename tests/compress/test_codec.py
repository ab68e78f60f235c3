import itertools

import pyarrow as pa
import pytest
import torch

from raysplit.compress.codec import Codec, extract, extract_labels, pack_labels
from raysplit.compress.message import Kind, Message, parse
from raysplit.config import Level
from raysplit.errors import CodecError, WireError

BITS = (1, 2, 3, 4, 5, 6, 7, 8, 16, 32)
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
    return Codec(Level(channels=channels, up_bits=bits, down_bits=bits, entropy=entropy), direction, channel_dim)


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
        message = over_the_wire(this.compress(x, batch=7, kept=kept, seed=5))
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
        assert codec(bits).compress(x, kept=(1, 2)).body == codec(bits).compress(x.contiguous(), kept=(1, 2)).body


@pytest.mark.parametrize(("channel_dim", "shape"), [(1, (2, 8, 3, 3)), (2, (2, 5, 8)), (3, (2, 4, 3, 8)), (1, (4, 8))])
@pytest.mark.parametrize("kept", [(0,), (7,), (1, 3, 6), tuple(range(8))], ids=str)
def test_kept_channels(kept, channel_dim, shape):
    x = randn(*shape) + 10
    message = over_the_wire(codec(32, channel_dim=channel_dim).compress(x, kept=kept))
    assert message.kept == kept and message.channel_dim == channel_dim
    y = extract(message)
    for channel in range(8):
        expected = x.select(channel_dim, channel) if channel in kept else torch.zeros(())
        assert (y.select(channel_dim, channel) == expected).all()


def test_grid_spans_the_kept_channels_only():
    x = torch.stack([torch.linspace(0, 1, 16), torch.linspace(-1000, 1000, 16)])[None]
    y = extract(codec(8).compress(x, kept=[0]))
    assert (y[0, 0] - x[0, 0]).abs().max() <= 0.5 / 255 * 1.001
    assert (y[0, 1] == 0).all()


def test_directions():
    """Activations are rounded to the nearest code whatever the seed, gradients by the seed."""
    x = randn(2, 8, 4, 4)
    bodies = {d: [codec(4, d).compress(x, seed=seed).body for seed in (1, 1, 2)] for d in ("up", "down")}
    assert len(set(bodies["up"])) == 1
    assert bodies["down"][0] == bodies["down"][1] != bodies["down"][2]
    mixed = Level(up_bits=2, down_bits=8)
    assert (Codec(mixed, "up").bits, Codec(mixed, "down").bits) == (2, 8)
    assert (Codec(mixed, "up").compress(x).bits, Codec(mixed, "down").compress(x).bits) == (2, 8)


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
        assert extract(codec(bits).compress(x, kept=[1])).isfinite().all(), "what is not sent cannot hurt"
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
    y = extract(codec(4, "down").compress(x, kept=[2]))
    assert not y.requires_grad and x.detach().equal(before)


def message(shape, body=b"", bits=32, dtype=torch.float32, kind=Kind.ACTIVATION, **more):
    return over_the_wire(Message(kind, 0, shape, dtype, bits, body, **more))


def zstd(data):
    return pa.Codec("zstd", compression_level=1).compress(data, asbytes=True)


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (dict(shape=(2, 2), body=b"\0" * 15), "body of 15 bytes, shape .* at 32 bits takes 16"),
        (dict(shape=(2, 2), body=b"\0" * 16, bits=4), "body of 16 bytes, shape .* at 4 bits takes 10"),
        (dict(shape=(2, 2), body=b"\0" * 16, kept=(0,)), "body of 16 bytes, shape .* takes 8"),
        (dict(shape=(), body=b""), "body of 0 bytes"),
        (dict(shape=(2,), body=b"\0\0", bits=8, dtype=torch.uint8), "carries torch.uint8, not a floating tensor"),
        (dict(shape=(2,), body=b"\0" * 8, kind=Kind.LABELS, dtype=torch.int32), "LABELS carries torch.int32"),
        (dict(shape=(100,), body=zstd(b"a" * 399), zstd=True), "zstd body cannot be read"),
        (dict(shape=(100,), body=zstd(b"a" * 401), zstd=True), "zstd body cannot be read"),
        (dict(shape=(100,), body=zstd(b"a" * 400)[:-1], zstd=True), "zstd body cannot be read"),
        (dict(shape=(100,), body=b"not zstd at all", zstd=True), "zstd body cannot be read"),
        (dict(shape=(1 << 31,), body=b"bomb", zstd=True, dtype=torch.float64), "4 bytes cannot hold 8589934592"),
        (dict(shape=(1,), body=b"", zstd=True), "0 bytes cannot hold 4"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_body_that_its_header_does_not_describe(bad, text):
    with pytest.raises(WireError, match=text):
        extract(message(**bad))


@pytest.mark.parametrize(
    ("classes", "width"), [(2, 1), (10, 1), (256, 1), (257, 2), (1000, 2), (32768, 2), (32769, 4), (100_000, 4)]
)
def test_labels(classes, width):
    labels = torch.tensor([0, classes - 1, classes // 2, 1])
    packed = pack_labels(labels, 3, classes).expect(Kind.LABELS, 3, (4,))
    assert len(packed.body) == 4 * width
    for x in (labels, labels[::2], labels[:0]):
        y = extract_labels(over_the_wire(pack_labels(x, 3, classes)))
        assert y.dtype == torch.int64 and y.equal(x)


@pytest.mark.parametrize(
    "bad",
    [
        dict(shape=(4,), body=b"\0" * 3, dtype=torch.uint8),
        dict(shape=(4,), body=b"\0" * 4, dtype=torch.int16),
        dict(shape=(1 << 31,), body=b"\0" * 4, dtype=torch.int32),
        dict(shape=(4,), body=b"\0" * 16, dtype=torch.float32),
        dict(shape=(), body=b"\0", dtype=torch.uint8),
        dict(shape=(2, 2), body=b"\0" * 4, dtype=torch.uint8),
        dict(shape=(4,), body=b"\0" * 4, dtype=torch.uint8, zstd=True),
        dict(shape=(4,), body=b"\0" * 4, dtype=torch.uint8, kept=(1,), channel_dim=0),
    ],
    ids=str,
)
def test_labels_that_do_not_fit(bad):
    with pytest.raises(WireError, match=r"labels of dtype .* do not fit"):
        extract_labels(message(kind=Kind.LABELS, **bad))
