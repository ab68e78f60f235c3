"""How much of the Pareto front a search finds, and how many epochs it trains for that.

    python benchmarks/search.py [--epochs 6] [--rows 1500] [--seeds N …] [--budget 0.25] [--work DIR]

Trains every point of a small space (`search_space.py`, MNIST-5k, quarter-width VGG-11) to the end, once: the
exhaustive search. Training is deterministic, so that searches under a budget of training epochs can then be replayed
from that table with the real sampler, rungs and search state, two trials side by side, for many seeds of the sampler:

- `search`: as `jobs/search.py` does it; `no rungs`: no trial is stopped;
- `random`: random points, and no trial is stopped.

At last one search runs through Ray Tune: every epoch of it must equal the table's, and its trials are timed.
Objectives are validation accuracy, log10 of training bytes, log10 of seconds; the share is that of the exhaustive
front's hypervolume, measured from the worst value of each objective in the table. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch
from meta import meta, save

from raysplit import recipes
from raysplit.config import SplitConfig
from raysplit.config.search import Objectives, Recipe, SearchConfig
from raysplit.folders.search_dir import SearchDir
from raysplit.hardware.link import get_link
from raysplit.hardware.machine import NAMED
from raysplit.records.trial import TrialRecord, TrialReport
from raysplit.search.pareto import hypervolume, pareto_front
from raysplit.search.run import run_search
from raysplit.search.space import Space
from raysplit.search.split_trial import SharedStage, find_shared_stage
from raysplit.search.state import NoTrial, SearchState
from raysplit.search.trial import run_trial

SPACE = str(Path(__file__).with_name("search_space.py"))
CONCURRENT = 2
METHODS: dict[str, dict[str, Any]] = {
    "search": {},
    "no rungs": {"reduction": None},
    "random": {"sampler": "random", "reduction": None},
}
OBJECTIVES: Objectives = {"accuracy": "max", "bytes": "min", "seconds": "min"}
Table = dict[str, list[TrialReport]]
"""The reports of all epochs, by config."""


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--epochs", type=int, default=6, help="of each trial, default 6")
    parser.add_argument("--rows", type=int, default=1500, help="training images, default 1500")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)), help="of the sampler, default 0 to 9")
    parser.add_argument("--budget", type=float, default=0.25, help="of the exhaustive search's epochs, default 0.25")
    parser.add_argument("--work", default="~/raysplit_benchmarks/search", help="where the table is kept")
    args = parser.parse_args()
    torch.set_num_threads(1)
    settings = [f"train.epochs={args.epochs}", f"data.train_rows={args.rows}", "model.args.width=0.25"]
    search = SearchConfig(
        recipe=recipes.get("mnist5k_vgg11_uncompressed").with_settings(settings),
        space=SPACE,
        trials=10_000,
        link=get_link("wifi"),
        device=NAMED["pi4"],
        server=NAMED["server"],
    )
    table = search_exhaustively(search, Path(args.work).expanduser() / f"{args.epochs}x{args.rows}")
    final = [reports[-1].objectives for reports in table.values()]
    epochs = count_epochs(table)
    budget = int(args.budget * epochs)
    rows = []
    for method, changes in METHODS.items():
        runs = [replay_search(search.replaced(seed=seed, max_epochs=budget, **changes), table) for seed in args.seeds]
        rows.append(summarize_method(method, runs, final, epochs))
        print(f"{method:10} {rows[-1]['share_mean']:.3f} ± {rows[-1]['share_std']:.3f}", flush=True)
    start_s, trials = search_with_tune(search.replaced(max_epochs=budget), table)
    goals = {
        "hypervolume_share_mean": rows[0]["share_mean"],
        "hypervolume_share_std": rows[0]["share_std"],
        "epochs_share": rows[0]["epochs_share_max"],
        "random_share_mean": rows[-1]["share_mean"],
        "trial_start_s": start_s,
    }
    space = {
        "points": len(table),
        "front": len(pareto_front([scale_objectives(one) for one in final], OBJECTIVES)),
        "epochs": epochs,
        "budget": budget,
        "tune_trials": trials,
    }
    save("search", {"meta": meta(args.seeds), "space": space, "rows": rows, "goals": goals})
    print(json.dumps(space))
    print(json.dumps(goals))


def config_key(config: Recipe) -> str:
    """Return what distinguishes a config from others: all but its name."""
    return str(config.replaced(name="point").model_dump_json())


def search_exhaustively(search: SearchConfig, work: Path) -> Table:
    """Train every distinct point of the space and return the reports; an unfinished table in `work` is continued."""
    space = Space(search.space, search.recipe)
    configs = {config_key(config): config for config in map(space.build_config, space.points() or ())}
    work.mkdir(parents=True, exist_ok=True)
    table: Table = {}
    for number, (key, config) in enumerate(configs.items()):
        file = work / f"{number:03}.json"
        if not file.is_file():
            with tempfile.TemporaryDirectory() as folder:
                rows = [report.to_row() for report in run_trial(search, number, config, SearchDir.at(folder))]
            file.write_text(json.dumps({"config": key, "reports": rows}))
            print(f"point {number + 1} of {len(configs)}: {rows[-1]['accuracy']:.3f}", flush=True)
        saved = json.loads(file.read_text())
        if saved["config"] != key:
            raise SystemExit(f"{file} belongs to another space; give --work another folder")
        table[key] = [TrialReport.from_row(row) for row in saved["reports"]]
    return table


def count_epochs(table: Table) -> int:
    """Return the epochs that training all points takes if a stage that several points share is trained once."""
    total, stages = 0, set[str]()
    for key, reports in table.items():
        stage = find_shared_stage(SplitConfig.model_validate_json(key))
        total += reports[-1].epoch
        if stage is not None:
            total -= stage.epochs if stage.file in stages else 0
            stages.add(stage.file)
    return total


@dataclass
class ReplayedTrial:
    """A trial whose epochs are read from the table."""

    number: int
    key: str
    stage: SharedStage | None
    start: int
    """Epochs taken over from another trial."""
    epoch: int


def replay_search(search: SearchConfig, table: Table) -> list[TrialRecord]:
    """Return the trials of a search, read from the table epoch by epoch, `CONCURRENT` of them in turn."""
    with tempfile.TemporaryDirectory() as folder:
        state, stages, running = SearchState(search, SearchDir.at(folder)), set[str](), deque[ReplayedTrial]()
        while True:
            while len(running) < CONCURRENT:
                new = state.next_trial()
                if isinstance(new, NoTrial):
                    break
                assert isinstance(new.config, SplitConfig)
                stage = find_shared_stage(new.config)
                start = stage.epochs if stage is not None and stage.file in stages else 0
                running.append(ReplayedTrial(new.number, config_key(new.config), stage, start, start))
            if not running:
                return state.trials
            trial = running.popleft()
            report = table[trial.key][trial.epoch]
            trial.epoch += 1
            if trial.stage is not None and trial.epoch == trial.stage.epochs:
                stages.add(trial.stage.file)
            report = report.model_copy(update={"trained": trial.epoch - trial.start})
            if report.last:
                state.end_trial(trial.number, "finished", report)
            elif state.asha.should_continue(trial.epoch, report.objectives):
                running.append(trial)
            else:
                state.end_trial(trial.number, "stopped", report)


def hypervolume_share(found: Sequence[Mapping[str, Any]], every: Sequence[Mapping[str, Any]]) -> float:
    """Return the hypervolume of some objectives as a share of that of the exhaustive search."""
    exhaustive = [scale_objectives(one) for one in every]
    worst = {name: (min if way == "max" else max)(one[name] for one in exhaustive) for name, way in OBJECTIVES.items()}
    mine = hypervolume([scale_objectives(one) for one in found], OBJECTIVES, worst)
    return mine / hypervolume(exhaustive, OBJECTIVES, worst)


def scale_objectives(one: Mapping[str, Any]) -> dict[str, float]:
    return {"accuracy": one["accuracy"], "bytes": math.log10(one["bytes"]), "seconds": math.log10(one["seconds"])}


def summarize_method(
    method: str, runs: list[list[TrialRecord]], final: Sequence[Mapping[str, Any]], epochs: int
) -> dict[str, Any]:
    """Return the figures of one method over all seeds."""
    finished = [[trial.objectives for trial in trials if trial.state == "finished"] for trials in runs]
    shares = [hypervolume_share(objectives, final) for objectives in finished]
    return {
        "way": method,
        "share_mean": statistics.mean(shares),
        "share_std": statistics.stdev(shares) if len(shares) > 1 else 0.0,
        "share_min": min(shares),
        "epochs_share_max": max(sum(trial.trained for trial in trials) / epochs for trials in runs),
        "trials_mean": statistics.mean(len(trials) for trials in runs),
        "finished_mean": statistics.mean(map(len, finished)),
    }


def search_with_tune(search: SearchConfig, table: Table) -> tuple[float, int]:
    """Search on Ray Tune, compare every trial with the table, and return the median start in seconds and the trials.

    The first trial of each process is left out of the median: it imports torch.
    """
    with tempfile.TemporaryDirectory(prefix="rs") as path:
        ray.init(address="local", num_cpus=CONCURRENT, include_dashboard=False, log_to_driver=False)
        try:
            folder = SearchDir.at(f"{path}/search")
            run_search(search, folder)
        finally:
            ray.shutdown()
        trials = folder.trials()
    for trial in trials:
        expected = table[config_key(SplitConfig.model_validate_json(trial.recipe))][trial.epochs - 1].objectives
        if trial.state == "failed" or any(trial.objectives[name] != expected[name] for name in OBJECTIVES):
            raise SystemExit(f"trial {trial.number} on Ray Tune differs from the table: {trial}")
    starts = [trial.start_s for trial in trials[CONCURRENT:] if trial.start_s is not None]
    return statistics.median(starts), len(trials)


if __name__ == "__main__":
    main()
