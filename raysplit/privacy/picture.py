"""The picture of a leak: originals, and what was rebuilt of them at each level."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from raysplit.privacy.leak import Leak
from raysplit.report.axes import INK
from raysplit.report.plots import WIDTH, new_figure, plain
from raysplit.utils.text_table import number, percent

_GAP = 0.06
"""Between images, as a share of their width."""
_TITLE = 0.34
"""What the title of a row takes, in inches."""


def draw_leak(leak: Leak) -> Figure:
    """Draw the originals in a row, and below them what was rebuilt at each level, with its scores."""
    rows = [("originals, which the attacker has not seen", leak.originals)]
    for level, images in zip(leak.report.levels, leak.rebuilt, strict=True):
        size, accuracy = number(level.bytes_per_image), percent(level.accuracy)
        rows.append((f"{level.level}: {level.similarity}; {size} bytes an image, accuracy {accuracy}", images))
    return draw_rows(f"Rebuilt from what crosses: {leak.report.recipe}", rows, leak.report.sound)


def draw_rows(title: str, rows: Sequence[tuple[str, torch.Tensor]], sound: bool = False) -> Figure:
    """Draw rows of images, each a title and uint8 images (N, C, H, W) of the same shape.

    `sound`: they are spectrograms, drawn with the lowest band at the bottom.
    """
    count, _, height, width = rows[0][1].shape
    tall = (WIDTH - 0.2) * height / (width * (count + _GAP * (count - 1)))
    figure = new_figure(plain(title), 0.4 + len(rows) * (tall + _TITLE))
    for ax, (text, images) in zip(figure.subplots(len(rows), 1, squeeze=False)[:, 0], rows, strict=True):
        ax.imshow(_tile(images.flip(2) if sound else images), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        ax.set_title(plain(text), loc="left", fontsize=9, color=INK, pad=3)
        ax.set_axis_off()
    return figure


def _tile(images: torch.Tensor) -> NDArray[np.uint8]:
    """Return images (N, C, H, W) side by side, uint8 (H, width) or (H, width, 3), with white between them."""
    gap = torch.full((*images.shape[1:3], max(1, round(_GAP * images.shape[3]))), 255, dtype=torch.uint8)
    joined = torch.cat([part for image in images for part in (gap, image)][1:], 2)
    tiles: NDArray[np.uint8] = (joined[0] if len(joined) == 1 else joined.permute(1, 2, 0)).numpy()
    return tiles
