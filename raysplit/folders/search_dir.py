"""A search's folder: what was asked for, every trial as it ends, and what came of it.

search.json  trials/N.json  trials.parquet  refused.json  front.png  recipes/N.json  states/  base/  tune/
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from raysplit.config import loads
from raysplit.errors import ConfigError
from raysplit.report.front import plot_front
from raysplit.search.config import SearchConfig
from raysplit.search.pareto import front, knee
from raysplit.utils.storage import Folder
from raysplit.utils.text_table import DASH, aligned, number

SEARCH, TRIALS, RECIPES = "search.json", "trials", "recipes"
State = Literal["finished", "stopped", "failed"]
Trial = dict[str, Any]
"""number, state, point, recipe (a config as JSON text), epochs, trained, seconds_wall, start_s, fault, and objectives
as far as they had come; only those of finished trials count."""


class SearchDir(Folder):
    """One search's folder."""

    def check(self, search: SearchConfig) -> None:
        """Raise ConfigError where the folder is another search's."""
        if self.has(SEARCH) and self.search() != search:
            raise ConfigError(f"'{self.location}' holds another search; give each its own folder, or use --resume")

    def claim(self, search: SearchConfig) -> None:
        """Make the folder this search's; ConfigError where it is another's."""
        self.check(search)
        self.write(SEARCH, search.model_dump_json(indent=2).encode())

    def search(self) -> SearchConfig:
        """Return what the search in this folder was asked for; ConfigError where there is none."""
        found = self.find(SEARCH)
        if found is None:
            raise ConfigError(f"'{self.location}' is not a search's folder: it has no {SEARCH}")
        return loads(SearchConfig, found.decode(), f"{self.location}/{SEARCH}")

    def add(self, trial: Trial) -> None:
        """Keep a trial that has ended."""
        self.write(f"{TRIALS}/{trial['number']:04}.json", json.dumps(trial).encode())

    def trials(self) -> list[Trial]:
        """Return the trials that have ended, in the order in which they began."""
        folder = Folder.at(f"{self.location}/{TRIALS}")
        return [json.loads(folder.find(name) or b"") for name in folder.names() if name.endswith(".json")]

    def recipe_file(self, trial: Trial) -> str:
        """Return where the recipe of a trial on the front is."""
        return f"{self.location}/{RECIPES}/{trial['number']:04}.json"

    def write_results(self, refused: Sequence[tuple[dict[str, Any], str]] = ()) -> None:
        """Write table, picture, recipes and the points that were refused, in place of older ones.

        Raises ConfigError when no trial has finished.
        """
        search, trials = self.search(), self.trials()
        found, bend = on_front(trials, search)
        columns = [flat(trial) for trial in trials]
        keys = list(dict.fromkeys(key for row in columns for key in row))
        sink = io.BytesIO()
        pq.write_table(pa.table({key: [row.get(key) for row in columns] for key in keys}), sink)
        self.write("trials.parquet", sink.getvalue())
        told = [{"point": point, "reason": reason} for point, reason in refused]
        self.write("refused.json", json.dumps(told, indent=2).encode())
        if self.has(RECIPES):
            self.delete(RECIPES)
        for trial in found:
            self.write(f"{RECIPES}/{trial['number']:04}.json", trial["recipe"].encode())
        marked = {trial["number"] for trial in found}
        self.write("front.png", plot_front(trials, search.directions, marked, bend["number"]))


def on_front(trials: Sequence[Trial], search: SearchConfig) -> tuple[list[Trial], Trial]:
    """Return the finished trials on the front, best first, and the one at its knee with the `reason`."""
    finished = [trial for trial in trials if trial["state"] == "finished"]
    bend = knee(finished, search.directions)
    found = [finished[i] for i in front(finished, search.directions)]
    return found, finished[bend.index] | {"reason": bend.reason}


def flat(trial: Trial) -> Trial:
    """Return a trial as a row: the point's keys as `point.KEY`, as text."""
    own = {key: value for key, value in trial.items() if key != "point"}
    return own | {f"point.{key}": str(value) for key, value in trial["point"].items()}


def line(trial: Trial, search: SearchConfig) -> str:
    """Return a trial that has ended as a line for a log."""
    point = ", ".join(f"{key} {value}" for key, value in trial["point"].items())
    if trial["state"] == "failed":
        return f"trial {trial['number']} failed ({point}): {trial['fault']}"
    values = ", ".join(f"{name} {trial[name]:.4g}" for name in search.objectives)
    return f"trial {trial['number']} {trial['state']} after {trial['epochs']} epochs ({point}): {values}"


def table(found: Sequence[Trial], search: SearchConfig, bend: int) -> str:
    """Return the front as text."""
    keys = list(found[0]["point"])
    head = ("trial", *keys, *search.objectives, "")
    rows = [
        (
            str(trial["number"]),
            *(DASH if trial["point"][key] is None else str(trial["point"][key]) for key in keys),
            *(f"{trial[name]:.4f}" if name == "accuracy" else number(trial[name]) for name in search.objectives),
            "← knee" if trial["number"] == bend else "",
        )
        for trial in found
    ]
    return aligned(head, rows, 1 + len(keys))
