"""Axes in the style of all plots: their scales, ticks, labels and grid."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

INK = "#222222"
_GRID = "#dddddd"
_ZERO_WIDTH = 0.15
"""Share of a log axis from zero to the first positive values."""
_LEAST_POINTS = 4.0
"""Height of a percent axis, at least: differences of a tenth of a point, which are noise, look small."""


def set_log_axis(ax: Axes, points: Sequence[float], margin: float) -> None:
    """Give the x axis a log scale over the positive points, with a factor `margin` on either side.

    If there are zeros, they have a tick of their own at the left end, and what is below the positive points is linear.
    """
    positive = [point for point in points if point > 0] or [1.0]
    low, high = min(positive) / margin, max(positive) * margin
    decades = LogLocator(subs=(1, 2, 5) if high / low < 3e3 else (1,))
    if min(points) > 0:
        ax.set_xscale("log")
        ax.set_xlim(low, high)
        ax.xaxis.set_major_locator(decades)
    else:
        ax.set_xscale("symlog", linthresh=low, linscale=_ZERO_WIDTH * math.log10(high / low))
        ax.set_xlim(-low / 4, high)
        ax.set_xticks([0, *(tick for tick in decades.tick_values(low, high) if low < tick <= high)])
        ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(format_thousands)
    ax.xaxis.set_minor_formatter(NullFormatter())


def set_percent_axis(ax: Axes, label: str) -> None:
    """Label the y axis, make it at least `_LEAST_POINTS` high, and draw the grid."""
    low, high = ax.get_ylim()
    padding = max(0.0, _LEAST_POINTS - (high - low)) / 2
    ax.set_ylim(max(low - padding, -1), min(high + padding, 101))
    label_y_axis(ax, label)


def label_y_axis(ax: Axes, label: str) -> None:
    """Label the y axis, and draw a light grid, and axes on the left and at the bottom alone."""
    ax.set_ylabel(label, color=INK)
    ax.grid(color=_GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def set_row_axis(ax: Axes, count: int) -> None:
    """Make room for `count` rows with texts above them, the first at the top, in place of a y axis."""
    ax.set_ylim(count - 0.6, -0.75)
    ax.set_yticks([])
    ax.spines[["top", "right", "left"]].set_visible(False)


def format_thousands(x: float, _: float) -> str:
    """Return a tick of an axis as text, with commas; without units."""
    return f"{x:,.10g}"
