"""The plots. Each function takes runs and returns a figure of its own; pyplot and its global state stay out."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from itertools import cycle, islice
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from matplotlib.transforms import Bbox

from raysplit.folders.reader import RunRecord, labels
from raysplit.utils.text_table import megabytes, number, percent, times

WIDTH, DPI = 7.2, 160
"""Inches and dots per inch: text stays readable when a phone shrinks the picture."""
INK, _FAINT, _GRID = "#222222", "#666666", "#dddddd"
# Okabe and Ito's eight, its yellow changed for grey: yellow lines vanish on white.
_RUNS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#888888")
_MARKERS = ("o", "s", "^", "v", "P", "X", "p", "h")
# Paul Tol's light scheme: safe for colour-blind readers beneath black text.
_LEVELS = ("#99DDFF", "#EEDD88", "#FFAABB", "#44BB99", "#77AADD", "#EE8866", "#BBCC33", "#DDDDDD")
_PLACES = {"device": "#77AADD", "server": "#EECC66", "link": "#BBBBBB"}


def accuracy_bytes(runs: Sequence[RunRecord]) -> Figure:
    """Plot validation accuracy against cumulative training megabytes (log), with the test accuracy at the end."""
    figure, ax, key = _panels("Accuracy against training traffic", 3.2, 0.23 * (len(runs) + 1))
    ends = []
    for run, name, colour, marker in _styled(runs):
        x = [size / 1e6 if size else math.nan for size in run.traffic]  # a logarithmic axis has no place for 0
        _curve(ax, x, run, colour, marker)
        for _, start, _ in run.phases[1:]:
            _level_mark(ax, x[start], 100 * run.epochs[start].val_accuracy, colour)
        end = f"val {percent(run.epochs[-1].val_accuracy)}, not ended"
        if run.summary is not None:
            _star(ax, x[-1], run.summary.accuracy, colour)
            end = f"test {percent(run.summary.accuracy)}"
        ends.append((name, colour, marker, f"{end} · {megabytes(run.traffic[-1])} MB"))
    uploads = sorted({run.summary.bytes_raw_upload for run in runs if run.summary is not None})
    for i, size in enumerate(uploads):
        ax.axvline(size / 1e6, color=_FAINT, linestyle="--", linewidth=1.2, zorder=1)
        text = f"raw images once: {megabytes(size)} MB"
        at: dict[str, Any] = {"xycoords": ax.get_xaxis_transform(), "textcoords": "offset points", "ha": "center"}
        ax.annotate(text, (size / 1e6, 1), (0, 4 + 12 * i), fontsize=9, color=_FAINT, **at)
    points = [size / 1e6 for size in uploads] + [size / 1e6 for run in runs for size in run.traffic]
    _log_axis(ax, points, room=1.8)
    ax.set_xlabel("training traffic so far, both ways (MB, log scale)", color=INK)
    _percent_axis(ax, "validation accuracy (%), ★ test")
    _key(key, ends, spare=1)
    _level_mark(key, 0.02, len(ends), _FAINT)
    key.text(0.055, len(ends), "first epoch at a new level", va="center", fontsize=9, color=_FAINT)
    return figure


def accuracy_sample(runs: Sequence[RunRecord]) -> Figure:
    """Plot the test accuracy of each model of some prune families against its training bytes an image (log)."""
    figure, ax, key = _panels("Families: what fewer bytes cost", 3.2, 0.23 * len(runs))
    ends, texts = [], []
    for run, name, colour, marker in _styled(runs):
        x, y = [m.bytes_per_sample for m in run.levels], [100 * m.test_accuracy for m in run.levels]
        ax.plot(x, y, color=colour, marker=marker, markersize=8, markeredgecolor="white", linewidth=1.2, zorder=3)
        for member, at in zip(run.levels, zip(x, y, strict=True), strict=True):
            texts.append(_beside(ax, plain(member.level), at, colour))
        loose, tight = run.levels[0], run.levels[-1]
        lost = f"{100 * (tight.test_accuracy - loose.test_accuracy):+.1f} points".replace("-", "−")
        fewer = times(loose.bytes_per_sample / tight.bytes_per_sample)
        ends.append((name, colour, marker, f"{lost} for {fewer} fewer bytes" if len(x) > 1 else "one level so far"))
    _log_axis(ax, [m.bytes_per_sample for run in runs for m in run.levels], room=2.5)
    ax.set_xlabel("training traffic per image, both ways (bytes, log scale)", color=INK)
    ax.margins(y=0.2)
    low, high = ax.get_ylim()
    # A tenth of a point is noise and should look like it.
    spare = max(0.0, 4 - (high - low)) / 2
    ax.set_ylim(low - spare, high + spare)
    _percent_axis(ax, "test accuracy (%)")
    _key(key, ends)
    _move_apart(figure, texts)
    return figure


def accuracy_epochs(runs: Sequence[RunRecord]) -> Figure:
    """Plot validation accuracy after each epoch, above a strip for each run that names the level in force."""
    figure, ax, strip = _panels("Accuracy by epoch, and the level in force", 2.9, 0.52 * len(runs))
    strip.sharex(ax)
    levels = list(dict.fromkeys(level for run in runs for level, _, _ in run.phases))
    fills = dict(zip(levels, cycle(_LEVELS), strict=False))
    bands = []
    for row, (run, name, colour, marker) in enumerate(_styled(runs)):
        x = range(1, len(run.epochs) + 1)
        _curve(ax, x, run, colour, marker)
        if run.summary is not None:
            _star(ax, x[-1], run.summary.accuracy, colour)
        for level, start, end in run.phases:
            strip.barh(row, end - start, left=start + 0.5, height=0.42, color=fills[level], edgecolor="white")
            bands.append((level, end - start, strip.text((start + end + 1) / 2, row, plain(level), **_CENTRED)))
        _above(strip, row, name, colour, marker)
    longest = max(len(run.epochs) for run in runs)
    ax.set_xlim(0.5, longest + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12, min_n_ticks=1))
    ax.tick_params(labelbottom=False)
    _percent_axis(ax, "validation accuracy (%), ★ test")
    _rows_axis(strip, len(runs))
    strip.set_xlabel("epoch", color=INK)
    _name_what_does_not_fit(figure, strip, bands, fills)
    return figure


def time_spent(runs: Sequence[RunRecord]) -> Figure:
    """Plot the seconds that each run spent on the device, on the server and on neither (the link)."""
    figure = new_figure("Where the time went", 0.55 * len(runs) + 1.3)
    ax = figure.add_subplot()
    spent = [{place: sum(getattr(record, f"{place}_s") for record in run.epochs) for place in _PLACES} for run in runs]
    longest = max(sum(places.values()) for places in spent)
    for row, (run, name, _, _) in enumerate(_styled(runs)):
        left = 0.0
        for place, colour in _PLACES.items():
            seconds = spent[row][place]
            ax.barh(row, seconds, left=left, height=0.42, color=colour, edgecolor="white")
            if seconds > 0.09 * longest:
                ax.text(left + seconds / 2, row, number(seconds), **_CENTRED)
            left += seconds
        ended = "" if run.summary is not None else f" after {len(run.epochs)} of {run.planned} epochs"
        at: dict[str, Any] = {"textcoords": "offset points", "va": "center"}
        ax.annotate(f"{number(left)} s{ended}", (left, row), (5, 0), fontsize=9, color=INK, **at)
        _above(ax, row, name)
    ax.set_xlim(0, 1.32 * longest)
    _rows_axis(ax, len(runs))
    ax.xaxis.set_major_formatter(_thousands)
    ax.set_xlabel("seconds of training and validation", color=INK)
    handles = [Patch(color=colour, label=place) for place, colour in _PLACES.items()]
    figure.legend(handles=handles, loc="upper right", ncols=3, frameon=False, fontsize=10, handlelength=1)
    return figure


def png(figure: Figure) -> bytes:
    """Return a figure as PNG data."""
    data = io.BytesIO()
    FigureCanvasAgg(figure).print_png(data)
    return data.getvalue()


_CENTRED: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 9, "color": "black"}


def _thousands(x: float, _: float) -> str:
    return f"{x:,.10g}"


def new_figure(title: str, height: float) -> Figure:
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained", facecolor="white")
    figure.suptitle(title, x=0.012, ha="left", fontsize=12, fontweight="bold", color=INK)
    return figure


def _panels(title: str, top: float, bottom: float) -> tuple[Figure, Axes, Axes]:
    """Return a figure with a plot above and a panel of rows beneath, of the given heights in inches."""
    figure = new_figure(title, top + bottom + 1.1)
    upper, lower = figure.subplots(2, 1, height_ratios=(top, bottom))
    return figure, upper, lower


def _styled(runs: Sequence[RunRecord]) -> list[tuple[RunRecord, str, str, str]]:
    """Return each run with its label, colour and marker."""
    count = len(runs)
    return list(
        zip(runs, map(_short, labels(runs)), islice(cycle(_RUNS), count), islice(cycle(_MARKERS), count), strict=True)
    )


def _short(name: str, most: int = 60) -> str:
    """Take out the middle of a long name, and keep `$` from starting a formula."""
    return plain(name if len(name) <= most else f"{name[: most // 2]}…{name[-most // 2 + 1 :]}")


def plain(text: str) -> str:
    return text.replace("$", r"\$")


def _curve(ax: Axes, x: Sequence[float], run: RunRecord, colour: str, marker: str) -> None:
    y = [100 * record.val_accuracy for record in run.epochs]
    every = max(1, len(y) // 20)
    ax.plot(x, y, color=colour, marker=marker, markevery=every, markersize=5, linewidth=1.8, zorder=3)


def _star(ax: Axes, x: float, accuracy: float, colour: str) -> None:
    ax.plot(x, 100 * accuracy, "*", color=colour, markersize=15, markeredgecolor="white", clip_on=False, zorder=5)


def _level_mark(ax: Axes, x: float, y: float, colour: str) -> None:
    ax.plot(x, y, "D", markersize=8, markerfacecolor="white", markeredgecolor=colour, markeredgewidth=1.8, zorder=4)


def _log_axis(ax: Axes, points: Sequence[float], room: float) -> None:
    """Give the x axis a log scale from the smallest point to the largest, with a factor `room` on either side."""
    crossed = [point for point in points if point > 0] or [1.0]
    low, high = min(crossed) / room, max(crossed) * room
    ax.set_xscale("log")
    ax.set_xlim(low, high)
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 3e3 else (1,)))
    ax.xaxis.set_major_formatter(_thousands)
    ax.xaxis.set_minor_formatter(NullFormatter())


def _percent_axis(ax: Axes, label: str) -> None:
    ax.set_ylim(top=min(ax.get_ylim()[1], 101))
    ax.set_ylabel(label, color=INK)
    ax.grid(color=_GRID, linewidth=0.8)
    ax.spines[["top", "right"]].set_visible(False)


def _rows_axis(ax: Axes, count: int) -> None:
    ax.set_ylim(count - 0.6, -0.75)
    ax.set_yticks([])
    ax.spines[["top", "right", "left"]].set_visible(False)


def _above(ax: Axes, row: int, name: str, colour: str = INK, marker: str = "") -> None:
    """Write a run's name over its bar, with its curve's marker where it has one."""
    across = ax.get_yaxis_transform()
    if marker:
        ax.plot([0.008], [row - 0.43], marker=marker, color=colour, markersize=6, transform=across, clip_on=False)
    ax.text(0.025 if marker else 0.005, row - 0.42, name, transform=across, va="center", fontsize=9, color=INK)


def _key(ax: Axes, ends: list[tuple[str, str, str, str]], spare: int = 0) -> None:
    """Name the runs under a plot, each with its line and what it came to; `spare` rows beneath stay empty."""
    ax.set_axis_off()
    ax.set_xlim(0, 1)
    ax.set_ylim(len(ends) + spare - 0.4, -0.6)
    for row, (name, colour, marker, end) in enumerate(ends):
        ax.plot([0, 0.02, 0.04], [row] * 3, color=colour, marker=marker, markevery=[1], markersize=6, linewidth=1.8)
        ax.text(0.055, row, name, va="center", fontsize=9, color=INK)
        ax.text(1, row, end, va="center", ha="right", fontsize=9, color=INK)


def _beside(ax: Axes, text: str, at: tuple[float, float], colour: str) -> Annotation:
    style: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "va": "center", "fontsize": 9}
    halo = [withStroke(linewidth=3, foreground="white")]
    return ax.annotate(text, at, (0, 13), color=colour, zorder=6, path_effects=halo, **style)


def _move_apart(figure: Figure, texts: Sequence[Annotation]) -> None:
    """Put each text above its point, below it, or further off, where no point and no text before it stands."""
    FigureCanvasAgg(figure).draw()
    places = [text.axes.transData.transform(text.xy) for text in texts if text.axes is not None]
    taken = [Bbox([at - 12, at + 12]) for at in places]
    for text in texts:
        for height in (13, -13, 26, -26, 39, -39):
            text.set_position((0, height))
            box = text.get_window_extent()
            if not any(box.overlaps(other) for other in taken):
                break
        taken.append(box)


def _name_what_does_not_fit(
    figure: Figure, strip: Axes, bands: list[tuple[str, int, Any]], fills: dict[str, str]
) -> None:
    """Take the text off bands that are too narrow for it, and name their colours in a legend instead."""
    FigureCanvasAgg(figure).draw()
    epoch = strip.transData.transform((1, 0))[0] - strip.transData.transform((0, 0))[0]
    narrow = []
    for level, epochs, text in bands:
        if text.get_window_extent().width > epochs * epoch - 8:
            text.remove()
            narrow.append(level)
    if narrow:
        handles = [Patch(color=fills[level], label=plain(level)) for level in dict.fromkeys(narrow)]
        figure.legend(handles=handles, loc="outside lower left", ncols=4, frameon=False, fontsize=9, handlelength=1)
