"""Tune's side of a search's state, driven by hand: trials that finish, are stopped, fail, and lose their worker."""

from __future__ import annotations

import pytest
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from raysplit.folders.search_dir import SearchDir
from raysplit.records.trial import TrialReport
from raysplit.search.state import SearchState
from raysplit.search.tune_driver import ParetoScheduler, StateSearcher
from raysplit.search.tune_trial import StepResult
from tests.search.searches import make_report, make_search


@pytest.fixture
def state(tmp_path):
    return SearchState(make_search(tmp_path, first_rung=1), SearchDir.at(str(tmp_path / "s")))


def metrics(number: int, report: TrialReport | None, fault: str | None = None) -> dict:
    return StepResult(number, 0.25, report, fault).to_tune()


def test_how_trials_end(state):
    searcher = StateSearcher(state, lambda: None)
    tasks = [searcher.suggest(name) for name in "abcd"]
    assert [task["number"] for task in tasks] == [0, 1, 2, 3] and searcher.suggest("e") == Searcher.FINISHED
    first_epoch = make_report(0.5).model_copy(update={"epoch": 1, "trained": 1, "last": False})
    for number, name in enumerate("abcd"):
        searcher.on_trial_result(name, metrics(number, first_epoch))
    searcher.on_trial_complete("a", metrics(0, make_report(0.7)))
    searcher.on_trial_complete("b", metrics(1, first_epoch))
    searcher.on_trial_complete("c", metrics(2, None, "planted"))
    searcher.on_trial_complete("d", error=True)
    assert [trial.state for trial in state.trials] == ["finished", "stopped", "failed", "failed"]
    assert [trial.epochs for trial in state.trials] == [2, 1, 1, 1]
    assert state.trials[2].fault == "planted" and state.trials[3].fault.startswith("the worker was lost; ")
    assert {trial.start_s for trial in state.trials} == {0.25}


def test_a_trial_waits_for_the_budget(tmp_path):
    state = SearchState(make_search(tmp_path, max_epochs=2), SearchDir.at(str(tmp_path / "s")))
    searcher = StateSearcher(state, lambda: None)
    assert searcher.suggest("a")["number"] == 0 and searcher.suggest("b") is None
    searcher.on_trial_complete("a", metrics(0, make_report(0.5)))
    assert searcher.suggest("b") == Searcher.FINISHED


def test_dominated_trials_are_stopped_at_a_rung(state):
    scheduler = ParetoScheduler(state)

    def decide(accuracy: float, **changes) -> str:
        report = make_report(accuracy).model_copy(update={"epoch": 1, "last": False} | changes)
        return scheduler.on_trial_result(None, None, metrics(0, report))

    assert decide(0.9) == TrialScheduler.CONTINUE
    assert decide(0.1) == TrialScheduler.STOP
    assert decide(0.1, last=True) == TrialScheduler.CONTINUE
    assert scheduler.on_trial_result(None, None, metrics(0, None, "planted")) == TrialScheduler.CONTINUE
