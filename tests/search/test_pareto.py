"""Front, hypervolume and knee, against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysplit.errors import ConfigError
from raysplit.search.pareto import KneePoint, extract_metrics, hypervolume, knee_point, pareto_front

TWO = {"accuracy": "max", "bytes": "min"}
THREE = TWO | {"seconds": "min"}
TRIALS = st.lists(
    st.fixed_dictionaries({name: st.integers(0, 6) for name in THREE}, optional={"error": st.just("planted")}),
    min_size=1,
    max_size=9,
)


def as_costs(trial) -> tuple[float, ...]:
    return tuple(-trial[name] if way == "max" else trial[name] for name, way in THREE.items())


@given(TRIALS)
def test_the_front_is_what_no_other_trial_dominates(trials):
    costs = [as_costs(trial) for trial in trials]
    expected = {
        cost
        for cost in costs
        if not any(other != cost and all(a <= b for a, b in zip(other, cost, strict=True)) for other in costs)
    }
    found = pareto_front(trials, THREE)
    assert {costs[index] for index in found} == expected and len(found) == len(expected)
    assert [costs[index][0] for index in found] == sorted(costs[index][0] for index in found)


@given(TRIALS)
def test_hypervolume_is_the_number_of_cells_that_are_dominated(trials):
    worst = {"accuracy": 0, "bytes": 7, "seconds": 7}
    cells = itertools.product(range(-6, 0), range(7), range(7))
    costs = [as_costs(trial) for trial in trials]
    expected = sum(any(all(a <= b for a, b in zip(cost, cell, strict=True)) for cost in costs) for cell in cells)
    assert hypervolume(trials, THREE, worst) == pytest.approx(expected)


def test_trials_that_failed_are_never_on_the_front():
    trials = [
        {"accuracy": 0.9, "bytes": 100},
        {"accuracy": float("nan"), "bytes": 1},
        {"bytes": 0},
        {"accuracy": None, "bytes": 0},
        {"accuracy": 0.5, "bytes": 10},
    ]
    assert pareto_front(trials, TWO) == [0, 4]
    assert hypervolume(trials, TWO, {"accuracy": 0.0, "bytes": 100.0}) == pytest.approx(0.5 * 90)
    assert hypervolume([], TWO, {"accuracy": 0.0, "bytes": 100.0}) == 0
    with pytest.raises(ConfigError, match="no trial has a number for every objective"):
        knee_point(trials[1:4], TWO)


def test_the_knee_is_where_the_front_bends():
    curve = [{"accuracy": 0.9 - 0.4 / (1 + size), "bytes": size} for size in range(0, 40, 2)]
    found = knee_point(curve, TWO)
    assert curve[found.index]["bytes"] in (4, 6) and "of the 20 on the front" in found.reason
    assert knee_point([curve[3]], TWO) == KneePoint(0, "the only trial on the front")


@pytest.mark.parametrize(("max_loss", "expected"), [(None, 1), (0.05, 0), (0.0, 0), (0.7, 1)])
def test_the_knee_keeps_an_accuracy(max_loss, expected):
    trials = [{"accuracy": a, "bytes": b} for a, b in ((0.89, 100), (0.735, 10), (0.3, 9))]
    found = knee_point(trials, TWO, max_loss)
    assert found.index == expected
    assert ("with an accuracy of at least" in found.reason) == (max_loss is not None)


def test_units_do_not_move_the_knee():
    rng = np.random.default_rng(0)
    trials = [{"accuracy": a, "bytes": b} for a, b in rng.random((30, 2))]
    scaled = [{"accuracy": trial["accuracy"], "bytes": 1e6 * trial["bytes"]} for trial in trials]
    assert knee_point(trials, TWO).index == knee_point(scaled, TWO).index


def test_a_missing_objective_is_named():
    with pytest.raises(ConfigError, match="no 'bytes'"):
        hypervolume([{"accuracy": 1, "bytes": 1}], TWO, {"accuracy": 0})
    with pytest.raises(ConfigError, match="no objective"):
        pareto_front([{}], {})


def test_a_grid_of_results_with_failed_trials():
    class Result:
        def __init__(self, metrics, error=None):
            self.metrics, self.error = metrics, error

    grid = [Result({"accuracy": 0.5, "bytes": 1}), Result({"accuracy": 0.9, "bytes": 0}, ValueError()), Result(None)]
    trials = extract_metrics(grid)
    assert pareto_front(trials, {"accuracy": "max", "bytes": "min"}) == [0]
