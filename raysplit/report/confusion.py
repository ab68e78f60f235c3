"""Confusion matrices as a picture: what the base and the ensemble predict for the test images of each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from raysplit.report.axes import INK
from raysplit.report.plots import WIDTH, new_figure, plain

_MAX_NUMBERED, _MAX_NAMED = 12, 30
"""Largest numbers of classes with a number in each cell, and with names on the axes."""

Counts = Sequence[Sequence[int]]
"""A confusion matrix: true class × predicted class."""


def plot_confusion(panels: Mapping[str, Counts], classes: Sequence[str]) -> Figure:
    """Plot confusion matrices side by side, in percent of each true class's images.

    `panels` has each matrix by its title. Cells below half a percent have no number, so that errors stand out.

    >>> figure = plot_confusion({"base": [[8, 2], [1, 9]]}, ["cat", "dog"])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['80', '20', '10', '90']
    """
    figure = new_figure("Predictions for each class, in % of its test images", WIDTH / len(panels) + 1)
    size = 9 if len(classes) <= _MAX_NUMBERED else 6
    axes = np.atleast_1d(figure.subplots(1, len(panels), sharey=True))
    for ax, (title, counts) in zip(axes, panels.items(), strict=True):
        table = np.asarray(counts, dtype=float)
        shares = 100 * table / np.maximum(1, table.sum(1, keepdims=True))
        image = ax.imshow(shares, cmap="Blues", vmin=0, vmax=100)
        ax.set_title(plain(title), fontsize=10, color=INK)
        ax.set_xlabel("predicted class", color=INK)
        if len(classes) <= _MAX_NUMBERED:
            _write_numbers(ax, shares)
        names = [plain(name) for name in classes] if len(classes) <= _MAX_NAMED else []
        ax.set_xticks(range(len(names)), names, rotation=90, fontsize=size)
        ax.set_yticks(range(len(names)), names, fontsize=size)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    axes[0].set_ylabel("true class", color=INK)
    if len(classes) > _MAX_NUMBERED:
        figure.colorbar(image, ax=list(axes), shrink=0.6)
    return figure


def _write_numbers(ax: Axes, shares: NDArray[np.float64]) -> None:
    style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 7}
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.5:
            ax.text(column, row, f"{share:.0f}", color="white" if share > 60 else INK, **style)
