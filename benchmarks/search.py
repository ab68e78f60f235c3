"""How much of the Pareto front a search finds, and what it trains for that.

    python benchmarks/search.py [--epochs 6] [--rows 1500] [--seeds N …] [--budget 0.25] [--work DIR]

Trains every point of a small space (`search_space.py`, MNIST-5k, quarter-width VGG-11) to the end, once: the
exhaustive search. Training is deterministic, so that searches under a budget of training epochs can then be replayed
from that table with the real sampler, rungs and ledger, two trials side by side, for many seeds of the sampler:

- `search`: as `jobs/search.py` does it; `no rungs`: no trial is stopped;
- `random`: points at random and no trial is stopped.

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
from raysplit.folders.search_dir import SearchDir, Trial
from raysplit.hardware.link import get_link
from raysplit.hardware.machine import NAMED
from raysplit.search.config import SearchConfig
from raysplit.search.pareto import Objectives, front, hypervolume
from raysplit.search.run import SearchState, search
from raysplit.search.space import Config, Space
from raysplit.search.trial import Report, reports, shared_stage

SPACE = str(Path(__file__).with_name("search_space.py"))
AT_ONCE = 2
WAYS: dict[str, dict[str, Any]] = {
    "search": {},
    "no rungs": {"reduction": None},
    "random": {"sampler": "random", "reduction": None},
}
OBJECTIVES: Objectives = {"accuracy": "max", "bytes": "min", "seconds": "min"}
Table = dict[str, list[Report]]
"""Reports of each epoch by config."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=6, help="of each trial, default 6")
    parser.add_argument("--rows", type=int, default=1500, help="training images, default 1500")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)), help="of the sampler, default 0 to 9")
    parser.add_argument("--budget", type=float, default=0.25, help="of the exhaustive search's epochs, default 0.25")
    parser.add_argument("--work", default="~/raysplit_benchmarks/search", help="where the table is kept")
    args = parser.parse_args()
    torch.set_num_threads(1)
    settings = [f"train.epochs={args.epochs}", f"data.train_rows={args.rows}", "model.args.width=0.25"]
    base = recipes.get("mnist5k_vgg11_uncompressed").with_settings(settings)
    machines = {"link": get_link("wifi"), "device": NAMED["pi4"], "server": NAMED["server"]}
    asked = SearchConfig(recipe=base, space=SPACE, trials=10_000, **machines)
    table = exhaustive(asked, Path(args.work).expanduser() / f"{args.epochs}x{args.rows}")
    best, whole = [found[-1] for found in table.values()], epochs_in_all(table)
    budget = int(args.budget * whole)
    rows = []
    for name, changes in WAYS.items():
        runs = [replay(asked.replaced(seed=seed, max_epochs=budget, **changes), table) for seed in args.seeds]
        rows.append(row(name, runs, best, whole))
        print(f"{name:10} {rows[-1]['share_mean']:.3f} ± {rows[-1]['share_std']:.3f}", flush=True)
    start_s, trials = through_tune(asked.replaced(max_epochs=budget), table)
    goals = {
        "hypervolume_share_mean": rows[0]["share_mean"],
        "hypervolume_share_std": rows[0]["share_std"],
        "epochs_share": rows[0]["epochs_share_max"],
        "random_share_mean": rows[-1]["share_mean"],
        "trial_start_s": start_s,
    }
    about = {
        "points": len(table),
        "front": len(front([scaled(one) for one in best], OBJECTIVES)),
        "epochs": whole,
        "budget": budget,
        "tune_trials": trials,
    }
    save("search", {"meta": meta(args.seeds), "space": about, "rows": rows, "goals": goals})
    print(json.dumps(about))
    print(json.dumps(goals))


def key(config: Config) -> str:
    """Return what tells a config from others: all but its name."""
    return config.replaced(name="point").model_dump_json()


def exhaustive(asked: SearchConfig, work: Path) -> Table:
    """Return the reports of every point that differs from those before it; a table that was begun is gone on with."""
    space = Space(asked.space, asked.recipe)
    configs = {key(config): config for config in map(space.config, space.points() or ())}
    work.mkdir(parents=True, exist_ok=True)
    table: Table = {}
    for number, (name, config) in enumerate(configs.items()):
        file = work / f"{number:03}.json"
        if not file.is_file():
            with tempfile.TemporaryDirectory() as folder:
                found = list(reports(asked, config, folder))
            file.write_text(json.dumps({"config": name, "reports": found}))
            print(f"point {number + 1} of {len(configs)}: {found[-1]['accuracy']:.3f}", flush=True)
        kept = json.loads(file.read_text())
        if kept["config"] != name:
            raise SystemExit(f"{file} is of another space; give --work another folder")
        table[name] = kept["reports"]
    return table


