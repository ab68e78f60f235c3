from __future__ import annotations

import io

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from raysplit.report.front import plot_front
from tests.search.searches import make_trial

TRIALS = [make_trial(0, 0.9), make_trial(1, 0.8), make_trial(2, 0.5, state="stopped"), make_trial(3, None)]


@pytest.mark.parametrize(
    ("objectives", "panels"),
    [({"accuracy": "max", "bytes": "min", "seconds": "min"}, 2), ({"accuracy": "max"}, 1)],
)
def test_a_panel_for_each_objective_but_the_first(objectives, panels):
    picture = Image.open(io.BytesIO(plot_front(TRIALS, objectives, {0}, 0)))
    assert picture.size[0] == pytest.approx(1152, abs=2)


def test_the_title_says_how_many_seeds_there_were(monkeypatch):
    titles = []
    monkeypatch.setattr(Figure, "suptitle", lambda _, text, **style: titles.append(text))
    for trials in (TRIALS, TRIALS[:1]):
        plot_front(trials, {"accuracy": "max"}, {0}, 0)
    assert titles == ["4 trials of a search, one seed each", "1 trial of a search, one seed"]


@pytest.mark.parametrize(
    ("ensembles", "expected"),
    [
        (False, ["training traffic (bytes)", "training on the given machines (s)"]),
        (True, ["traffic per image (bytes)", "from image to answer (s)"]),
    ],
)
def test_axes_say_what_the_numbers_are_of(monkeypatch, ensembles, expected):
    labels = []
    monkeypatch.setattr(Axes, "set_xlabel", lambda _, text, **style: labels.append(text.replace(", log scale", "")))
    plot_front(TRIALS, {"accuracy": "max", "bytes": "min", "seconds": "min"}, {0}, 0, ensembles=ensembles)
    assert labels == expected
