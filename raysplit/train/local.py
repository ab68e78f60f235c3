"""A run in this process, without Ray: the same loop and the same messages."""

from __future__ import annotations

import logging
import posixpath

from raysplit.config import SplitConfig
from raysplit.folders.run_dir import STATE, RunDir
from raysplit.monitors.group import require_packages
from raysplit.records.summary import RunSummary
from raysplit.torch_utils.checkpoint import pack_state
from raysplit.train.epoch import StepCallback
from raysplit.train.local_device import make_local_devices
from raysplit.train.loop import Loop
from raysplit.train.run import read_newest_state, run
from raysplit.train.start import without_start
from raysplit.train.summary import epoch_line
from raysplit.utils.progress import show_progress_by_default
from raysplit.utils.storage import dated

_log = logging.getLogger(__name__)
_KEEP = 2


def train_local(config: SplitConfig, run_dir: str | None = None, on_step: StepCallback | None = None) -> RunSummary:
    """Train a recipe in this process and return its summary (docs/run-record.md).

    A `run_dir` that holds checkpoints of the same recipe is resumed from the newest, and ends with the weights of
    a run that was never stopped. None: a new folder under `ray.storage`. A line for each epoch is logged, and printed
    where the application has not set up logging.

    >>> from raysplit import read_run
    >>> stopped = read_run("stopped_run")
    >>> summary = train_local(stopped.config, "stopped_run")
    >>> len(stopped.epochs), len(read_run("stopped_run").epochs)
    (1, 2)
    """
    require_packages(config)
    folder = RunDir.at(run_dir or f"{config.ray.storage}/{dated(config.name)}")

    show_progress_by_default()

    def save(loop: Loop) -> None:
        if loop.records:
            _log.info(epoch_line(loop.records[-1], config.train.epochs))
        folder.write(posixpath.join(dated("checkpoint"), STATE), pack_state(loop.state()))
        for old in folder.checkpoints()[:-_KEEP]:
            folder.delete(old)

    start = read_newest_state(folder)
    devices = make_local_devices(config if start is None else without_start(config))
    return run(Loop(config, devices, on_step, resumed=start is not None), folder, start, save)
