"""The runs of a traffic benchmark: trained within a time limit, and what a result file keeps of each."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout
from meta import meta
from pydantic import Field

from raysplit.config import SplitConfig
from raysplit.folders.run_dir import RunDir
from raysplit.records.epoch import EpochRecord, Mode
from raysplit.train.epoch import StepCallback
from raysplit.train.local import train_local
from raysplit.utils.frozen import Frozen

Fit = Callable[[SplitConfig, str, StepCallback], object]
"""Trains a config in a folder, or goes on where it was stopped, as `train_local` does."""


class EpochResult(Frozen):
    """What the table needs of an epoch; accuracies in 0..1."""

    level: str
    mode: Mode
    frame_bytes: int
    """Of training, both ways."""
    header_bytes: int
    label_bytes: int
    val_accuracy: float
    test_accuracy: float | None
    """Of a model that was kept at the end of the epoch."""
    train_s: float
    predicted_s: dict[str, float] = Field(default_factory=dict)
    """Seconds on each named link, by its name."""

    @classmethod
    def of(cls, record: EpochRecord) -> EpochResult:
        """Return what the table needs of an epoch's record."""
        return cls(
            level=record.level,
            mode=record.mode,
            frame_bytes=record.traffic,
            header_bytes=record.bytes.up_headers + record.bytes.down_headers,
            label_bytes=record.bytes.up_labels,
            val_accuracy=record.val_accuracy,
            test_accuracy=record.test_accuracy,
            train_s=record.train_s,
            predicted_s=record.predicted_s,
        )


class RunResult(Frozen):
    """A finished run as a result file keeps it: nothing else is needed to make the table again."""

    row: str
    seed: int
    settings: str
    """`settings_id` of its config."""
    accuracy: float
    """Test accuracy, in 0..1."""
    raw_bytes: int
    """Of the training images as uint8 pixels."""
    epochs: tuple[EpochResult, ...]
    commits: tuple[str, ...]
    machines: tuple[str, ...]

    @property
    def traffic(self) -> int:
        """Frame bytes of training, both ways."""
        return sum(epoch.frame_bytes for epoch in self.epochs)

    @property
    def payload(self) -> int:
        """The same without headers."""
        return self.traffic - sum(epoch.header_bytes for epoch in self.epochs)


class TimeIsUp(Exception):
    """The time limit has passed; the run goes on at its last epoch when it is asked for again."""


def settings_id(config: SplitConfig) -> str:
    """Return text that changes with what a run is trained on and how, but not with where its data set lies.

    New settings whose default leaves training as it was do not change it, unless they are the bottleneck's.
    """
    kind, found, path = config.data.name.partition(":")
    told = config.model_dump(mode="json", exclude_defaults=True, exclude={"name", "ray"})
    told["data"]["name"] = f"{kind}:{Path(path).name}" if found else kind
    told["bottleneck"] = None if config.bottleneck is None else config.bottleneck.model_dump(mode="json")
    told["schedule"] = told.get("schedule", {}) | {"kind": type(config.schedule).__name__}
    if config.model.weights is not None:
        told["model"]["weights"] = Path(config.model.weights).name
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]


def run_folder(work: Path, config: SplitConfig) -> Path:
    """Return where a run is kept: changed settings make another run."""
    name = "".join(c if c.isalnum() else "-" for c in config.name)
    return work / f"{name}_{config.train.seed}_{settings_id(config)}"


def train(config: SplitConfig, place: Path, until: float, fit: Fit = train_local) -> RunResult | None:
    """Train a run, or go on with it, and return its result; None where another process is at it.

    Raises TimeIsUp at the first epoch that would begin after `until`, in seconds of `time.monotonic`.
    """
    place.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(place.with_name(f"{place.name}.lock"), timeout=0):
            if (done := read(place, config)) is not None:
                return done
            _note_origin(place, config.train.seed)
            _require_time(until)
            fit(config, str(place), lambda _, step, *__: _require_time(until) if step == 1 else None)
            return read(place, config)
    except Timeout:
        return None


def read(place: Path, config: SplitConfig) -> RunResult | None:
    """Return the result of a run that has ended in `place`, else None."""
    folder = RunDir.at(str(place))
    summary = folder.summary()
    if summary is None:
        return None
    origins = json.loads((place / "origins.json").read_text())
    return RunResult(
        row=config.name,
        seed=config.train.seed,
        settings=settings_id(config),
        accuracy=summary.accuracy,
        raw_bytes=summary.bytes_raw_upload,
        epochs=tuple(EpochResult.of(record) for record in folder.records()),
        commits=tuple(sorted({origin["commit"] for origin in origins})),
        machines=tuple(sorted({origin["machine"] for origin in origins})),
    )


def _require_time(until: float) -> None:
    if time.monotonic() > until:
        raise TimeIsUp


def _note_origin(place: Path, seed: int) -> None:
    """Add commit and machine of this process to those that have trained the run."""
    file = place / "origins.json"
    origins = json.loads(file.read_text()) if file.exists() else []
    about = meta([seed])
    here = {key: about[key] for key in ("commit", "machine")}
    if here not in origins:
        file.write_text(json.dumps([*origins, here]))
