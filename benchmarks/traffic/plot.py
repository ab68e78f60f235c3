"""The traffic benchmark's picture: accuracy against megabytes, a numbered point for each row."""

from __future__ import annotations

import io
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from raysplit.utils.text_table import number

_KINDS = {
    "raw images uploaded once": ("#000000", "D"),
    "paper": ("#D55E00", "s"),
    "deprune": ("#D55E00", "s"),
    "learned": ("#56B4E9", "P"),
    "prune": ("#CC79A7", "v"),
    "freeze": ("#009E73", "o"),
    "top-k": ("#E69F00", "X"),
    "randomised": ("#E69F00", "X"),
}
_OTHER = ("#0072B2", "^")


def plot(table: list[dict[str, Any]]) -> bytes:
    """Return PNG data; rows without traffic are lines across."""
    rows = [row for row in table if row["frame_mb"] > 0]
    figure = Figure(figsize=(8.5, 0.21 * len(rows) + 5.2), dpi=150, layout="constrained", facecolor="white")
    ax, key = figure.subplots(2, 1, height_ratios=(4.6, 0.21 * len(rows)))
    counts = {row["seeds"] for row in rows}
    seeds = (
        "one seed" if counts == {1} else f"mean and standard deviation of {'–'.join(map(str, sorted(counts)))} seeds"
    )
    figure.suptitle(f"Test accuracy against training traffic, {seeds}", fontsize=11)
    key.set_axis_off()
    key.set_xlim(0, 1)
    key.set_ylim(len(rows) - 0.4, -0.6)
    for place, row in enumerate(sorted(rows, key=lambda row: row["frame_mb"]), start=1):
        colour, marker = next((v for k, v in _KINDS.items() if row["name"].startswith(k)), _OTHER)
        x, y = row["frame_mb"], row["accuracy_mean"]
        ax.errorbar(x, y, row["accuracy_std"], color=colour, marker=marker, markersize=7, capsize=3, linewidth=1)
        ax.annotate(str(place), (x, y), (5, 5), textcoords="offset points", fontsize=9)
        key.plot(0.045, place - 1, color=colour, marker=marker, markersize=6)
        key.text(0.03, place - 1, str(place), ha="right", va="center", fontsize=9)
        key.text(0.065, place - 1, row["name"], va="center", fontsize=9)
        spread = "" if row["accuracy_std"] is None else f" ± {row['accuracy_std']:.1f}"
        end = f"{y:.1f}{spread} %   {number(x)} MB   {number(row['times_less'])}×"
        key.text(1, place - 1, end, ha="right", va="center", fontsize=9)
    for row in rows:
        if row["name"].startswith("raw images uploaded once"):
            ax.axvline(row["frame_mb"], color="#666666", linestyle="--", linewidth=1)
    for row in table:
        if row["name"] in ("unsplit", "device alone"):
            ax.axhline(row["accuracy_mean"], color="#666666", linestyle=":", linewidth=1)
            ax.annotate(
                row["name"],
                (1, row["accuracy_mean"]),
                (-4, -12),
                ("axes fraction", "data"),
                "offset points",
                ha="right",
                fontsize=9,
            )
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(lambda x, _: f"{x:,.10g}")
    ax.grid(color="#dddddd")
    ax.set_xlabel("frame bytes of training, both ways (MB, log scale); dashed: the raw images once")
    ax.set_ylabel("test accuracy (%)")
    data = io.BytesIO()
    FigureCanvasAgg(figure).print_png(data)
    return data.getvalue()
