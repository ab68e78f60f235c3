"""The ensemble benchmark's picture: accuracy against operations, and with sub-models lost."""

from __future__ import annotations

import io
import math
import statistics
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

_OURS = ("#0072B2", "o")
_KINDS = {
    "full": ("#000000", "D"),
    "one small net of equal total cost": ("#D55E00", "s"),
    "n=10 without class split": ("#D55E00", "s"),
    "n=10, random scores": ("#D55E00", "s"),
    "n=10, no retraining": ("#D55E00", "s"),
    "n=10, no rest class": ("#D55E00", "s"),
    "n=1": ("#D55E00", "s"),
    "n=2": _OURS,
    "n=3": _OURS,
    "n=5": _OURS,
    "n=10": _OURS,
}
_OTHER = ("#009E73", "^")
_LOST = {
    "n=10": ("#0072B2", "o", "-"),
    "n=10, no feature dropout": ("#D55E00", "s", "--"),
    "n=5": ("#56B4E9", "^", "-"),
    "n=3": ("#009E73", "v", "-"),
}


def plot(table: list[dict[str, Any]], title: str) -> bytes:
    """Return PNG data: two panels of accuracy against GMAC, one of lost sub-models, and a numbered key."""
    high = 0.2 * len(table)
    figure = Figure(figsize=(12.5, 4.4 + high), dpi=150, layout="constrained", facecolor="white")
    figure.suptitle(f"{title}: test accuracy, mean and standard deviation over seeds", fontsize=11)
    grid = figure.add_gridspec(2, 3, height_ratios=(4.2, high))
    device, total, lost = (figure.add_subplot(grid[0, i]) for i in range(3))
    _against(device, table, "gmac_device_max", "GMAC of the busiest device (log scale)")
    _against(total, table, "gmac_total", "GMAC of all devices (log scale)")
    _when_lost(lost, table)
    _key(figure.add_subplot(grid[1, :]), table)
    data = io.BytesIO()
    canvas: Any = FigureCanvasAgg(figure)
    canvas.print_png(data)
    return data.getvalue()


def _look(name: str) -> tuple[str, str]:
    return _KINDS.get(name, _OTHER)


def _against(ax: Axes, table: list[dict[str, Any]], cost: str, label: str) -> None:
    for row in table:
        colour, marker = _look(row["name"])
        y, spread = row["accuracy_mean"], row["accuracy_std"]
        ax.errorbar(row[cost], y, spread, color=colour, marker=marker, markersize=6, capsize=3, linewidth=1)
    for numbers in _together([(math.log10(row[cost]), row["accuracy_mean"]) for row in table]):
        x, y = (statistics.mean(table[n - 1][key] for n in numbers) for key in (cost, "accuracy_mean"))
        text = ", ".join(map(str, numbers))
        ax.annotate(text, (x, y), (7, 0), textcoords="offset points", fontsize=8, va="center")
    full = table[0]["accuracy_mean"]
    ax.axhline(full, color="#666666", linestyle=":", linewidth=1)
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(lambda x, _: f"{x:.4g}")
    ax.xaxis.set_minor_locator(NullLocator())
    low, high = (choice(row[cost] for row in table) for choice in (min, max))
    ax.set_xlim(low / 1.1 * (low / high) ** 0.1, high * 1.1 * (high / low) ** 0.4)  # with room for the last labels
    ax.grid(color="#dddddd")
    ax.set_xlabel(label)
    ax.set_ylabel("test accuracy (%)")


def _together(points: list[tuple[float, float]]) -> list[list[int]]:
    """Return the numbers, from 1, of points above each other whose labels would overlap, group by group."""
    ys = [y for _, y in points]
    near = (max(ys) - min(ys)) / 25
    found: list[list[int]] = []
    for number, (x, y) in sorted(enumerate(points, start=1), key=lambda item: (round(item[1][0], 2), item[1][1])):
        first = points[found[-1][0] - 1] if found else (math.inf, math.inf)
        if abs(first[0] - x) < 0.02 and abs(first[1] - y) < near:
            found[-1].append(number)
        else:
            found.append([number])
    return [sorted(numbers) for numbers in found]


def _when_lost(ax: Axes, table: list[dict[str, Any]]) -> None:
    for row in table:
        if row["name"] in _LOST:
            colour, marker, line = _LOST[row["name"]]
            values = [row[key] for key in ("accuracy_mean", "lost1", "lost2", "lost3") if row[key] is not None]
            ax.plot(range(len(values)), values, color=colour, marker=marker, linestyle=line, label=row["name"])
    ax.axhline(table[0]["accuracy_mean"], color="#666666", linestyle=":", linewidth=1)
    ax.set_xticks(range(4))
    ax.grid(color="#dddddd")
    ax.legend(fontsize=8, loc="lower left")
    ax.set_xlabel("lost sub-models")
    ax.set_ylabel("test accuracy (%)")


def _key(ax: Axes, table: list[dict[str, Any]]) -> None:
    ax.set_axis_off()
    ax.set_xlim(0, 1)
    ax.set_ylim(len(table) - 0.4, -0.6)
    for number, row in enumerate(table, start=1):
        colour, marker = _look(row["name"])
        spread = "" if row["accuracy_std"] is None else f" ± {row['accuracy_std']:.1f}"
        cost = f"{row['gmac_device_max']:.4g} of {row['gmac_total']:.4g} GMAC"
        lost = "" if row["lost1"] is None else f"   one lost: {row['lost1']:.1f} %"
        ax.text(0.155, number - 1, str(number), ha="right", va="center", fontsize=8)
        ax.plot(0.17, number - 1, color=colour, marker=marker, markersize=5)
        ax.text(0.185, number - 1, row["name"], va="center", fontsize=8)
        ax.text(0.47, number - 1, f"{row['accuracy_mean']:.1f}{spread} %{lost}", va="center", fontsize=8)
        ax.text(
            0.85,
            number - 1,
            f"{row['mib_device_max']:.3g} of {row['mib_total']:.3g} MiB   {cost}",
            ha="right",
            va="center",
            fontsize=8,
        )
