"""The confusion picture: what the base and the ensemble answer to the test images of each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from raysplit.report.plots import INK, WIDTH, new_figure, plain

_MOST_NUMBERS, _MOST_NAMES = 12, 30
"""Classes up to which cells have numbers, and axes have names."""

Counts = Sequence[Sequence[int]]


def confusion(panels: dict[str, Counts], classes: Sequence[str]) -> Figure:
    """Plot tables of counts (true class × answer) side by side, as percent of each true class's images.

    `panels` has each table's title. Cells below half a percent have no number, so that mistakes stand out.
    """
    figure = new_figure("Answers to each class, in % of its test images", WIDTH / len(panels) + 1)
    size = 9 if len(classes) <= _MOST_NUMBERS else 6
    axes = np.atleast_1d(figure.subplots(1, len(panels), sharey=True))
    for ax, (title, counts) in zip(axes, panels.items(), strict=True):
        table = np.asarray(counts, dtype=float)
        shares = 100 * table / np.maximum(1, table.sum(1, keepdims=True))
        image = ax.imshow(shares, cmap="Blues", vmin=0, vmax=100)
        ax.set_title(plain(title), fontsize=10, color=INK)
        ax.set_xlabel("answer", color=INK)
        if len(classes) <= _MOST_NUMBERS:
            _numbers(ax, shares)
        names = [plain(name) for name in classes] if len(classes) <= _MOST_NAMES else []
        ax.set_xticks(range(len(names)), names, rotation=90, fontsize=size)
        ax.set_yticks(range(len(names)), names, fontsize=size)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    axes[0].set_ylabel("true class", color=INK)
    if len(classes) > _MOST_NUMBERS:
        figure.colorbar(image, ax=list(axes), shrink=0.6)
    return figure


def _numbers(ax: Axes, shares: np.ndarray) -> None:
    style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 7}
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.5:
            ax.text(column, row, f"{share:.0f}", color="white" if share > 60 else INK, **style)
