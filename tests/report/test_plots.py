import io
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from raysplit.report import read_run
from raysplit.report.plots import plot_accuracy_by_epoch, plot_accuracy_by_traffic, plot_families, plot_time, png


@pytest.fixture
def runs(three):
    return [read_run(path) for path in three]


def texts(ax):
    return [text.get_text() for text in ax.texts]


def marks(ax, marker):
    return [(line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines if line.get_marker() == marker]


@pytest.mark.parametrize("plot", [plot_accuracy_by_traffic, plot_accuracy_by_epoch, plot_time])
@pytest.mark.parametrize("count", [1, 9])
def test_image(plot, count, runs):
    image = Image.open(io.BytesIO(png(plot((runs * 3)[:count]))))
    assert image.format == "PNG" and image.width > 1000 and image.height > 250
    assert np.asarray(image.convert("L")).std() > 10


def test_accuracy_by_traffic(runs):
    ax, key = plot_accuracy_by_traffic(runs).axes
    assert ax.get_xscale() == "log"
    assert ax.lines[0].get_xdata() == pytest.approx([size / 1e6 for size in runs[0].traffic])
    assert ax.lines[0].get_ydata() == pytest.approx([50, 58, 66, 74, 88, 90])
    assert marks(ax, "D") == [pytest.approx((runs[0].traffic[4] / 1e6, 88))]
    assert marks(ax, "*") == [pytest.approx((2.484, 91.3)), pytest.approx((360.056, 96))]
    dashed = [line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == "--"]
    assert dashed == [2.8224] and texts(ax) == ["raw upload: 2.82 MB"]
    assert "test 91.3% · 2.48 MB" in texts(key) and "val 60.0%, unfinished · 0.76 MB" in texts(key)


def test_families(record):
    families = [read_run(record(folder, "family")) for folder in ("a", "b")]
    figure = plot_families(families)
    ax, key = figure.axes
    assert ax.get_xscale() == "log"
    for line in ax.lines:
        assert line.get_xdata() == pytest.approx([814_000 / 3600, 214_000 / 3600])
        assert line.get_ydata() == pytest.approx([86, 84.3])
    assert texts(ax) == ["c16·b4/b4·zstd", "c4·b4/b4·zstd"] * 2
    assert texts(key).count("−1.7 points at 3.80× reduction") == 2
    # The families lie on top of each other, but their labels must not overlap.
    FigureCanvasAgg(figure).draw()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_a_family_of_one_level_so_far(record):
    run = read_run(record("a", "family"))
    run = replace(run, epochs=run.epochs[:2])
    assert "one level so far" in texts(plot_families([run]).axes[1])


def test_accuracy_by_epoch(runs):
    ax, strip = plot_accuracy_by_epoch(runs).axes
    assert list(ax.lines[0].get_xdata()) == [1, 2, 3, 4, 5, 6]
    assert [(bar.get_x(), bar.get_width()) for bar in strip.patches] == [(0.5, 4), (4.5, 2), (0.5, 4), (0.5, 3)]
    deprune, loose, plain, unfinished = (bar.get_facecolor() for bar in strip.patches)
    assert deprune == unfinished and len({deprune, loose, plain}) == 3
    assert {"c4·b4/b4·zstd", "c16·b4/b4·zstd", "all·b32/b32", "mnist5k_plain"} <= set(texts(strip))


def test_narrow_bands_are_named_in_the_legend(runs):
    first = runs[1].epochs[0]
    epochs = tuple(replace(first, epoch=i, level=f"c{1 + i // 2}·b4/b4·zstd") for i in range(20))
    figure = plot_accuracy_by_epoch([replace(runs[1], epochs=epochs)])
    assert texts(figure.axes[1]) == ["mnist5k_plain"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [f"c{i}·b4/b4·zstd" for i in range(1, 11)]


def test_time(runs):
    (ax,) = plot_time(runs).axes
    widths = [bar.get_width() for bar in ax.patches]
    assert widths == [12, 42, 6, 8, 28, 4, 6, 21, 3]
    assert "60.0 s" in texts(ax) and "30.0 s after 3 of 8 epochs" in texts(ax)


@pytest.mark.parametrize("name", ["$x_$", "_hidden", "a" * 300, "<b>", "\\frac"])
def test_any_name(name, record):
    runs = [read_run(record("a", "plain", name)), read_run(record("b", "deprune"))]
    for plot in (plot_accuracy_by_traffic, plot_accuracy_by_epoch, plot_time):
        png(plot(runs))
