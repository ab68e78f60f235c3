"""What reports say about the number of runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from raysplit.report import read_run
from raysplit.report.plots import plot_accuracy_by_epoch, plot_accuracy_by_traffic, plot_time
from raysplit.report.seeds import count_runs


@pytest.fixture
def runs(three):
    return [read_run(path) for path in three]


def reseeded(run, seed: int):
    train = run.config.train.model_copy(update={"seed": seed})
    return replace(run, config=run.config.model_copy(update={"train": train, "name": f"seed{seed}"}))


def test_runs_that_differ_in_their_seeds_are_counted_together(runs):
    first, second = runs[:2]
    assert count_runs([first]) == "one run"
    assert count_runs([first, second]) == "one run each"
    assert count_runs([first, reseeded(first, 5)]) == "2 runs each"
    assert count_runs([first, second, reseeded(first, 5), reseeded(second, 5)]) == "2 runs each"
    assert count_runs([first, second, reseeded(first, 5), reseeded(first, 6)]) == "1–3 runs each"


@pytest.mark.parametrize("plot", [plot_accuracy_by_traffic, plot_accuracy_by_epoch, plot_time])
def test_titles_say_how_many_runs_there_are(runs, plot):
    assert plot(runs).get_suptitle().endswith("(one run each)")
    assert plot([runs[0], reseeded(runs[0], 5)]).get_suptitle().endswith("(2 runs each)")
