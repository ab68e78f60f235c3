"""A search as a picture: every trial, the Pareto front, and its knee."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.text import Annotation
from matplotlib.ticker import MaxNLocator

from raysplit.records.trial import TrialRecord
from raysplit.report.annotations import annotate, move_apart
from raysplit.report.axes import INK, format_thousands, label_y_axis, set_log_axis, set_percent_axis
from raysplit.report.plots import new_figure, png

_GREY, _BLUE, _RED = "0.72", "#0072B2", "#D55E00"
_NUMBER = "number"
"""The horizontal axis of a search with a single objective."""
_LABELS = {
    "accuracy": "validation accuracy (%)",
    "bytes": "training traffic (bytes)",
    "seconds": "training on the given machines (s)",
    "image_bytes": "traffic per image (bytes)",
    "answer_s": "from image to answer (s)",
    "mib": "sub-models (MiB)",
    _NUMBER: "trial",
}
"""Of axes, by objective."""
_ENSEMBLE_LABELS = _LABELS | {"bytes": _LABELS["image_bytes"], "seconds": _LABELS["answer_s"]}
"""Ensembles are built without traffic: their bytes and seconds are those of an image."""
_LOG_FROM = 20
"""An axis with such a ratio of its largest to its smallest positive value is logarithmic."""


def plot_front(
    trials: Sequence[TrialRecord], objectives: Mapping[str, str], front: set[int], knee: int, *, ensembles: bool = False
) -> bytes:
    """Return a PNG: the first objective over each other one, panels below each other.

    `objectives` are names with their directions; `front` and `knee` are numbers of trials. Stopped trials are hollow,
    at the values that they had reached; those on the front have their numbers. `ensembles` says that trials built
    ensembles, and trained no split network.
    """
    labels = _ENSEMBLE_LABELS if ensembles else _LABELS
    first, *others = objectives
    others = others or [_NUMBER]
    seeds = "one seed" + (" each" if len(trials) > 1 else "")
    title = f"{len(trials)} trial{'s' if len(trials) > 1 else ''} of a search, {seeds}"
    figure = new_figure(title, 3.4 * len(others) + 0.9)
    shown = [trial for trial in trials if trial.state != "failed"]
    panels = list(zip(figure.subplots(len(others), 1, squeeze=False)[:, 0], others, strict=True))
    numbers = [_draw_panel(ax, shown, (name, first), labels, front, knee) for ax, name in panels]
    handles, names = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    for (ax, name), texts in zip(panels, numbers, strict=True):
        move_apart(figure, ax, texts, [(_value(trial, name), _value(trial, first)) for trial in shown])
    return png(figure)


def _draw_panel(
    ax: Axes,
    trials: Sequence[TrialRecord],
    axes: tuple[str, str],
    labels: Mapping[str, str],
    front: set[int],
    knee: int,
) -> list[Annotation]:
    """Draw the trials of a panel, and return the numbers of those on the front.

    `axes` are the objectives of the horizontal and of the vertical axis.
    """
    name, first = axes
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
            ax.scatter(x, y, label=label, **{"s": 28, "zorder": 3, **style})
    values = [_value(trial, name) for trial in trials]
    positive = [value for value in values if value > 0]
    is_log = name != _NUMBER and positive and max(positive) > _LOG_FROM * min(positive)
    if is_log:
        set_log_axis(ax, values, margin=1.8)
    else:
        ax.margins(x=0.08)
        ax.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=name == _NUMBER))
        ax.xaxis.set_major_formatter(format_thousands)
    ax.margins(y=0.12)
    set_y_axis = set_percent_axis if first == "accuracy" else label_y_axis
    set_y_axis(ax, labels.get(first, first))
    label = labels.get(name, name)
    ax.set_xlabel(f"{label.removesuffix(')')}, log scale)" if is_log else label, color=INK)
    best = [trial for trial in trials if trial.number in front]
    return [annotate(ax, str(trial.number), (_value(trial, name), _value(trial, first)), INK) for trial in best]


def _value(trial: TrialRecord, name: str) -> float:
    if name == _NUMBER:
        return trial.number
    return 100 * trial.objectives[name] if name == "accuracy" else trial.objectives[name]
