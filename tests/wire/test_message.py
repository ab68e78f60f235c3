import contextlib
import math
import struct
import warnings
import zlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from raysplit.compress.labels import extract_labels, pack_labels
from raysplit.compress.quantizing_codec import QuantizingCodec, extract, positions
from raysplit.config import Level
from raysplit.errors import WireError
from raysplit.wire.message import Kind, Message, header_size, parse
from tests.examples import examples

FIXED = struct.Struct("<2sBBIIBBBBBHI")
ZSTD, CHANNELS, TOP, KNOWN, RANGES = 1, 2, 4, 8, 16
BITS = (1, 2, 3, 4, 5, 6, 7, 8, 16, 32)
FLOAT32, FLOAT16, UINT8 = 0, 1, 4


def raw(
    shape=(1, 8),
    body=b"",
    magic=b"RS",
    version=1,
    kind=1,
    batch=0,
    micros=0,
    dtype=FLOAT32,
    bits=32,
    flags=0,
    ndim=None,
    channel_dim=1,
    top=None,
    bitmap=b"",
    body_size=None,
):
    """Build message bytes field by field, with a right checksum whatever the fields say."""
    ndim = len(shape) if ndim is None else ndim
    body_size = len(body) if body_size is None else body_size
    head = FIXED.pack(
        magic, version, kind, batch, micros, dtype, bits, flags, ndim, channel_dim, len(bitmap), body_size
    )
    sizes = shape if top is None else (*shape, top)
    head += struct.pack(f"<{len(sizes)}I", *sizes) + bitmap
    return head + struct.pack("<I", zlib.crc32(head + body)) + body


def read(data):
    """Parse bytes and take out what they carry."""
    message = parse(data)
    if message.kind is Kind.LABELS:
        return message, extract_labels(message)
    return message, extract(message, MASK if message.positions_known else None)


def samples():
    x = torch.arange(2 * 9 * 3, dtype=torch.float32).reshape(2, 9, 3)
    up = QuantizingCodec(Level(up_bits=4), "up").compress(x, batch=5)
    down = QuantizingCodec(Level(down_bits=8, entropy="zstd"), "down").compress(
        torch.zeros(2, 9, 30), batch=6, channels=(0, 8)
    )
    assert down.zstd
    sparse = QuantizingCodec(Level(top=7, up_bits=3), "up").compress(x, batch=8, channels=(1, 2, 5))
    answer = QuantizingCodec(Level(top=7, down_bits=3), "down").compress(
        x, batch=8, channels=(1, 2, 5), mask=positions(sparse)
    )
    ranges = QuantizingCodec(Level(channels=2, up_bits=2, per_channel=True), "up").compress(x, channels=(3, 4))
    return {
        "sparse": sparse,
        "answer": answer,
        "ranges": ranges,
        "up": up.spent(1.5),
        "down": down,
        "labels": pack_labels(torch.tensor([1, 2, 3]), 7, 10),
        "scalar": QuantizingCodec(Level(), "up").compress(torch.tensor(1.0)),
    }


SAMPLES = samples()
MASK = positions(SAMPLES["sparse"])
every_sample = pytest.mark.parametrize("message", SAMPLES.values(), ids=SAMPLES)


@every_sample
def test_round_trip(message):
    data = message.to_bytes()
    assert parse(data) == parse(memoryview(data)) == message
    assert len(data) == message.size == message.header_bytes + len(message.body)


def test_layout():
    """The layout is the wire format: it may not change without a new version."""
    message = Message(
        Kind.GRADIENT, 2, (1, 9), torch.float16, 16, b"body", zstd=True, channels=(0, 8), channel_dim=1, micros=3
    )
    expected = raw((1, 9), b"body", kind=2, batch=2, micros=3, dtype=FLOAT16, bits=16, flags=3, bitmap=b"\x01\x01")
    assert message.to_bytes() == expected
    assert header_size(2, 2) == message.header_bytes == len(expected) - 4 == 23 + 8 + 2 + 4


