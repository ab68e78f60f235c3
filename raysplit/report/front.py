"""A search as a picture: every trial, the Pareto front, and its knee."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

_GREY, _BLUE, _RED = "0.72", "tab:blue", "tab:red"


def plot_front(trials: Sequence[Mapping[str, Any]], objectives: Mapping[str, str], front: set[int], knee: int) -> bytes:
    """Return a PNG: the first objective over each other one.

    `trials` are records of a search (raysplit.folders.search_dir), `front` and `knee` numbers of trials. Trials
    that were stopped are hollow, where they had come to.
    """
    first, *others = objectives
    others = others or ["number"]
    figure = Figure(figsize=(4.6 * len(others), 4.2), layout="constrained")
    shown = [trial for trial in trials if trial["state"] != "failed"]
    for axes, name in zip(figure.subplots(1, len(others), squeeze=False)[0], others, strict=True):
        _panel(axes, shown, first, name, front, knee)
    figure.axes[0].legend(loc="lower right", fontsize=8)
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=120)
    return sink.getvalue()


def _panel(axes: Axes, trials: Sequence[Mapping[str, Any]], first: str, name: str, front: set[int], knee: int) -> None:
    groups: tuple[tuple[str, list[Mapping[str, Any]], dict[str, Any]], ...] = (
        ("stopped early", [t for t in trials if t["state"] == "stopped"], {"facecolors": "none", "edgecolors": _GREY}),
        ("beaten", [t for t in trials if t["state"] == "finished" and t["number"] not in front], {"color": _GREY}),
        ("on the front", [t for t in trials if t["number"] in front], {"color": _BLUE}),
        ("knee", [t for t in trials if t["number"] == knee], {"color": _RED, "marker": "*", "s": 130}),
    )
    for label, some, style in groups:
        if some:
            axes.scatter([t[name] for t in some], [t[first] for t in some], label=label, **{"s": 28, **style})
    values = [t[name] for t in trials]
    if name != "number" and min(values) > 0 and max(values) > 20 * min(values):
        axes.set_xscale("log")
    axes.set_xlabel(name)
    axes.set_ylabel(first)
    axes.grid(alpha=0.3)
