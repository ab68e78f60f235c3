"""A search's folder: what was searched for, every trial as it ended, and the results.

search.json  trials/N.json  trials.parquet  refused.json  front.png  recipes/N.json  front/N/  states/  base/  tune/
"""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Sequence
from typing import Any

from pydantic import RootModel, ValidationError

from raysplit.config.search import SearchConfig
from raysplit.errors import ConfigError
from raysplit.folders.search_names import NETWORKS, PICTURE, RECIPES, REFUSED, SEARCH, TABLE, TRIALS
from raysplit.records.trial import RefusedPoint, TrialRecord
from raysplit.utils.bundle import MANIFEST
from raysplit.utils.frozen import describe
from raysplit.utils.settings import loads
from raysplit.utils.storage import Folder


class _RefusedPoints(RootModel[tuple[RefusedPoint, ...]]):
    """What `refused.json` holds."""


class SearchDir(Folder):
    """One search's folder."""

    def check_owner(self, search: SearchConfig) -> None:
        """Raise ConfigError if the folder holds another search."""
        if self.has(SEARCH) and self.config() != search:
            raise ConfigError(f"'{self.location}' holds another search; give each its own folder, or use --resume")

    def claim(self, search: SearchConfig) -> None:
        """Make the folder this search's; ConfigError if it holds another one."""
        self.check_owner(search)
        self.write(SEARCH, search.model_dump_json(indent=2).encode())

    def config(self) -> SearchConfig:
        """Return the config of the search in this folder; ConfigError if there is none."""
        data = self.find(SEARCH)
        if data is None:
            raise ConfigError(f"'{self.location}' is not a search's folder: it has no {SEARCH}")
        return loads(SearchConfig, data.decode(errors="replace"), f"{self.location}/{SEARCH}")

    def write_trial(self, trial: TrialRecord, objectives: Sequence[str]) -> None:
        """Write the record of a trial that has ended; `objectives` are the search's."""
        self.write(f"{TRIALS}/{trial.number:04}.json", json.dumps(trial.to_row(objectives)).encode())

    def trials(self) -> list[TrialRecord]:
        """Return the trials that have ended, in the order in which they began; ConfigError for a damaged file."""
        folder = Folder.at(f"{self.location}/{TRIALS}")
        return [_read_trial(folder, name) for name in folder.names() if name.endswith(".json")]

    def recipe_file(self, trial: TrialRecord) -> str:
        """Return the location of the recipe of a trial on the front."""
        return f"{self.location}/{RECIPES}/{trial.number:04}.json"

    def write_recipes(self, trials: Sequence[TrialRecord]) -> None:
        """Write the recipes of some trials in place of those of an earlier call."""
        if self.has(RECIPES):
            self.delete(RECIPES)
        for trial in trials:
            self.write(f"{RECIPES}/{trial.number:04}.json", trial.recipe.encode())

    def network(self, trial: TrialRecord) -> str | None:
        """Return the location of the bundle of a trial on the front; None where a search of old kept none."""
        name = f"{NETWORKS}/{trial.number:04}"
        return f"{self.location}/{name}" if self.has(f"{name}/{MANIFEST}") else None

    def network_bytes(self) -> int:
        """Return the bytes of all bundles of trials."""
        return self.size(NETWORKS)

    def clear_network(self, number: int) -> str:
        """Return where a trial's bundle belongs; what is there is deleted."""
        name = f"{NETWORKS}/{number:04}"
        if self.has(name):
            self.delete(name)
        return f"{self.location}/{name}"

    def drop_networks(self, kept: Collection[int], ended: Collection[int] | None = None) -> None:
        """Delete the bundles of all trials but those in `kept`; with `ended`, only of these."""
        for name in Folder.at(f"{self.location}/{NETWORKS}").names():
            number = int(name) if name.isdecimal() else None
            if number is not None and number not in kept and (ended is None or number in ended):
                self.delete(f"{NETWORKS}/{name}")

    def write_table(self, trials: Sequence[TrialRecord], objectives: Sequence[str]) -> None:
        """Write `trials.parquet`: a row for each trial, with the point's keys as columns `point.KEY` of text."""
        import pyarrow as pa
        import pyarrow.parquet as pq  # what opens a family needs the names in this file alone

        rows = [_flatten_point(trial.to_row(objectives)) for trial in trials]
        keys = list(dict.fromkeys(key for row in rows for key in row))
        sink = io.BytesIO()
        pq.write_table(pa.table({key: [row.get(key) for row in rows] for key in keys}), sink)
        self.write(TABLE, sink.getvalue())

    def write_refused(self, refused: Sequence[RefusedPoint]) -> None:
        """Write the points that were refused, with the reasons."""
        self.write(REFUSED, json.dumps([one.model_dump() for one in refused], indent=2).encode())

    def refused(self) -> list[RefusedPoint]:
        """Return the points that were refused so far; empty where none were written."""
        data = self.find(REFUSED)
        if data is None:
            return []
        return list(loads(_RefusedPoints, data.decode(errors="replace"), f"{self.location}/{REFUSED}").root)

    def write_picture(self, png: bytes) -> None:
        """Write the picture of the front."""
        self.write(PICTURE, png)


def _read_trial(folder: Folder, name: str) -> TrialRecord:
    try:
        return TrialRecord.from_row(json.loads(folder.find(name) or b""))
    except ValidationError as err:
        raise ConfigError(f"{folder.location}/{name} is not a trial's record: {describe(err)}") from None
    except (ValueError, TypeError, AttributeError) as err:
        raise ConfigError(f"{folder.location}/{name} is not a trial's record: {type(err).__name__}: {err}") from None


def _flatten_point(row: dict[str, Any]) -> dict[str, Any]:
    own = {key: value for key, value in row.items() if key != "point"}
    return own | {f"point.{key}": str(value) for key, value in row["point"].items()}
