"""The picture of the benchmark of many devices: accuracy against the megabytes of a device, for each kind of shards."""

from __future__ import annotations

import io
from collections.abc import Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from many.rows import CENTRAL
from many.table import Line

_COLOURS = ("#666666", "#0072B2", "#009E73", "#D55E00", "#E69F00", "#CC79A7", "#56B4E9", "#000000")
_MARKERS = "soD^vXP*"


def plot(table: Sequence[Line]) -> bytes:
    """Return PNG data."""
    central = next(line["accuracy_mean"] for line in table if line["mode"] == CENTRAL)
    points = [line for line in table if line["mode"] != CENTRAL]
    panels = [shards for shards in ("iid", "dirichlet(0.5)", "dirichlet(0.1)") if _of(points, shards)]
    methods = list(dict.fromkeys(_method(line) for line in points))
    width = max(1, len(panels))
    figure = Figure(figsize=(3.2 * width + 0.6, 4.6), dpi=150, layout="constrained", facecolor="white")
    counts = {line["seeds"] for line in points}
    seeds = "one seed" if counts == {1} else f"mean and standard deviation of up to {max(counts, default=1)} seeds"
    figure.suptitle(f"Test accuracy of ten devices against their training traffic, {seeds}", fontsize=11)
    axes = figure.subplots(1, width, sharex=True, sharey=True, squeeze=False)[0]
    for ax, shards in zip(axes, panels, strict=False):
        ax.axhline(central, color="#666666", linestyle=":", linewidth=1)
        ax.annotate("central", (0.02, central), (0, 3), ("axes fraction", "data"), "offset points", fontsize=8)
        for line in _of(points, shards):
            place = methods.index(_method(line)) % len(_MARKERS)
            ax.errorbar(
                line["bytes_per_device"] / 1e6,
                line["accuracy_mean"],
                line["accuracy_std"],
                color=_COLOURS[place],
                marker=_MARKERS[place],
                markersize=7,
                capsize=3,
                linestyle="none",
                label=_method(line),
            )
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(lambda x, _: f"{x:,.10g}")
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.grid(color="#dddddd")
        ax.set_title(shards, fontsize=10)
        ax.set_xlabel("MB a device, both ways")
    axes[0].set_ylabel("test accuracy (%)")
    handles = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    data = io.BytesIO()
    FigureCanvasAgg(figure).print_png(data)
    return data.getvalue()


def _of(table: Sequence[Line], shards: str) -> list[Line]:
    return [line for line in table if line["shards"] == shards]


def _method(line: Line) -> str:
    return str(line["name"]).removesuffix(f", {line['shards']}")
