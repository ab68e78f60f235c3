"""Tensors from JSON and bytes, valid and malformed."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from raysplit.errors import RequestError
from raysplit.serving.oip.tensors import (
    pixels_from_bytes,
    pixels_from_json,
    strings_from_bytes,
    strings_from_json,
    strings_to_bytes,
)

SHAPE = (2, 3, 4, 5)
PIXELS = np.arange(120, dtype=np.uint8).reshape(SHAPE) * 2


def test_pixels_flat_nested_and_binary():
    raw = memoryview(PIXELS.tobytes())
    found = [
        pixels_from_json(PIXELS.ravel().tolist(), SHAPE),
        pixels_from_json(PIXELS.tolist(), SHAPE),
        pixels_from_bytes(raw, SHAPE),
    ]
    for pixels in found:
        assert pixels.dtype == np.uint8 and np.array_equal(pixels, PIXELS)
    assert np.shares_memory(found[2], np.frombuffer(raw, np.uint8))


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        ({"0": 1}, "its data is not a list"),
        ("AAAA", "its data is not a list"),
        ([], "got 0 values, but shape [1, 2, 1, 1] has 2"),
        ([1, 2, 3], "got 3 values, but shape [1, 2, 1, 1] has 2"),
        ([1, 256], "value 1 is not an integer from 0 to 255"),
        ([-1, 0], "value 0 is not an integer from 0 to 255"),
        ([10**30, 0], "value 0 is not an integer from 0 to 255"),
        ([0, 1.0], "value 1 is not an integer from 0 to 255"),
        ([0, float("nan")], "value 1 is not an integer from 0 to 255"),
        ([True, False], "value 0 is not an integer from 0 to 255"),
        ([0, None], "value 1 is not an integer from 0 to 255"),
        (["1", "2"], "value 0 is not an integer from 0 to 255"),
        ([0, [1]], "value 1 is not an integer from 0 to 255"),
        ([[0], [1]], "its data is nested, but not like shape [1, 2, 1, 1]"),
        ([[0, 1]], "its data is nested, but not like shape [1, 2, 1, 1]"),
        ([[[[0]], [[1], [2]]]], "its data is nested, but not like shape [1, 2, 1, 1]"),
        ([[[[0]], 1]], "its data is nested, but not like shape [1, 2, 1, 1]"),
        ([[[[[0]]], [[[1]]]]], "value 0 is not an integer from 0 to 255"),
        ([[]], "its data is nested, but not like shape [1, 2, 1, 1]"),
    ],
)
def test_pixels_of_bad_json(data, fault):
    with pytest.raises(RequestError) as raised:
        pixels_from_json(data, (1, 2, 1, 1))
    assert str(raised.value).startswith(fault) and raised.value.status == 400


def test_a_long_text_among_numbers_costs_nothing():
    """numpy would make every value as long as the longest: 160 GB here."""
    data = ["x" * 10**6] + ["y"] * 40_000
    with pytest.raises(RequestError, match="value 0 is not an integer from 0 to 255"):
        pixels_from_json(data, (40_001,))


@pytest.mark.parametrize("size", [0, 119, 121])
def test_pixels_of_the_wrong_size(size):
    with pytest.raises(RequestError, match=f"got {size} bytes, but shape .* has 120"):
        pixels_from_bytes(memoryview(bytes(size)), SHAPE)


def test_strings():
    values = ["", "kitten", "Kätzchen", "a\0b"]
    raw = [value.encode() for value in values]
    assert strings_from_bytes(memoryview(strings_to_bytes(values)), 4) == raw
    encoded = [base64.b64encode(one).decode() for one in raw]
    assert strings_from_json(encoded, (4,)) == strings_from_json(encoded, (4, 1)) == raw
    assert strings_from_json([[one] for one in encoded], (4, 1)) == raw


@pytest.mark.parametrize(
    ("data", "count", "fault"),
    [
        (b"", 1, "its bytes end within element 0 of 1"),
        (b"\1\0\0", 1, "its bytes end within element 0 of 1"),
        (b"\1\0\0\0", 1, "its bytes end within element 0 of 1"),
        (b"\xff\xff\xff\xffab", 1, "its bytes end within element 0 of 1"),
        (b"\1\0\0\0a", 2, "its bytes end within element 1 of 2"),
        (b"\1\0\0\0a\0", 1, "it has 1 more bytes than its 1 elements"),
    ],
)
def test_strings_of_bad_bytes(data, count, fault):
    with pytest.raises(RequestError, match=fault):
        strings_from_bytes(memoryview(data), count)


@pytest.mark.parametrize("data", [["!"], ["YQ"], ["YQ=="] * 2, [1], [["YQ=="]], "YQ==", None, ["ÿ"]])
def test_strings_of_bad_json(data):
    with pytest.raises(RequestError, match="is not base64 text|, but shape .1. has 1|is not a list"):
        strings_from_json(data, (1,))
