"""Numbers and tables as text for a terminal."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

DASH = "–"


def align_table(columns: Sequence[str], body: Sequence[Sequence[str]], text_columns: int) -> str:
    """Return a plain-text table: the first `text_columns` columns flush left, the others flush right.

    `columns` are its headers, of one line or two.

    >>> print(align_table(["link", "round trip\\nms"], [["wifi", "5"], ["iot", "100"]], text_columns=1))
          round trip
    link          ms
    wifi           5
    iot          100
    """
    # A header of one line stands on the second one.
    header = zip(*(name.rpartition("\n")[::2] for name in columns), strict=True)
    lines: list[Sequence[str]] = [*(line for line in header if any(line)), *body]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < text_columns else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def number(value: float) -> str:
    """Return a number with about three digits, never in powers of ten; a dash if it is not finite.

    >>> [number(value) for value in (1234.5, 505, 90.34, 2.818, 0.0163, 0)]
    ['1,234', '505', '90.3', '2.82', '0.016', '0']
    """
    if not math.isfinite(value):
        return DASH
    if value == 0:
        return "0"
    if value < 1e-4:
        return "<0.0001"
    if value < 0.1:
        return f"{value:.2g}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def megabytes(size: float) -> str:
    """Return a number of bytes in units of 10⁶, without the unit.

    >>> megabytes(2_818_000)
    '2.82'
    """
    return number(size / 1e6)


def times(ratio: float) -> str:
    """Return a ratio as a factor.

    >>> times(31.2)
    '31.2×'
    """
    return f"{number(ratio)}×" if math.isfinite(ratio) else DASH


def percent(share: float) -> str:
    """Return a share in 0..1 as a percentage with one digit after the point.

    >>> percent(0.5)
    '50.0%'
    """
    return f"{100 * share:.1f}%" if math.isfinite(share) else DASH


def format_call(model: Mapping[str, Any]) -> str:
    """Return a model config's name and args in the form of a call.

    >>> format_call({"name": "vit", "args": {"patch": 4, "depth": 6}})
    'vit(patch=4, depth=6)'
    """
    args = ", ".join(f"{key}={json.dumps(value)}" for key, value in model["args"].items())
    return f"{model['name']}({args})" if args else model["name"]