def test_layout_of_top_k_and_ranges():
    common = dict(shape=(2, 9, 3), dtype=torch.float32, channels=(0, 8))
    answer = Message(Kind.GRADIENT, 4, bits=16, body=b"body", top=5, positions_known=True, **common)
    expected = raw(
        (2, 9, 3), b"body", kind=2, batch=4, bits=16, flags=CHANNELS | TOP | KNOWN, top=5, bitmap=b"\x01\x01"
    )
    assert answer.to_bytes() == expected and answer.header_bytes == header_size(3, 2, top=True) == len(expected) - 4
    ranges = Message(Kind.ACTIVATION, 4, bits=8, body=b"body", per_channel=True, **common)
    expected = raw((2, 9, 3), b"body", batch=4, bits=8, flags=CHANNELS | RANGES, bitmap=b"\x01\x01")
    assert ranges.to_bytes() == expected and ranges.sent_shape == (2, 2, 3)


@st.composite
def messages(draw):
    shape = tuple(draw(st.lists(st.integers(0, 20), max_size=5)))
    kept, channel_dim = None, draw(st.integers(0, 255))
    if any(shape) and draw(st.booleans()):
        channel_dim = draw(st.sampled_from([i for i, size in enumerate(shape) if size]))
        kept = tuple(sorted(draw(st.sets(st.integers(0, shape[channel_dim] - 1), min_size=1))))
    floats = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
    bits = draw(st.sampled_from(BITS))
    sent = [len(kept) if kept is not None and i == channel_dim else size for i, size in enumerate(shape)]
    most, extra = math.prod(sent[1:]) if sent else 0, {}
    if most and draw(st.booleans()):
        extra = dict(top=draw(st.integers(1, most)), positions_known=draw(st.booleans()))
    elif bits <= 8 and channel_dim < len(shape):
        extra = dict(per_channel=draw(st.booleans()))
    return Message(
        kind=draw(st.sampled_from(Kind)),
        batch=draw(st.integers(0, 2**32 - 1)),
        shape=shape,
        dtype=draw(st.sampled_from((*floats, torch.uint8, torch.int16, torch.int32))),
        bits=bits,
        body=draw(st.binary(max_size=40)),
        **extra,
        zstd=draw(st.booleans()),
        channels=kept,
        channel_dim=channel_dim,
        micros=draw(st.integers(0, 2**32 - 1)),
    )


@given(messages())
def test_round_trip_of_all_fields(message):
    data = message.to_bytes()
    assert parse(data) == message and len(data) == message.size


@every_sample
def test_truncated_or_extended(message):
    data = message.to_bytes()
    for wrong in (*(data[:n] for n in range(len(data))), data + b"\0", data + data, data[1:], b"\0" + data):
        with pytest.raises(WireError):
            parse(wrong)


