from __future__ import annotations

import io

import pytest
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
