"""What crosses Tune: tasks, results, and an actor that trains one trial after another, without Ray."""

from __future__ import annotations

import pytest

from raysplit.records.trial import TrialReport
from raysplit.search import tune_trial
from raysplit.search.tune_trial import StepResult, TrialActor, TrialTask
from tests.search.searches import make_search
from tests.train.recipes import squeezed_config

REPORT = TrialReport(epoch=1, trained=1, last=False, objectives={"accuracy": 0.5, "bytes": 3})


@pytest.mark.parametrize(
    "result", [StepResult(3, 0.5, REPORT), StepResult(3, 0.5, fault="planted")], ids=["report", "fault"]
)
def test_a_result_survives_tune(result):
    metrics = result.to_tune()
    assert StepResult.from_tune(metrics | {"time_total_s": 3.0, "training_iteration": 1}) == result
    assert metrics["done"] is (result.report is None)
    assert result.report is None or metrics["accuracy"] == 0.5


@pytest.fixture
def actor():
    """An actor as Tune makes one, without its logging."""
    return TrialActor.__new__(TrialActor)


def make_task(search, number: int, tmp_path) -> dict:
    recipe, text = search.recipe.model_dump_json(), search.model_dump_json()
    return TrialTask(number, recipe, text, str(tmp_path / "s"), requested=0.0).to_tune()


def test_an_actor_trains_one_trial_after_another(actor, tmp_path):
    search = make_search(tmp_path, recipe=squeezed_config())
    actor.setup(make_task(search, 0, tmp_path))
    first = [StepResult.from_tune(actor.step()) for _ in range(2)]
    assert [one.report.last for one in first] == [False, True] and first[0].start_s == first[1].start_s > 0
    assert actor.reset_config(make_task(search, 1, tmp_path))
    again = StepResult.from_tune(actor.step())
    assert again.number == 1 and again.report == first[0].report


def test_what_training_raises_is_a_fault(actor, tmp_path, monkeypatch):
    def fail(*args):
        raise RuntimeError("planted")
        yield

    monkeypatch.setattr(tune_trial, "run_trial", fail)
    actor.setup(make_task(make_search(tmp_path, recipe=squeezed_config()), 0, tmp_path))
    result = actor.step()
    assert StepResult.from_tune(result).fault == "RuntimeError: planted" and result["done"]
