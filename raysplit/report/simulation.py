"""The picture of a run of virtual devices: accuracy against bytes, and against the hours of their clock."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from raysplit.folders.reader import RunRecord, labels
from raysplit.report.axes import INK, format_thousands, set_percent_axis
from raysplit.report.plots import new_figure, plain

_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
_HOUR = 3600.0


def plot_simulation(runs: Sequence[RunRecord]) -> Figure:
    """Plot validation accuracy against cumulative training traffic (MB), and against virtual hours."""
    figure = new_figure("Virtual devices: accuracy against bytes and time", 3.4)
    left, right = figure.subplots(1, 2, sharey=True)
    for index, (run, name) in enumerate(zip(runs, labels(runs), strict=True)):
        hours = [seconds / _HOUR for seconds in accumulate(epoch.virtual_s for epoch in run.epochs)]
        color = _COLORS[index % len(_COLORS)]
        _draw(left, [size / 1e6 for size in run.traffic], run, color, name)
        _draw(right, hours, run, color, name)
    left.set_xlabel("training traffic, both directions (MB)", color=INK)
    right.set_xlabel("virtual hours", color=INK)
    set_percent_axis(left, "validation accuracy (%), ★ test")
    set_percent_axis(right, "")
    for ax in (left, right):
        ax.set_xlim(left=0)
        ax.xaxis.set_major_formatter(format_thousands)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", frameon=False, fontsize=9)
    return figure


def _draw(ax: Axes, x: Sequence[float], run: RunRecord, color: str, name: str) -> None:
    devices = run.config.devices
    drawn = f"{devices.per_round:,} of {devices.count:,}" if devices.per_round else f"{devices.count:,}"
    label = plain(f"{name}: {devices.mode}, {drawn} devices in each of {len(run.epochs):,} rounds")
    y = [100 * epoch.val_accuracy for epoch in run.epochs]
    ax.plot(x, y, color=color, linewidth=1.6, label=label, zorder=3)
    if run.summary is not None and math.isfinite(run.summary.accuracy):
        ax.plot(x[-1], 100 * run.summary.accuracy, "*", color=color, markersize=13, markeredgecolor="white", zorder=5)
