"""What a search found: the Pareto front and its knee, written into its folder and as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from raysplit.config import EnsembleConfig, SplitConfig
from raysplit.config.search import SearchConfig
from raysplit.folders.search_dir import SearchDir
from raysplit.folders.search_names import NETWORKS
from raysplit.records.trial import RefusedPoint, TrialRecord
from raysplit.report.front import plot_front
from raysplit.search.pareto import knee_point, pareto_front
from raysplit.utils.text_table import DASH, align_table, number


@dataclass(frozen=True)
class FrontResult:
    """The front of a search."""

    trials: tuple[TrialRecord, ...]
    """Finished and not dominated, best first objective first."""
    knee: TrialRecord
    """The best trade-off among them."""
    reason: str
    """Why it is the best trade-off."""


def find_front(trials: Sequence[TrialRecord], search: SearchConfig) -> FrontResult:
    """Return the front of a search's finished trials; ConfigError if no trial has finished."""
    finished = [trial for trial in trials if trial.state == "finished"]
    objectives = [trial.objectives for trial in finished]
    knee = knee_point(objectives, search.directions, search.max_loss)
    front = pareto_front(objectives, search.directions)
    return FrontResult(tuple(finished[i] for i in front), finished[knee.index], knee.reason)


def write_results(folder: SearchDir, refused: Sequence[RefusedPoint] = ()) -> FrontResult:
    """Write table, picture, recipes and refused points in place of older ones, and return the front.

    The networks of trials that are not on it are deleted. Raises ConfigError if no trial has finished.
    """
    search, trials = folder.config(), folder.trials()
    front = find_front(trials, search)
    folder.write_table(trials, search.objectives)
    folder.write_refused(refused)
    folder.write_recipes(front.trials)
    numbers = {trial.number for trial in front.trials}
    folder.drop_networks(numbers)
    ensembles = isinstance(search.recipe, EnsembleConfig)
    folder.write_picture(plot_front(trials, search.directions, numbers, front.knee.number, ensembles=ensembles))
    return front


def format_trial(trial: TrialRecord, search: SearchConfig) -> str:
    """Return a trial that has ended as one line."""
    point = ", ".join(f"{key} {value}" for key, value in trial.point.items())
    if trial.state == "failed":
        return f"trial {trial.number} failed ({point}): {trial.fault}"
    values = ", ".join(f"{name} {trial.objectives[name]:.4g}" for name in search.objectives)
    return f"trial {trial.number} {trial.state} after {trial.epochs} epochs ({point}): {values}"


def format_front(front: FrontResult, search: SearchConfig) -> str:
    """Return a front as a table for a terminal."""
    keys = list(front.trials[0].point)
    header = ("trial", *keys, *search.objectives, "")
    rows = [
        (
            str(trial.number),
            *(DASH if trial.point[key] is None else str(trial.point[key]) for key in keys),
            *(_format_objective(name, trial.objectives[name]) for name in search.objectives),
            "← knee" if trial.number == front.knee.number else "",
        )
        for trial in front.trials
    ]
    return align_table(header, rows, 1 + len(keys))


def format_commands(front: FrontResult, search: SearchConfig, folder: SearchDir) -> str:
    """Return the command that serves each network on a front, and what the networks take on disk, as text."""
    split = isinstance(search.recipe, SplitConfig)
    builder = "raysplit.serving.split:build family" if split else "raysplit.serving.ensemble:build bundle"
    lines = []
    for trial in front.trials:
        recipe, network = folder.recipe_file(trial), folder.network(trial)
        job = f"python jobs/{'train_split' if split else 'build_ensemble'}.py --recipe {recipe}"
        lines.append(job if network is None else f"serve run {builder}={network}")
    verbs = "inspect, predict, export, device" if split else "inspect, predict"
    size = number(folder.network_bytes() / 2**20)
    title = f"{NETWORKS}/ has their networks, {size} MiB, for serve run and raysplit {verbs}:"
    return "\n  ".join([title, *lines])


def _format_objective(name: str, value: float) -> str:
    return f"{value:.4f}" if name == "accuracy" else number(value)
