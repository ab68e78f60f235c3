"""The state of a search: which trials ended how, which are running, and which point is next."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from raysplit.config.search import Recipe, SearchConfig
from raysplit.folders.search_dir import SearchDir
from raysplit.records.trial import TrialRecord, TrialReport, TrialState
from raysplit.search.pareto import pareto_front
from raysplit.search.pareto_asha import ParetoASHA
from raysplit.search.sampler import Candidate, Sampler
from raysplit.search.space import Space
from raysplit.search.trial import count_epochs, find_fault, forecast_objectives

_EXTRAPOLATED = ("bytes", "seconds")
"""Objectives that grow with each epoch."""


class NoTrial(Enum):
    """Why there is no next trial."""

    WAIT = auto()
    """A running trial has to end first: it may leave enough of the budget."""
    DONE = auto()
    """The search has no trial, no budget or no point left."""


@dataclass(frozen=True)
class NewTrial:
    """A trial to run."""

    number: int
    config: Recipe


@dataclass(frozen=True)
class _RunningTrial:
    candidate: Candidate
    config: Recipe
    start: float
    """Seconds since the epoch."""


class SearchState:
    """Hands out trials and records how they ended, in the search's folder.

    The state of a folder that holds trials continues after them.

    Args:
        search: the config.
        folder: the search's.
        on_trial: called with each trial that has ended.
    """

    def __init__(self, search: SearchConfig, folder: SearchDir, on_trial: Callable[[TrialRecord], None] | None = None):
        self.search, self.folder, self._on_trial = search, folder, on_trial
        self.space = Space(search.space, search.recipe)
        self.sampler = Sampler(
            self.space,
            search.directions,
            search.sampler,
            search.seed,
            lambda config: find_fault(search, config),
            lambda config: forecast_objectives(search, config),
        )
        first_rung = search.first_rung or max(1, count_epochs(search.recipe) // 3)
        self.asha = ParetoASHA(search.directions, first_rung, search.reduction)
        self.trials = folder.trials()
        for trial in self.trials:
            epochs = count_epochs(self.space.build_config(trial.point))
            self.sampler.tell(trial.point, extrapolate_objectives(trial, epochs))
        self._next_number = max((trial.number for trial in self.trials), default=-1) + 1
        self._started = len(self.trials)
        self._running: dict[int, _RunningTrial] = {}

    def next_trial(self) -> NewTrial | NoTrial:
        """Start the next trial, or return why there is none."""
        if self._started >= self.search.trials:
            return NoTrial.DONE
        if self.search.max_epochs is not None:
            epochs = count_epochs(self.search.recipe)
            left = self.search.max_epochs - sum(trial.trained for trial in self.trials)
            if left < (len(self._running) + 1) * epochs:
                return NoTrial.WAIT if self._running and left >= epochs else NoTrial.DONE
        candidate = self.sampler.ask()
        if candidate is None:
            return NoTrial.DONE
        number = self._next_number
        self._next_number, self._started = number + 1, self._started + 1
        config = candidate.config.replaced(name=f"{self.search.recipe.name}_trial{number}")
        self._running[number] = _RunningTrial(candidate, config, time.time())
        return NewTrial(number, config)

    def end_trial(
        self,
        number: int,
        state: TrialState,
        report: TrialReport | None,
        start_s: float | None = None,
        fault: str | None = None,
    ) -> None:
        """Record how a trial ended; `report` is its last one, `start_s` the seconds that it took to start."""
        running = self._running.pop(number)
        reached = {} if report is None else report.objectives
        trial = TrialRecord(
            number=number,
            state=state,
            point=running.candidate.point,
            recipe=running.config.model_dump_json(indent=2),
            fault=fault,
            epochs=0 if report is None else report.epoch,
            trained=0 if report is None else report.trained,
            start_s=start_s,
            wall_s=time.time() - running.start,
            objectives={name: reached[name] for name in self.search.objectives if name in reached},
        )
        self.folder.write_trial(trial, self.search.objectives)
        self.trials.append(trial)
        self._drop_networks()
        self.sampler.tell(trial.point, extrapolate_objectives(trial, count_epochs(running.config)))
        if self._on_trial is not None:
            self._on_trial(trial)

    def _drop_networks(self) -> None:
        """Delete the bundles of trials that have left the front."""
        finished = [trial for trial in self.trials if trial.state == "finished"]
        front = pareto_front([trial.objectives for trial in finished], self.search.directions) if finished else []
        self.folder.drop_networks({finished[i].number for i in front}, {trial.number for trial in self.trials})


def extrapolate_objectives(trial: TrialRecord, epochs: int) -> dict[str, float] | None:
    """Return a trial's objectives, those of a stopped one as if it had trained for `epochs`; None: it failed.

    Traffic and seconds of a stopped trial are scaled by its epochs; its accuracy is left at what it reached.
    """
    if trial.state == "failed":
        return None
    factor = epochs / trial.epochs if trial.state == "stopped" else 1
    return {name: value * (factor if name in _EXTRAPOLATED else 1) for name, value in trial.objectives.items()}
