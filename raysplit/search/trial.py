"""One trial of either kind of recipe: is it feasible, what is known before it is trained, and the training itself.

What an ensemble needs is imported for ensembles alone: timm takes seconds, in every process of a search.
"""

from __future__ import annotations

from collections.abc import Iterator

from raysplit.config import SplitConfig
from raysplit.config.search import Recipe, SearchConfig
from raysplit.errors import RaysplitError
from raysplit.folders.search_dir import SearchDir
from raysplit.records.trial import TrialReport
from raysplit.search.split_trial import find_split_fault, forecast_split, run_split_trial
from raysplit.utils.storage import Folder


def count_epochs(config: Recipe) -> int:
    """Return the epochs that a trial trains; of an ensemble, those of each sub-model and of what it starts from."""
    if isinstance(config, SplitConfig):
        return config.train.epochs
    from raysplit.search.ensemble_trial import count_submodel_epochs

    return count_submodel_epochs(config)


def find_fault(search: SearchConfig, config: Recipe) -> str | None:
    """Return why a config is infeasible on the search's link and machines, or None; nothing is trained."""
    try:
        if isinstance(config, SplitConfig):
            return find_split_fault(search, config)
        from raysplit.search.ensemble_trial import find_ensemble_fault

        return find_ensemble_fault(search, config)
    except RaysplitError as err:
        return str(err)


def forecast_objectives(search: SearchConfig, config: Recipe) -> dict[str, float] | None:
    """Return the objectives that are known before training; None for ensembles and for adaptive schedules.

    Raises what `forecast_split` raises.
    """
    return forecast_split(search, config) if isinstance(config, SplitConfig) else None


def prepare_trials(search: SearchConfig, folder: Folder) -> None:
    """Train what all trials share: the base of ensembles. `folder` is the search's."""
    if not isinstance(search.recipe, SplitConfig):
        from raysplit.search.ensemble_trial import train_shared_base

        train_shared_base(search.recipe, folder)


def run_trial(search: SearchConfig, number: int, config: Recipe, folder: SearchDir) -> Iterator[TrialReport]:
    """Train a config and report after each epoch; an ensemble reports once.

    `folder` is the search's. A trial that no finished one beats leaves its bundle there before its last report. Raises
    what training raises.
    """
    if isinstance(config, SplitConfig):
        yield from run_split_trial(search, number, config, folder)
    else:
        from raysplit.search.ensemble_trial import run_ensemble_trial

        yield run_ensemble_trial(search, number, config, folder)