@every_sample
def test_every_flipped_bit_is_seen(message):
    data = bytearray(message.to_bytes())
    for bit in range(8 * len(data)):
        data[bit // 8] ^= 1 << bit % 8
        with pytest.raises(WireError):
            parse(bytes(data))
        data[bit // 8] ^= 1 << bit % 8
    assert parse(bytes(data)) == message


@given(st.binary(max_size=200), st.booleans())
def test_foreign_bytes(data, marked):
    with pytest.raises(WireError):
        parse(b"RS\x01" + data if marked else data)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "a message of 0 bytes is shorter than a header"),
        (b"GET / HTTP/1.1\r\nHost: somewhere\r\n\r\n", "not a message: it starts with b'GE', expected b'RS'"),
        (raw(version=2), "version 2, this side speaks version 1"),
        (raw(body=b"abc", body_size=9), "message of 38 bytes, its header promises 44"),
        (raw(body=b"abc")[:-1] + b"d", "checksum does not match"),
    ],
    ids=["short", "foreign", "version", "length", "damaged"],
)
def test_fault_texts(data, text):
    with pytest.raises(WireError, match=text):
        parse(data)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (dict(kind=0), "unknown kind 0"),
        (dict(kind=5), "unknown kind 5"),
        (dict(dtype=7), "dtype 7"),
        (dict(dtype=255), "dtype 255"),
        (dict(bits=9), "bits 9"),
        (dict(bits=0), "bits 0"),
        (dict(bits=64), "bits 64"),
        (dict(flags=32), "flags 32"),
        (dict(flags=TOP), "its header promises 39"),
        (dict(top=1), "its header promises 35"),
        (dict(flags=TOP, top=0), r"the header claims 0 values per sample in a tensor of shape \(1, 8\)"),
        (dict(flags=TOP, top=9), "9 values per sample"),
        (dict(flags=TOP, top=2**32 - 1), "4294967295 values per sample"),
        (dict(flags=TOP, top=1, shape=()), "1 values per sample"),
        (dict(flags=TOP, top=1, shape=(1, 0)), "1 values per sample"),
        (dict(flags=TOP | CHANNELS, top=2, bitmap=b"\2"), r"2 values per sample in a tensor of shape \(1, 1\)"),
        (dict(flags=TOP, top=1), "body of 0 bytes"),
        (dict(flags=TOP, top=1, body=b"\0" * 5), "does not mark 1 values of each sample"),
        (dict(flags=TOP, top=1, body=b"\3" + b"\0" * 4), "does not mark 1 values of each sample"),
        (dict(flags=TOP | ZSTD, top=1, shape=(2**26, 32), body=b"abc"), "zstd body of 3 bytes cannot hold"),
        (dict(flags=KNOWN), "leaves out positions although it holds all values"),
        (dict(flags=TOP | KNOWN, top=1, body=b"\0" * 4), "with other positions than these"),
        (dict(flags=TOP | KNOWN, top=1, shape=(2**31, 1), body=b"\0" * 4), "body of 4 bytes, .* takes 8589934592"),
        (dict(flags=RANGES), r"shape \(1, 8\), 32 bits and top-k None cannot have a range for each channel"),
        (dict(flags=RANGES | TOP, bits=8, top=1), "top-k 1 cannot have a range for each channel"),
        (dict(flags=RANGES, bits=8, channel_dim=2), "for each channel .dimension 2."),
        (dict(flags=RANGES, bits=8, body=b"\0" * 16), "body of 16 bytes, .* takes 72"),
        (dict(flags=RANGES, bits=8, shape=(0, 2**31)), "body of 0 bytes, .* takes 17179869184"),
        (dict(flags=0x83), "flags 131"),
        (dict(shape=(2**32 - 1, 2**32 - 1)), "more than 2147483648 values"),
        (dict(shape=(2**31 + 1,)), "more than 2147483648 values"),
        (dict(shape=(0, 2**32 - 1, 2**32 - 1)), "more than 2147483648 values"),
        (dict(shape=(0, *[2**32 - 1] * 60)), "more than 2147483648 values"),
        (dict(shape=(1,) * 255), "255 dimensions"),
        (dict(shape=(1, 2), ndim=255), "its header promises"),
        (dict(shape=(1, 2), ndim=1), "its header promises"),
        (dict(bitmap=b"\xff"), "a channel bitmap that its flags do not announce"),
        (dict(flags=CHANNELS), "bitmap of 0 bytes does not fit"),
        (dict(flags=CHANNELS, bitmap=b"\1\1"), "bitmap of 2 bytes does not fit"),
        (dict(flags=CHANNELS, bitmap=b"\1", channel_dim=2), "does not fit"),
        (dict(flags=CHANNELS, bitmap=b"\1", channel_dim=255), "does not fit"),
        (dict(flags=CHANNELS, shape=()), "does not fit"),
        (dict(flags=CHANNELS, shape=(), channel_dim=0), "does not fit"),
        (dict(flags=CHANNELS, shape=(1, 0)), "no channel of shape"),
        (dict(flags=CHANNELS, bitmap=b"\0"), "no channel of shape"),
        (dict(flags=CHANNELS, shape=(1, 8, 2**27), bitmap=b"\0"), "no channel of shape"),
        (dict(flags=CHANNELS, shape=(1, 7), bitmap=b"\x80"), "channel 7 is marked as sent, the tensor has 7"),
        (dict(shape=(2**31,)), "body of 0 bytes"),
        (dict(shape=(1, 8), body=b"\0" * 33), "body of 33 bytes"),
        (dict(shape=(2**31,), flags=ZSTD, body=b"abc"), "zstd body of 3 bytes cannot hold"),
        (dict(dtype=UINT8, body=b"\0" * 8, bits=8), "not a floating tensor"),
        (dict(kind=3, dtype=UINT8, shape=(9,), body=b"\0" * 8, bits=8), "do not fit"),
        (dict(kind=3, shape=(2,), body=b"\0" * 8), "labels of dtype torch.float32"),
    ],
    ids=str,
)
def test_hostile_message_with_a_right_checksum(fields, text):
    with pytest.raises(WireError, match=text):
        read(raw(**fields))


