"""The folders of the ensemble benchmark's builds, which several processes may share."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from filelock import FileLock
from meta import meta

from raysplit.config import EnsembleConfig
from raysplit.ensemble.weights_file import pack, unpack


def take_submodels(source: Path, place: Path, config: EnsembleConfig) -> None:
    """Copy the sub-models of a build, stored at another's precision; their record last, which says they are done."""
    for part in sorted((source / "submodels").iterdir()):
        target = place / "submodels" / part.name
        if not (target / "record.json").exists():
            target.mkdir(parents=True, exist_ok=True)
            weights = unpack((part / "model.safetensors").read_bytes(), str(part))
            (target / "model.safetensors").write_bytes(pack(weights, config.precision))
            shutil.copyfile(part / "record.json", target / "record.json")


def locked(place: Path) -> FileLock:
    """Make a folder and return its lock: what one process is at, another waits for."""
    place.mkdir(parents=True, exist_ok=True)
    return FileLock(place / "busy.lock")


def say_how(place: Path, seed: int) -> None:
    """Write how a build came to be into its folder, once."""
    if not (place / "meta.json").exists():
        (place / "meta.json").write_text(json.dumps(meta([seed])))
