"""A run in this process, without Ray: the same loop and the same messages."""

from __future__ import annotations

import posixpath
from typing import Any

from raysplit.config import SplitConfig
from raysplit.fit.checkpoint import pack_state
from raysplit.storage import dated
from raysplit.train.loop import Loop, Watch
from raysplit.train.record import STATE, RunDir
from raysplit.train.run import newest, run
from raysplit.train.transport import Local

_KEEP = 2


def train_local(config: SplitConfig, run_dir: str | None = None, watch: Watch | None = None) -> dict[str, Any]:
    """Train a recipe in this process and return its summary (docs/run-record.md).

    A `run_dir` that holds checkpoints of the same recipe goes on from the newest: the weights at the end are
    those of a run that was never stopped. None: a new folder under `ray.storage`.
    """
    place = RunDir.at(run_dir or f"{config.ray.storage}/{dated(config.name)}")

    def save(loop: Loop) -> None:
        place.write(posixpath.join(dated("checkpoint"), STATE), pack_state(loop.state()))
        for old in place.checkpoints()[:-_KEEP]:
            place.delete(old)

    return run(Loop(config, Local(config), watch), place, newest(place), save)
