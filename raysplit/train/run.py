"""One run from its first checkpoint to its summary, in this process or on Ray."""

from __future__ import annotations

import logging
import posixpath
from collections.abc import Callable
from typing import Any

from raysplit.config import SplitConfig, loads
from raysplit.errors import ConfigError, DivergenceError
from raysplit.folders.run_dir import STATE, RunDir
from raysplit.monitors.base import MonitoredRun
from raysplit.monitors.group import MonitorGroup
from raysplit.records.family import FOLDER
from raysplit.records.summary import RunSummary
from raysplit.torch_utils.checkpoint import unpack_state
from raysplit.train.family import Crossing, join_tail, pack_family
from raysplit.train.loop import Loop
from raysplit.train.own_states import RECEIPT, describe_missing_half
from raysplit.train.summary import summarize
from raysplit.train.user_files import read_user_files

_log = logging.getLogger(__name__)


def run(loop: Loop, folder: RunDir, start: dict[str, Any] | None, save: Callable[[Loop], None]) -> RunSummary:
    """Drive a loop from a checkpoint to its end, write the record and the family, and return the summary.

    `save` is called once before the first epoch and after each, so that a run can be resumed wherever it stops.
    The config's monitors are told of each epoch once it is saved. Raises ConfigError when the folder holds a run of
    another config (other monitors do not count) or a monitor cannot begin, and DivergenceError for a training that
    diverges: nothing of that epoch is written.
    """
    text = loop.config.model_dump_json(indent=2)
    if folder.has("config.json"):
        known, given = folder.config(), loads(SplitConfig, text, "this run's config")
        if known.replaced(monitors=()) != given.replaced(monitors=()):
            raise ConfigError(f"'{folder.path}' holds a run of another config; give each run its own directory")
    monitors = MonitorGroup(loop.config)
    if start is not None:
        _restore(loop, folder, start)
    records, device_records = tuple(loop.records), tuple(loop.device_records)
    monitors.begin(MonitoredRun(folder.location, loop.config, records, device_records))
    summary: RunSummary | None = None
    try:
        write_start(loop, folder)
        _warn_of_exchange(loop)
        if start is None:
            save(loop)
        _train(loop, folder, save, monitors)
        summary = write_end(loop, folder, folder.location, posixpath.join(folder.location, FOLDER))
        return summary
    except DivergenceError as err:
        done = len(loop.records)
        when = f"after epoch {done}" if done else "before the first epoch"
        newest = f"{folder.location}/{folder.checkpoints()[-1]}"
        raise DivergenceError(f"{err}. The last good checkpoint, {when}, is {newest}") from None
    finally:
        monitors.end(summary)


def _warn_of_exchange(loop: Loop) -> None:
    """Say where weights leave their device although they shall stay there."""
    if loop.config.checkpoint.device == "local" and loop.exchanges:
        _log.warning(
            "checkpoint.device=local leaves on each device's disk what it has trained, but devices.mode="
            f"{loop.config.devices.mode} makes it common in each round: the weights cross (up_weights and down_weights "
            "of the record), and the server has the common ones"
        )


def _restore(loop: Loop, folder: RunDir, state: dict[str, Any]) -> None:
    try:
        loop.restore(state)
    except DivergenceError as err:
        raise DivergenceError(
            f"the run in '{folder.path}' has diverged, and its newest checkpoint with it: {err}; begin again with "
            f"train.lr below {loop.config.train.lr:g}"
        ) from None


def write_start(loop: Loop, folder: RunDir) -> None:
    """Write the config, and the user's files that the network needs."""
    folder.write("config.json", loop.config.model_dump_json(indent=2).encode())
    for name, data in read_user_files(loop.config).items():
        folder.write(name, data)


def write_ended_level(loop: Loop, folder: RunDir) -> None:
    """Write the model of a level that the last epoch has ended, if it has."""
    ended = sum(record.test_accuracy is not None for record in loop.records)
    if loop.records and loop.records[-1].test_accuracy is not None:
        folder.write_level(ended - 1, join_tail(loop.weights()))


def write_end(loop: Loop, folder: RunDir, location: str, family: str) -> RunSummary:
    """Write what a loop that has come to its end leaves: record, weights, summary, and the family to `family`.

    Where the device half stays on its device, there is a reference to it in place of its weights, and no family.
    `location` is the run's, for its summary.
    """
    folder.write_records(loop.records)
    folder.write_device_records(loop.device_records)
    folder.write_weights(loop.weights())
    summary, reference = summarize(loop, location), loop.reference()
    if reference is not None:
        folder.write(RECEIPT, reference.pack())
    folder.write_summary(summary)
    if reference is None:
        pack_family(folder, family, loop.config, summary, loop.records, Crossing(loop.cut, loop.code_shape))
    else:
        _log.warning(describe_missing_half(folder.location, reference))
    return summary


def _train(loop: Loop, folder: RunDir, save: Callable[[Loop], None], monitors: MonitorGroup) -> None:
    for record in loop.epochs():
        folder.write_records(loop.records)
        folder.write_device_records(loop.device_records)
        write_ended_level(loop, folder)  # before the checkpoint: a run that resumes from it must not lack the level
        save(loop)
        monitors.epoch(record, [row for row in loop.device_records if row.epoch.epoch == record.epoch])


def read_newest_state(folder: RunDir) -> dict[str, Any] | None:
    """Return the state in the newest checkpoint of a run that is whole, or None where there is none.

    A checkpoint that is damaged is passed over with a warning. Raises ConfigError where all of them are, and the run
    has epochs that would be trained again.
    """
    names = folder.checkpoints()
    for name in reversed(names):
        data = folder.read(f"{name}/{STATE}")
        try:
            state = unpack_state(data)
        except Exception:  # torch raises nearly anything on bytes that are no checkpoint: its writer died
            state = {}
        if state.keys() >= {"rows", "device", "server"}:
            return state
        _log.warning(f"{folder.location}/{name} is damaged and left out; training goes on from the one before it")
    if names and folder.has("metrics.parquet"):
        raise ConfigError(
            f"no checkpoint of the run in '{folder.location}' can be read ({', '.join(names)}); restore one, or begin "
            "a new run"
        )
    return None