def reads_or_refuses(data):
    with warnings.catch_warnings(), contextlib.suppress(WireError):
        warnings.simplefilter("ignore", RuntimeWarning)  # a range of NaN or infinity makes NaN values
        message, tensor = read(data)
        assert tuple(tensor.shape) == message.shape
        assert message.kind is Kind.LABELS or tensor.dtype == message.dtype


SIZES = st.sampled_from([0, 1, 1, 2, 3, 8, 9, 1 << 16, 1 << 31, (1 << 32) - 1])


@examples(400)
@given(
    st.fixed_dictionaries(
        {},
        optional=dict(
            shape=st.lists(SIZES, max_size=5).map(tuple),
            kind=st.integers(1, 4),
            dtype=st.integers(0, 8),
            bits=st.sampled_from([*BITS, 0, 9, 255]),
            flags=st.integers(0, 32),
            top=SIZES,
            ndim=st.integers(0, 255),
            channel_dim=st.integers(0, 5),
            bitmap=st.binary(max_size=2),
            body=st.binary(max_size=64) | st.integers(0, 64).map(bytes),
        ),
    )
)
def test_any_fields_with_a_right_checksum(fields):
    reads_or_refuses(raw(**fields))


@examples(300)
@given(st.sampled_from(sorted(SAMPLES)), st.data())
def test_changed_bytes_with_the_checksum_made_right(name, data):
    message = bytearray(SAMPLES[name].to_bytes())
    changes = st.dictionaries(st.integers(3, len(message) - 1), st.integers(0, 255), min_size=1, max_size=4)
    for at, byte in data.draw(changes).items():
        message[at] = byte
    *_, flags, ndim, _, bitmap_size, _ = FIXED.unpack_from(message)
    head = FIXED.size + 4 * (ndim + bool(flags & TOP)) + bitmap_size
    if head + 4 <= len(message):
        struct.pack_into("<I", message, head, zlib.crc32(message[head + 4 :], zlib.crc32(message[:head])))
    reads_or_refuses(bytes(message))


def test_expect():
    message = SAMPLES["up"]
    assert message.expect(Kind.ACTIVATION, 5) is message
    assert message.expect(Kind.ACTIVATION, 5, (2, 9, 3)) is message
    for wanted, text in [
        ((Kind.GRADIENT, 5), "expected a message of kind GRADIENT, got ACTIVATION"),
        ((Kind.ACTIVATION, 4), "expected ACTIVATION of batch 4, got batch 5"),
        ((Kind.ACTIVATION, 5, (2, 9)), r"expected ACTIVATION of shape \(2, 9\), got \(2, 9, 3\)"),
        ((Kind.LABELS, 4, ()), "expected a message of kind LABELS"),
    ]:
        with pytest.raises(WireError, match=f"^{text}"):
            message.expect(*wanted)


@pytest.mark.parametrize(("seconds", "micros"), [(0, 0), (1.5e-6, 2), (0.25, 250_000), (1e9, 0xFFFFFFFF)])
def test_spent(seconds, micros):
    message = SAMPLES["down"].spent(seconds)
    assert parse(message.to_bytes()).micros == micros
    assert message.body is SAMPLES["down"].body and message.size == SAMPLES["down"].size
