"""One run from its first checkpoint to its summary, whatever carries the messages."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from typing import Any

from raysplit.config import SplitConfig, loads
from raysplit.errors import ConfigError
from raysplit.fit.checkpoint import unpack_state
from raysplit.train.loop import Loop
from raysplit.train.record import STATE, RunDir
from raysplit.train.summary import summarise


def run(loop: Loop, place: RunDir, start: dict[str, Any] | None, save: Callable[[Loop], None]) -> dict[str, Any]:
    """Drive a loop from a checkpoint to its end, keep the record, and return the summary.

    `save` is called after each epoch, and once before the first, so that a run that is stopped anywhere can
    go on. Raises ConfigError when the folder holds a run of another config.
    """
    text = loop.config.model_dump_json(indent=2)
    if place.has("config.json") and place.config() != loads(SplitConfig, text, "this run's config"):
        raise ConfigError(f"'{place.path}' holds a run of another config; give each run its own directory")
    place.write("config.json", text.encode())
    if start is not None:
        loop.restore(start)
    else:
        save(loop)
    for _ in loop.epochs():
        place.write_rows(loop.rows)
        if loop.rows[-1]["test_accuracy"] is not None:
            # Before the checkpoint: a run that goes on from it must not lack the level.
            kept = sum(row["test_accuracy"] is not None for row in loop.rows)
            place.write_level(kept - 1, loop.weights())
        save(loop)
    place.write_rows(loop.rows)
    place.write_weights(loop.weights())
    summary = summarise(loop, place.location)
    place.write("summary.json", json.dumps(summary, indent=2).encode())
    return summary


def newest(place: RunDir) -> dict[str, Any] | None:
    """Return the state in the newest checkpoint of a run that is whole, or None where there is none."""
    for name in reversed(place.checkpoints()):
        try:
            return unpack_state(place.read(f"{name}/{STATE}"))
        except (RuntimeError, EOFError, pickle.UnpicklingError):
            continue  # a copy that was cut short when its writer died
    return None
