"""Numbers and tables as text."""

from __future__ import annotations

import pytest

from raysplit.utils.text_table import align_table, format_call, megabytes, number, percent, times


def test_columns_are_aligned():
    table = align_table(["name", "bytes\nup", "n"], [["a", "1,234", "5"], ["long one", "7", "90"]], 1)
    assert table.splitlines() == [
        "          bytes",
        "name         up   n",
        "a         1,234   5",
        "long one      7  90",
    ]


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (5e-5, "<0.0001"), (0.0163, "0.016"), (2.818, "2.82"), (90.34, "90.3"), (505, "505")]
)
def test_numbers_have_about_three_digits(value, text):
    assert number(value) == text


def test_units():
    assert megabytes(2_818_000) == "2.82" and times(31.24) == "31.2×" and percent(0.9255) == "92.5%"
    assert format_call({"name": "vgg11", "args": {}}) == "vgg11"
    assert format_call({"name": "vit", "args": {"patch": 4, "pool": "mean"}}) == 'vit(patch=4, pool="mean")'
