"""Reports on every schedule and mode, alone and beside others, and on records that say little."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise, product

import pytest
from matplotlib.colors import to_rgb

from raysplit.cli.main import main
from raysplit.folders.reader import read_run
from raysplit.report.plots import plot_accuracy_by_epoch, plot_accuracy_by_traffic, plot_families, plot_time, png
from raysplit.report.table import format_runs
from tests.report.cells import Cells
from tests.report.schedules import SCHEDULES, make_record, make_run, write

KINDS = [kind for kind in product(SCHEDULES, (False, True)) if kind != ("prune", True)]
PLOTS = (plot_accuracy_by_traffic, plot_accuracy_by_epoch, plot_time)


def with_epochs(run, *, ended=True, **changes):
    """Return a run with the same changes in every epoch."""
    return make_record(run.config, [replace(record, **changes) for record in run.epochs], ended)


@pytest.mark.parametrize(
    ("schedule", "local_loss"),
    [kind if index % 2 == 0 else pytest.param(*kind, marks=pytest.mark.slow) for index, kind in enumerate(KINDS)],
)
def test_every_schedule_is_drawn_alone(schedule, local_loss):
    run = make_run(schedule, local_loss)
    for plot in PLOTS:
        assert len(png(plot([run]))) > 5_000
    assert run.name in format_runs([run])


def test_every_schedule_is_reported_beside_the_others(tmp_path, capsys):
    runs = [make_run(*kind, ended=index % 5 != 4) for index, kind in enumerate(KINDS)]
    assert {record.mode for run in runs for record in run.epochs} == {"joint", "local", "alone", "frozen", "cached"}
    folders = [write(run, tmp_path / run.name) for run in runs]
    assert main(["report", *folders, "-o", str(tmp_path / "all.html")]) == 0
    printed = capsys.readouterr().out
    assert all(run.name in printed for run in runs) and (tmp_path / "all-family.png").exists()
    shown = {row[0] for row in Cells((tmp_path / "all.html").read_text()).rows}
    assert shown >= {run.name for run in runs}


@pytest.mark.parametrize("epochs", [1, 2, 61])
def test_nothing_crosses_at_first(epochs):
    run = make_run("freeze_and_cache", local_loss=True, epochs=max(2, epochs), ended=epochs > 1)
    run = replace(run, epochs=run.epochs[:epochs])
    figure = plot_accuracy_by_traffic([run])
    png(figure)
    ax = figure.axes[0]
    curve = ax.lines[0].get_xdata()
    assert curve[0] == 0 and list(curve) == [size / 1e6 for size in run.traffic]
    assert ax.get_xscale() == "symlog" and ax.get_xticks()[0] == 0 and ax.get_xticklabels()[0].get_text() == "0"
    left, right = (ax.transData.transform((x, 0))[0] for x in (0, 0.9 * ax.get_xlim()[1]))
    assert ax.bbox.x0 < left < right <= ax.bbox.x1


@pytest.mark.parametrize("plot", [plot_accuracy_by_traffic, plot_accuracy_by_epoch])
def test_little_noise_looks_little(plot):
    flat = with_epochs(make_run("plateau"), val_accuracy=0.995)
    low, high = plot([flat]).axes[0].get_ylim()
    assert 3.5 < high - low < 5 and low < 98.5 and high <= 101


def test_nothing_ever_crosses(tmp_path, capsys):
    silent = with_epochs(
        make_run("prune"), bytes=replace(make_run("prune").epochs[0].bytes, up_activations=0, down_gradients=0)
    )
    assert silent.traffic[-1] == 0
    assert main(["report", write(silent, tmp_path / "run"), "-o", str(tmp_path / "r.html")]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("digits_prune"))
    assert row.split()[2:6] == ["0", "0", "–", "–"]
    ax, legend = plot_families([silent]).axes
    assert "nothing crosses" in legend.texts[1].get_text() and len(ax.texts) == 2 and not any(ax.lines[0].get_xdata())


@pytest.mark.parametrize("value", [math.nan, None])
def test_what_was_not_measured_is_a_dash(value, tmp_path, capsys):
    """An empty cell reads like a column that older records lack; a NaN is shown as a dash."""
    run = with_epochs(
        make_run("deprune"), ended=False, seconds=value, device_s=value, val_accuracy=value, val_loss=value
    )
    folder = write(run, tmp_path / "run")
    assert main(["report", folder, "-o", str(tmp_path / "r.html")]) == 0
    assert "nan" not in capsys.readouterr().out and "None" not in (tmp_path / "r.html").read_text()
    assert read_run(folder).epochs[0].server_s == 1.0


def test_a_run_without_test_accuracy():
    run = make_run("fixed")
    run = replace(run, summary=run.summary.model_copy(update={"accuracy": math.nan}))
    assert "val 81.7% · 0.14 MB" in [text.get_text() for text in plot_accuracy_by_traffic([run]).axes[1].texts]
    assert "–" in format_runs([run])
    png(plot_accuracy_by_epoch([run]))


def test_twelve_runs_look_different():
    runs = [replace(make_run("deprune"), path=f"runs/{index}" + "long" * 40) for index in range(12)]
    drawn = {(line.get_color(), line.get_marker()) for line in plot_accuracy_by_epoch(runs).axes[0].lines}
    assert len({style for style in drawn if style[1] != "*"}) == 12


def test_levels_have_other_colors_than_runs():
    runs = [make_run("deprune")] * 8
    ax, strip = plot_accuracy_by_epoch(runs).axes
    fills = {bar.get_facecolor()[:3] for bar in strip.patches}
    for line in ax.lines:
        assert all(math.dist(to_rgb(line.get_color()), fill) > 0.25 for fill in fills)


def test_no_level_is_written_on_a_line_or_a_point():
    steep = make_run("prune", epochs=8)
    rows = [replace(record, test_accuracy=record.val_accuracy) for record in steep.epochs]
    figure = plot_families([make_record(steep.config, rows)])
    png(figure)
    ax = figure.axes[0]
    path = ax.transData.transform(ax.lines[0].get_xydata())
    for text in ax.texts:
        box = text.get_window_extent()
        for start, end in pairwise(path):
            along = [start + share / 50 * (end - start) for share in range(51)]
            assert not any(box.contains(*point) for point in along), text.get_text()
