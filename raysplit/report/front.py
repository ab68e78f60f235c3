"""A search as a picture: every trial, the Pareto front, and its knee."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from raysplit.records.trial import TrialRecord
from raysplit.report.axes import INK, draw_grid

_GREY, _BLUE, _RED = "0.72", "#0072B2", "#D55E00"
_NUMBER = "number"
"""The horizontal axis of a search with a single objective."""


def plot_front(trials: Sequence[TrialRecord], objectives: Mapping[str, str], front: set[int], knee: int) -> bytes:
    """Return a PNG: the first objective over each other one.

    `objectives` are names with their directions; `front` and `knee` are numbers of trials. Stopped trials are hollow,
    at the values that they had reached; those on the front have their numbers.
    """
    first, *others = objectives
    others = others or [_NUMBER]
    figure = Figure(figsize=(4.6 * len(others), 4.2), layout="constrained")
    seeds = "one seed" + (" each" if len(trials) > 1 else "")
    title = f"{len(trials)} trial{'s' if len(trials) > 1 else ''} of a search, {seeds}"
    figure.suptitle(title, x=0.012, ha="left", fontsize=12, fontweight="bold", color=INK)
    shown = [trial for trial in trials if trial.state != "failed"]
    for axes, name in zip(figure.subplots(1, len(others), squeeze=False)[0], others, strict=True):
        _draw_panel(axes, shown, first, name, front, knee)
    figure.axes[0].legend(loc="lower right", fontsize=8)
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=120)
    return sink.getvalue()


def _draw_panel(axes: Axes, trials: Sequence[TrialRecord], first: str, name: str, front: set[int], knee: int) -> None:
    finished = [trial for trial in trials if trial.state == "finished"]
    groups: tuple[tuple[str, list[TrialRecord], dict[str, Any]], ...] = (
        ("stopped early", [t for t in trials if t.state == "stopped"], {"facecolors": "none", "edgecolors": _GREY}),
        ("dominated", [t for t in finished if t.number not in front], {"color": _GREY}),
        ("on the front", [t for t in trials if t.number in front], {"color": _BLUE}),
        ("knee", [t for t in trials if t.number == knee], {"color": _RED, "marker": "*", "s": 130}),
    )
    for label, members, style in groups:
        if members:
            x, y = ([_value(trial, axis) for trial in members] for axis in (name, first))
            axes.scatter(x, y, label=label, **{"s": 28, **style})
    values = [_value(trial, name) for trial in trials]
    if name != _NUMBER and min(values) > 0 and max(values) > 20 * min(values):
        axes.set_xscale("log")
    for trial in trials:
        if trial.number in front:
            at = (_value(trial, name), _value(trial, first))
            axes.annotate(str(trial.number), at, (5, 5), textcoords="offset points", fontsize=8, color=INK)
    axes.set_xlabel(_label(name), color=INK)
    axes.set_ylabel(_label(first), color=INK)
    draw_grid(axes)


def _value(trial: TrialRecord, name: str) -> float:
    if name == _NUMBER:
        return trial.number
    return 100 * trial.objectives[name] if name == "accuracy" else trial.objectives[name]


def _label(name: str) -> str:
    return {"accuracy": "validation accuracy (%)", _NUMBER: "trial"}.get(name, name)
