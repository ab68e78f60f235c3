"""The committed results, typed: what the claims' page is made from."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

RESULTS = Path(__file__).resolve().parents[1] / "results"


class _Read(BaseModel):
    """A part of a result file; keys that the page does not need are left out."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Meta(_Read):
    """How a result came to be."""

    command: str
    commit: str
    machine: str
    seeds: tuple[int, ...]
    model: str = ""
    subset: str = ""

    @property
    def data(self) -> str:
        """The data set's name, without its path."""
        words = shlex.split(self.command)
        given = words[words.index("--data") + 1] if "--data" in words else "mnist5k"
        return Path(given.rpartition(":")[2]).name

    @property
    def images(self) -> int | None:
        """Number of training images, as `subset` begins with; None where it says nothing."""
        found = re.match(r"([\d,]+) training images", self.subset)
        return int(found[1].replace(",", "")) if found else None


class TrafficRow(_Read):
    """A row of a traffic table: accuracies in percent, sizes in 10⁶ frame bytes of training."""

    name: str
    accuracy_mean: float
    accuracy_std: float | None
    seeds: int
    frame_mb: float
    times_less: float | None
    times_less_than_upload: float | None
    mb_to_target: float | None
    epochs: int
    levels: tuple[str, ...]
    commits: tuple[str, ...]
    stage_epochs: int | None = None
    """Of a level by transfer: its own epochs."""

    @property
    def as_published(self) -> bool:
        """Whether it has the published treatment: it is compared with rows that have it too."""
        return "paper" in self.name

    @property
    def schedule(self) -> str:
        """The name without what tells the published treatment."""
        return self.name.removeprefix("paper: ")

    @property
    def crosses(self) -> bool:
        """Whether a network was trained across a cut, in messages."""
        return bool(self.levels) and self.frame_mb > 0


class TrafficTable(_Read):
    """A result of `split_traffic.py`."""

    meta: Meta
    rows: tuple[TrafficRow, ...]

    def row(self, name: str) -> TrafficRow | None:
        return next((row for row in self.rows if row.name == name), None)

    def throughout(self, level: str, like: TrafficRow) -> TrafficRow | None:
        """Return the row that was trained jointly at one level throughout and treated like another one.

        Of several the first of those with the most epochs; None where there is none.
        """
        alike = (row for row in self.rows if row.as_published == like.as_published and row.stage_epochs is None)
        joint = [row for row in alike if row.levels == (level,) and not row.name.startswith("freeze")]
        return max(joint, key=lambda row: row.epochs, default=None)


class EnsembleRow(_Read):
    """A row of an ensembles' table: accuracies in percent; costs of the busiest device and of all together."""

    name: str
    n: int
    accuracy_mean: float
    accuracy_std: float | None
    seeds: int
    below_full: float
    mib_device_max: float
    latency_ms_device_max: float
    latency_ms_full_like: float
    lost3: float | None
    commits: tuple[str, ...]
    spikes_device_max: float | None = None
    spikes_full: float | None = None


class EnsembleTable(_Read):
    """A result of `ensemble.py`."""

    meta: Meta
    rows: tuple[EnsembleRow, ...]

    @property
    def network(self) -> str:
        return self.meta.model.partition(" ")[0]

    @property
    def kind(self) -> str:
        """`vit`, `cnn` or `snn`."""
        return "snn" if self.network.startswith("spiking") else "cnn" if self.network.startswith("vgg") else "vit"

    @property
    def by_classes(self) -> tuple[EnsembleRow, ...]:
        """The rows of two or more sub-models that share the classes, with nothing left out."""
        return tuple(row for row in self.rows if re.fullmatch(r"n=\d+", row.name) and row.n > 1)

    def row(self, name: str) -> EnsembleRow | None:
        return next((row for row in self.rows if row.name == name), None)


class Size(_Read):
    """A network's file in the comparison of ViT-Base with its sub-model."""

    model: str
    precision: str
    mib: float


class LatencyPair(_Read):
    """Two networks that were measured in turns."""

    pair: str
    ms_full: float
    ms_submodel: float
    ratio: float

    @property
    def alike(self) -> bool:
        """Whether both compute at one precision and are compiled in one way."""
        small, _, full = self.pair.removesuffix(" (like for like)").partition(" sub-model against ")
        return self.pair.endswith("(like for like)") or small == full.removesuffix(" full")


class Geometry(_Read):
    """A result of `ensemble_geometry.py`."""

    meta: Meta
    geometry: tuple[Size, ...]
    latency: tuple[LatencyPair, ...]

    def mib(self, model: str, precision: str) -> float:
        return next(size.mib for size in self.geometry if (size.model, size.precision) == (model, precision))


@dataclass(frozen=True)
class Results:
    """Everything that has been measured, by the names of the result files."""

    traffic: dict[str, TrafficTable]
    ensembles: dict[str, EnsembleTable]
    geometry: dict[str, Geometry]

    def metas(self) -> dict[str, Meta]:
        """Return how each result came to be, by name."""
        tables: tuple[dict[str, Any], ...] = (self.traffic, self.ensembles, self.geometry)
        return {name: table.meta for tables_of_kind in tables for name, table in sorted(tables_of_kind.items())}


def read_results(folder: Path = RESULTS) -> Results:
    """Return the results in a folder; those of quick presets are for trying things out and are left out."""
    found = {file.stem: json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))}
    full = {name: tree for name, tree in found.items() if not name.endswith("_quick")}

    def with_rows(keys: Iterable[str]) -> dict[str, dict[str, Any]]:
        return {name: tree for name, tree in full.items() if _has_rows(tree, keys)}

    return Results(
        traffic={k: TrafficTable.model_validate(v) for k, v in with_rows(("frame_mb", "accuracy_mean")).items()},
        ensembles={k: EnsembleTable.model_validate(v) for k, v in with_rows(("mib_device_max", "lost3")).items()},
        geometry={k: Geometry.model_validate(v) for k, v in full.items() if "geometry" in v and "latency" in v},
    )


def _has_rows(tree: dict[str, Any], keys: Iterable[str]) -> bool:
    rows = tree.get("rows")
    return isinstance(rows, list) and bool(rows) and all(key in rows[0] for key in keys)
