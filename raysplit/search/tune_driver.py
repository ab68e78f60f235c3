"""The driver's side of a search on Ray Tune: the searcher that proposes trials and the scheduler that stops them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from raysplit.records.trial import TrialState
from raysplit.search.state import NoTrial, SearchState
from raysplit.search.tune_trial import StepResult, TrialTask


class StateSearcher(Searcher):
    """Gives Tune the trials of a search's state, and tells the state how they ended.

    `before_trial` is called before each; what it raises ends the search.
    """

    def __init__(self, state: SearchState, before_trial: Callable[[], None]):
        super().__init__()
        self._before_trial = before_trial
        self._state = state
        self._numbers: dict[str, int] = {}
        self._last: dict[str, StepResult] = {}

    def set_search_properties(self, metric: Any, mode: Any, config: dict[str, Any], **spec: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> Any:
        self._before_trial()
        trial = self._state.next_trial()
        if isinstance(trial, NoTrial):
            return None if trial is NoTrial.WAIT else Searcher.FINISHED
        self._numbers[trial_id] = trial.number
        task = TrialTask(
            number=trial.number,
            recipe=trial.config.model_dump_json(),
            search=self._state.search.model_dump_json(),
            location=self._state.folder.location,
            requested=time.time(),
        )
        return task.to_tune()

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self._last[trial_id] = StepResult.from_tune(result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        previous = self._last.pop(trial_id, None)
        last = StepResult.from_tune(result) if result else previous
        report, fault = (None, None) if last is None else (last.report, last.fault)
        if report is None and previous is not None:
            report = previous.report  # how far a trial came that failed later
        if error and fault is None:
            fault = f"the worker was lost; {self._state.folder.location}/tune has its log"
        if report is None and fault is None:
            fault = "it ended before its first epoch"
        state: TrialState = "failed" if fault else "finished" if report is not None and report.last else "stopped"
        start_s = None if last is None else last.start_s
        self._state.end_trial(self._numbers.pop(trial_id), state, report, start_s, fault)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: a search resumes from the records in its folder."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


class ParetoScheduler(FIFOScheduler):
    """Stops trials that the search's `ParetoASHA` gives up."""

    def __init__(self, state: SearchState):
        super().__init__()  # type: ignore[no-untyped-call]
        self._state = state

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        report = StepResult.from_tune(result).report
        if report is None or report.last or self._state.asha.should_continue(report.epoch, report.objectives):
            return TrialScheduler.CONTINUE
        return TrialScheduler.STOP
