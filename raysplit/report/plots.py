"""Plots of runs. Each function returns a new figure; pyplot, with its global state, is not used."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from itertools import cycle, islice
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy import linspace

from raysplit.folders.reader import RunRecord, labels
from raysplit.report.annotations import annotate, move_apart
from raysplit.report.axes import INK, format_thousands, set_log_axis, set_percent_axis, set_row_axis
from raysplit.report.seeds import count_runs
from raysplit.utils.text_table import megabytes, number, percent, times

WIDTH, DPI = 6.4, 180
"""In inches, and dots per inch; text stays readable when a phone shrinks the image."""
_FAINT = "#666666"
# The palette of Okabe and Ito, with gray in place of yellow, which is hard to see on white.
_RUN_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#888888")
# One fewer than colors, so that 56 runs look different.
_MARKERS = ("o", "s", "^", "v", "P", "X", "p")
_LEVEL_SHADES = ("#F4EEE2", "#CBB78F")
"""From the first level to the last: sand, which no run is drawn in, readable below black text."""
_TIME_COLORS = {"device": "#77AADD", "server": "#EECC66", "link": "#BBBBBB"}


def plot_accuracy_by_traffic(runs: Sequence[RunRecord]) -> Figure:
    """Plot validation accuracy against cumulative training traffic (MB, log), with the test accuracy at the end."""
    figure, ax, legend = _new_panels("Accuracy against training traffic", runs, 3.2, 0.23 * (len(runs) + 1))
    ends = []
    for run, name, color, marker in _assign_styles(runs):
        x = [size / 1e6 for size in run.traffic]
        _draw_curve(ax, x, run, color, marker)
        for _, start, _ in run.phases[1:]:
            _draw_level_mark(ax, x[start], 100 * run.epochs[start].val_accuracy, color)
        end = f"val {percent(run.epochs[-1].val_accuracy)}{'' if run.summary else ', unfinished'}"
        if run.summary is not None and math.isfinite(run.summary.accuracy):
            _draw_star(ax, x[-1], run.summary.accuracy, color)
            end = f"test {percent(run.summary.accuracy)}"
        ends.append((name, color, marker, f"{end} · {megabytes(run.traffic[-1])} MB"))
    uploads = sorted({run.summary.bytes_raw_upload for run in runs if run.summary is not None})
    for i, size in enumerate(uploads):
        ax.axvline(size / 1e6, color=_FAINT, linestyle="--", linewidth=1.2, zorder=1)
        text = f"raw upload: {megabytes(size)} MB"
        at: dict[str, Any] = {"xycoords": ax.get_xaxis_transform(), "textcoords": "offset points", "ha": "center"}
        ax.annotate(text, (size / 1e6, 1), (0, 4 + 12 * i), fontsize=9, color=_FAINT, **at)
    points = [size / 1e6 for size in uploads] + [size / 1e6 for run in runs for size in run.traffic]
    set_log_axis(ax, points, margin=1.8)
    ax.set_xlabel("cumulative training traffic, both directions (MB, log scale)", color=INK)
    set_percent_axis(ax, "validation accuracy (%), ★ test")
    has_marks = any(len(run.phases) > 1 for run in runs)
    _draw_legend(legend, ends, empty_rows=int(has_marks))
    if has_marks:
        _draw_level_mark(legend, 0.02, len(ends), _FAINT)
        legend.text(0.055, len(ends), "first epoch at a new level", va="center", fontsize=9, color=_FAINT)
    return figure


def plot_families(runs: Sequence[RunRecord]) -> Figure:
    """Plot the test accuracy of each level of some prune families against its training bytes per image (log)."""
    figure, ax, legend = _new_panels("Families: accuracy against bytes per image", runs, 3.2, 0.23 * len(runs))
    ends, texts = [], []
    for run, name, color, marker in _assign_styles(runs):
        x = [level.bytes_per_sample for level in run.levels]
        y = [100 * level.test_accuracy for level in run.levels]
        ax.plot(x, y, color=color, marker=marker, markersize=8, markeredgecolor="white", linewidth=1.2, zorder=3)
        for level, point in zip(run.levels, zip(x, y, strict=True), strict=True):
            if math.isfinite(point[1]):
                texts.append(annotate(ax, plain(level.level), point, color))
        ends.append((name, color, marker, _compare_levels(run)))
    set_log_axis(ax, [level.bytes_per_sample for run in runs for level in run.levels], margin=2.5)
    ax.set_xlabel("training traffic per image, both directions (bytes, log scale)", color=INK)
    ax.margins(y=0.2)
    set_percent_axis(ax, "test accuracy (%)")
    _draw_legend(legend, ends)
    move_apart(figure, ax, texts)
    return figure


def _compare_levels(run: RunRecord) -> str:
    """Return what the level of a family that sends least loses and saves against the one that sends most."""
    loose = max(run.levels, key=lambda level: level.bytes_per_sample)
    tight = min(reversed(run.levels), key=lambda level: level.bytes_per_sample)
    if len(run.levels) == 1:
        return "one level so far"
    lost = f"{100 * (tight.test_accuracy - loose.test_accuracy):+.1f} points".replace("-", "−")
    if not tight.bytes_per_sample:
        return f"{lost}, nothing crosses"
    return f"{lost} at {times(loose.bytes_per_sample / tight.bytes_per_sample)} reduction"


def plot_accuracy_by_epoch(runs: Sequence[RunRecord]) -> Figure:
    """Plot validation accuracy after each epoch, above a strip per run that names the level in force."""
    figure, ax, strip = _new_panels("Accuracy by epoch, and the level in force", runs, 2.9, 0.52 * len(runs))
    strip.sharex(ax)
    levels = list(dict.fromkeys(level for run in runs for level, _, _ in run.phases))
    fills = dict(zip(levels, _shades(len(levels)), strict=True))
    bands = []
    for row, (run, name, color, marker) in enumerate(_assign_styles(runs)):
        x = range(1, len(run.epochs) + 1)
        _draw_curve(ax, x, run, color, marker)
        if run.summary is not None and math.isfinite(run.summary.accuracy):
            _draw_star(ax, x[-1], run.summary.accuracy, color)
        for level, start, end in run.phases:
            strip.barh(row, end - start, left=start + 0.5, height=0.42, color=fills[level], edgecolor="white")
            bands.append((level, end - start, strip.text((start + end + 1) / 2, row, plain(level), **_CENTERED)))
        _label_row(strip, row, name, color, marker)
    longest = max(len(run.epochs) for run in runs)
    ax.set_xlim(0.5, longest + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12, min_n_ticks=1))
    ax.tick_params(labelbottom=False)
    set_percent_axis(ax, "validation accuracy (%), ★ test")
    set_row_axis(strip, len(runs))
    strip.set_xlabel("epoch", color=INK)
    _move_to_legend(figure, strip, bands, fills)
    return figure


def plot_time(runs: Sequence[RunRecord]) -> Figure:
    """Plot the seconds of each run in which the device, the server, or neither of them (the link) was busy."""
    figure = new_figure(f"Where the time went ({count_runs(runs)})", 0.55 * len(runs) + 1.3)
    ax = figure.add_subplot()
    spent = [
        {part: sum(_or_zero(getattr(record, f"{part}_s")) for record in run.epochs) for part in _TIME_COLORS}
        for run in runs
    ]
    longest = max(sum(parts.values()) for parts in spent) or 1.0
    for row, (run, name, _, _) in enumerate(_assign_styles(runs)):
        left = 0.0
        for part, color in _TIME_COLORS.items():
            seconds = spent[row][part]
            ax.barh(row, seconds, left=left, height=0.42, color=color, edgecolor="white")
            if seconds > 0.09 * longest:
                ax.text(left + seconds / 2, row, number(seconds), **_CENTERED)
            left += seconds
        progress = "" if run.summary is not None else f" after {len(run.epochs)} of {run.planned_epochs} epochs"
        at: dict[str, Any] = {"textcoords": "offset points", "va": "center"}
        ax.annotate(f"{number(left)} s{progress}", (left, row), (5, 0), fontsize=9, color=INK, **at)
        _label_row(ax, row, name)
    ax.set_xlim(0, 1.32 * longest)
    set_row_axis(ax, len(runs))
    ax.xaxis.set_major_formatter(format_thousands)
    ax.set_xlabel("seconds of training and validation", color=INK)
    handles = [Patch(color=color, label=part) for part, color in _TIME_COLORS.items()]
    figure.legend(handles=handles, loc="upper right", ncols=3, frameon=False, fontsize=10, handlelength=1)
    return figure


def _or_zero(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def _shades(count: int) -> list[str]:
    """Return a color for each of `count` levels."""
    return [
        to_hex(color) for color in LinearSegmentedColormap.from_list("levels", _LEVEL_SHADES)(linspace(0, 1, count))
    ]


def png(figure: Figure) -> bytes:
    """Return a figure as PNG data."""
    data = io.BytesIO()
    FigureCanvasAgg(figure).print_png(data)
    return data.getvalue()


_CENTERED: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 9, "color": "black"}


def new_figure(title: str, height: float) -> Figure:
    """Return an empty figure of the common width, `height` in inches, with its title on the left."""
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained", facecolor="white")
    figure.suptitle(title, x=0.012, ha="left", fontsize=12, fontweight="bold", color=INK)
    return figure


def _new_panels(title: str, runs: Sequence[RunRecord], top: float, bottom: float) -> tuple[Figure, Axes, Axes]:
    """Return a figure with a plot at the top and a panel of rows below it, with the given heights in inches."""
    figure = new_figure(f"{title} ({count_runs(runs)})", top + bottom + 1.1)
    upper, lower = figure.subplots(2, 1, height_ratios=(top, bottom))
    return figure, upper, lower


def _assign_styles(runs: Sequence[RunRecord]) -> list[tuple[RunRecord, str, str, str]]:
    """Return each run with its label, color and marker."""
    count = len(runs)
    return list(
        zip(
            runs,
            map(_shorten, labels(runs)),
            islice(cycle(_RUN_COLORS), count),
            islice(cycle(_MARKERS), count),
            strict=True,
        )
    )


def _shorten(name: str, limit: int = 44) -> str:
    """Return a name without its middle if it is longer than `limit`, for use in a plot."""
    return plain(name if len(name) <= limit else f"{name[: limit // 2]}…{name[-limit // 2 + 1 :]}")


def plain(text: str) -> str:
    """Return a text that matplotlib draws literally, with `$` not starting a formula."""
    return text.replace("$", r"\$")


def _draw_curve(ax: Axes, x: Sequence[float], run: RunRecord, color: str, marker: str) -> None:
    y = [100 * record.val_accuracy for record in run.epochs]
    every = max(1, len(y) // 20)
    ax.plot(x, y, color=color, marker=marker, markevery=every, markersize=5, linewidth=1.8, zorder=3)


def _draw_star(ax: Axes, x: float, accuracy: float, color: str) -> None:
    ax.plot(x, 100 * accuracy, "*", color=color, markersize=15, markeredgecolor="white", clip_on=False, zorder=5)


def _draw_level_mark(ax: Axes, x: float, y: float, color: str) -> None:
    ax.plot(x, y, "D", markersize=8, markerfacecolor="white", markeredgecolor=color, markeredgewidth=1.8, zorder=4)


def _label_row(ax: Axes, row: int, name: str, color: str = INK, marker: str = "") -> None:
    """Write a run's name above its bar, with the marker of its curve, if any."""
    across = ax.get_yaxis_transform()
    if marker:
        ax.plot([0.008], [row - 0.43], marker=marker, color=color, markersize=6, transform=across, clip_on=False)
    ax.text(0.025 if marker else 0.005, row - 0.42, name, transform=across, va="center", fontsize=9, color=INK)


