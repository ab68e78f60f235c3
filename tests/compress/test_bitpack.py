import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysplit.compress.bitpack import pack, packed_size, unpack

WIDTHS = range(1, 9)


def check(codes, bits):
    packed = pack(codes, bits)
    assert len(packed) == packed_size(len(codes), bits)
    least = -(-len(codes) * bits // 8)
    assert least <= len(packed) <= least + 2
    back = unpack(packed, len(codes), bits)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, codes)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 8, 9, 63, 64, 65, 1000])
@pytest.mark.parametrize("bits", WIDTHS)
def test_round_trip(bits, count):
    check(np.random.RandomState(count).randint(0, 1 << bits, count).astype(np.uint8), bits)
    check(np.full(count, (1 << bits) - 1, np.uint8), bits)


@given(st.data(), st.sampled_from(WIDTHS))
def test_round_trip_any_codes(data, bits):
    codes = data.draw(st.lists(st.integers(0, (1 << bits) - 1), max_size=70))
    check(np.array(codes, np.uint8), bits)


@pytest.mark.parametrize(
    ("codes", "bits", "packed"),
    [
        ([1, 0, 1, 1, 0, 0, 0, 1], 1, "8d"),
        ([1, 2, 3, 0], 2, "39"),
        ([1, 2, 3], 4, "3102"),  # two bytes: 1 and 3 share the first, 2 has the second alone
        ([5, 2], 3, "0901"),  # the low two bits of both, then the high bit of both
        ([255, 0], 8, "ff00"),
    ],
)
def test_layout(codes, bits, packed):
    """The layout is the wire format: it may not change without a new message version."""
    assert pack(np.array(codes, np.uint8), bits).hex() == packed


@pytest.mark.parametrize("bits", WIDTHS)
def test_codes_and_data_are_left_alone(bits):
    codes = (np.arange(16) % (1 << bits)).astype(np.uint8)
    before = codes.copy()
    data = memoryview(pack(codes, bits))
    np.testing.assert_array_equal(codes, before)
    np.testing.assert_array_equal(unpack(data, 16, bits), before)
