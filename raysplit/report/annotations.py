"""Texts beside the points of a plot, moved to where they cover neither points nor lines."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import hypot, inf
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox, BboxBase
from numpy import isfinite, linspace

_OFFSETS = sorted(
    ((across, up) for across in (0, 14, -14, 34, -34, 68, -68) for up in (13, -13, 0, 26, -26, 39, -39, 52, -52)),
    key=lambda offset: hypot(*offset) or inf,
)
"""Of a text from its point, in points, nearest first."""


def annotate(ax: Axes, text: str, point: tuple[float, float], color: str) -> Annotation:
    """Write a text above a point of a plot, with a white halo."""
    style: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "va": "center", "fontsize": 9}
    halo = [withStroke(linewidth=3, foreground="white")]
    return ax.annotate(text, point, (0, 13), color=color, zorder=6, path_effects=halo, **style)


def move_apart(
    figure: Figure, ax: Axes, texts: Sequence[Annotation], points: Sequence[tuple[float, float]] = ()
) -> None:
    """Move each text to where it overlaps no point, no line and no earlier text, as near to its point as can be.

    `points` are those without texts.
    """
    FigureCanvasAgg(figure).draw()
    taken = [Bbox([at - 8, at + 8]) for at in ax.transData.transform([*points, *(text.xy for text in texts)])]
    taken += [Bbox([at - 1, at + 1]) for at in _along(ax)]
    for text in texts:
        for offset in _OFFSETS:
            text.set_position(offset)
            box = text.get_window_extent()
            if _contains(ax.bbox, box) and not any(box.overlaps(other) for other in taken):
                break
        else:
            text.set_position(_OFFSETS[0])
            box = text.get_window_extent()
        taken.append(box)


def _contains(outer: BboxBase, inner: BboxBase) -> bool:
    return outer.x0 <= inner.x0 and inner.x1 <= outer.x1 and outer.y0 <= inner.y0 and inner.y1 <= outer.y1


def _along(ax: Axes) -> list[Any]:
    """Return points in pixels, close to each other, on all lines of a plot."""
    points = []
    for line in ax.lines:
        path = [at for at in ax.transData.transform(line.get_xydata()) if isfinite(at).all()]
        for start, end in pairwise(path):
            points += [start + share * (end - start) for share in linspace(0, 1, 2 + int(abs(end - start).max() / 4))]
    return points