def epochs_in_all(table: Table) -> int:
    """Return the epochs that training all points takes when stages that several share are trained once."""
    total, stages = 0, set[str]()
    for name, found in table.items():
        stage, epochs = shared_stage(SplitConfig.model_validate_json(name))
        total += found[-1]["epoch"] - (epochs if stage in stages else 0)
        stages |= {stage} if stage else set()
    return total


@dataclass
class Running:
    """A trial that is taken from the table epoch by epoch."""

    number: int
    name: str
    stage: str | None
    stage_epochs: int
    start: int
    """Epochs that it took over from another trial."""
    done: int


def replay(asked: SearchConfig, table: Table) -> list[Trial]:
    """Return the trials of a search, taken from the table, `AT_ONCE` in turns."""
    with tempfile.TemporaryDirectory() as folder:
        ledger, stages, running = SearchState(asked, SearchDir.at(folder)), set[str](), deque[Running]()
        while True:
            while len(running) < AT_ONCE:
                found = ledger.begin()
                if found is None or found == "wait":
                    break
                number, config = found
                assert isinstance(config, SplitConfig)
                stage, epochs = shared_stage(config)
                start = epochs if stage in stages else 0
                running.append(Running(number, key(config), stage, epochs, start, start))
            if not running:
                return ledger.trials
            one = running.popleft()
            report = table[one.name][one.done]
            one.done += 1
            if one.stage and one.done == one.stage_epochs:
                stages.add(one.stage)
            report = report | {"trained": one.done - one.start}
            if report["last"]:
                ledger.end(one.number, "finished", report)
            elif ledger.rungs.goes_on(one.done, report):
                running.append(one)
            else:
                ledger.end(one.number, "stopped", report)


def share(found: Sequence[Mapping[str, Any]], best: Sequence[Mapping[str, Any]]) -> float:
    """Return the part of the exhaustive front's hypervolume that some finished trials have."""
    every = [scaled(one) for one in best]
    worst = {name: (min if up == "max" else max)(one[name] for one in every) for name, up in OBJECTIVES.items()}
    mine = hypervolume([scaled(one) for one in found], OBJECTIVES, worst)
    return mine / hypervolume(every, OBJECTIVES, worst)


def scaled(one: Mapping[str, Any]) -> dict[str, float]:
    return {"accuracy": one["accuracy"], "bytes": math.log10(one["bytes"]), "seconds": math.log10(one["seconds"])}


def row(name: str, runs: list[list[Trial]], best: list[Report], whole: int) -> dict[str, Any]:
    """Return the figures of one way over all seeds."""
    shares = [share([trial for trial in trials if trial["state"] == "finished"], best) for trials in runs]
    epochs = [sum(trial["trained"] for trial in trials) / whole for trials in runs]
    return {
        "way": name,
        "share_mean": statistics.mean(shares),
        "share_std": statistics.stdev(shares) if len(shares) > 1 else 0.0,
        "share_min": min(shares),
        "epochs_share_max": max(epochs),
        "trials_mean": statistics.mean(len(trials) for trials in runs),
        "finished_mean": statistics.mean(sum(t["state"] == "finished" for t in trials) for trials in runs),
    }


def through_tune(asked: SearchConfig, table: Table) -> tuple[float, int]:
    """Search on Ray Tune, hold every trial to the table, and return the median start of trials and their number.

    The first trial of each process is left out of the median: it imports torch.
    """
    with tempfile.TemporaryDirectory(prefix="rs") as folder:
        ray.init(address="local", num_cpus=AT_ONCE, include_dashboard=False, log_to_driver=False)
        try:
            place = SearchDir.at(f"{folder}/search")
            search(asked, place)
        finally:
            ray.shutdown()
        trials = place.trials()
    for trial in trials:
        name = key(SplitConfig.model_validate_json(trial["recipe"]))
        expected = table[name][trial["epochs"] - 1]
        if trial["state"] == "failed" or any(trial[one] != expected[one] for one in OBJECTIVES):
            raise SystemExit(f"trial {trial['number']} through Tune is not what the table has: {trial}")
    return statistics.median(trial["start_s"] for trial in trials[AT_ONCE:]), len(trials)


if __name__ == "__main__":
    main()