def _draw_legend(ax: Axes, ends: list[tuple[str, str, str, str]], empty_rows: int = 0) -> None:
    """Draw a legend: each run's line, name and final result, with `empty_rows` left at the bottom."""
    ax.set_axis_off()
    ax.set_xlim(0, 1)
    ax.set_ylim(len(ends) + empty_rows - 0.4, -0.6)
    for row, (name, color, marker, end) in enumerate(ends):
        ax.plot([0, 0.02, 0.04], [row] * 3, color=color, marker=marker, markevery=[1], markersize=6, linewidth=1.8)
        ax.text(0.055, row, name, va="center", fontsize=9, color=INK)
        ax.text(1, row, end, va="center", ha="right", fontsize=9, color=INK)


def _move_to_legend(figure: Figure, strip: Axes, bands: list[tuple[str, int, Any]], fills: dict[str, str]) -> None:
    """Remove the text of bands that are too narrow for it, and name their colors in a legend instead."""
    FigureCanvasAgg(figure).draw()
    epoch_width = strip.transData.transform((1, 0))[0] - strip.transData.transform((0, 0))[0]
    narrow = []
    for level, epochs, text in bands:
        if text.get_window_extent().width > epochs * epoch_width - 8:
            text.remove()
            narrow.append(level)
    if narrow:
        handles = [Patch(color=fills[level], label=plain(level)) for level in dict.fromkeys(narrow)]
        figure.legend(handles=handles, loc="outside lower left", ncols=4, frameon=False, fontsize=9, handlelength=1)
