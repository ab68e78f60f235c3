"""The worker's side of a search on Ray Tune: an actor that trains one trial after another.

Tune carries plain dicts; `TrialTask` and `StepResult` are what they hold.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ray import tune

from raysplit.config.search import SearchConfig
from raysplit.errors import RaysplitError
from raysplit.folders.search_dir import SearchDir
from raysplit.records.trial import TrialReport
from raysplit.search.trial import run_trial
from raysplit.utils.settings import loads


@dataclass(frozen=True)
class TrialTask:
    """What a worker needs to run a trial."""

    number: int
    recipe: str
    """The trial's config as JSON text."""
    search: str
    """The search's config as JSON text."""
    location: str
    """Of the search's folder."""
    requested: float
    """When the trial was asked for, in seconds since the epoch."""

    def to_tune(self) -> dict[str, Any]:
        """Return the task as Tune's config of a trial."""
        return asdict(self)


@dataclass(frozen=True)
class StepResult:
    """What came of one epoch of a trial: a report, or a fault that ended it."""

    number: int
    start_s: float
    """Seconds from the request for the trial to its first step."""
    report: TrialReport | None = None
    fault: str | None = None

    def to_tune(self) -> dict[str, Any]:
        """Return the result as Tune's metrics, each objective under its own name."""
        row = {} if self.report is None else self.report.to_row()
        done = self.report is None or self.report.last
        return row | {"number": self.number, "start_s": self.start_s, "fault": self.fault, "done": done}

    @classmethod
    def from_tune(cls, metrics: Mapping[str, Any]) -> StepResult:
        """Read Tune's metrics."""
        fault = metrics["fault"]
        report = None if fault is not None else TrialReport.from_row(metrics)
        return cls(metrics["number"], metrics["start_s"], report, fault)


class TrialActor(tune.Trainable):
    """Trains one config after another in the same process; a step is an epoch."""

    def setup(self, config: dict[str, Any]) -> None:
        self._start_trial(TrialTask(**config))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._start_trial(TrialTask(**new_config))
        return True

    def _start_trial(self, task: TrialTask) -> None:
        import torch

        torch.set_num_threads(1)
        self._task = task
        self._start_s: float | None = None
        search = loads(SearchConfig, task.search, "the trial's search")
        recipe = type(search.recipe).model_validate_json(task.recipe)
        self._reports = run_trial(search, task.number, recipe, SearchDir.at(task.location))

    def step(self) -> dict[str, Any]:
        if self._start_s is None:
            self._start_s = time.time() - self._task.requested
        try:
            report, fault = next(self._reports), None
        except Exception as err:  # the user's model may raise anything, and the search continues
            kind = "" if isinstance(err, RaysplitError) else f"{type(err).__name__}: "
            report, fault = None, f"{kind}{err}"
        return StepResult(self._task.number, self._start_s, report, fault).to_tune()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to save: a trial whose worker is lost has failed."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing to load."""
