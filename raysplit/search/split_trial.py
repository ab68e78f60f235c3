"""Trials of split training: feasibility and costs before training, and the training itself in this process."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from tempfile import TemporaryDirectory

from raysplit.compress.bottleneck import code_shape
from raysplit.config import Prune, SplitConfig
from raysplit.config.search import SearchConfig
from raysplit.data import read_facts
from raysplit.errors import ConfigError
from raysplit.folders.run_dir import RunDir
from raysplit.folders.search_dir import SearchDir
from raysplit.hardware.link import MicroBatchCost, train_seconds
from raysplit.hardware.platform import Platform
from raysplit.planner.static_plan import plan_cut
from raysplit.records.epoch import EpochRecord, total_traffic
from raysplit.records.trial import TrialReport
from raysplit.schedules import foresee, phase_starts
from raysplit.search.pareto import joins_front
from raysplit.split import CutProfile
from raysplit.torch_utils.checkpoint import pack_state, unpack_state
from raysplit.train.costs import epoch_bytes, run_context
from raysplit.train.local_device import make_local_devices
from raysplit.train.loop import Loop
from raysplit.train.run import write_end, write_ended_level, write_start
from raysplit.train.start import without_start

STATES = "states"


def find_split_fault(search: SearchConfig, config: SplitConfig) -> str | None:
    """Return why a config is infeasible on the search's platform, or None.

    Raises RaysplitError for a config that cannot be trained at all.
    """
    forecast_split(search, config)
    return plan_cut(config, search.platform, search.rate).row.fault


def forecast_split(search: SearchConfig, config: SplitConfig) -> dict[str, float] | None:
    """Return the objectives that are known before training: all but accuracy, bytes as an upper bound.

    None for a schedule that depends on measurements. Raises ConfigError for a schedule that cannot be met, and what
    `plan_cut` raises.
    """
    _require_searchable(config)
    plan = plan_cut(config, search.platform, search.rate)
    cut, known = plan.profile, read_facts(config.data)
    shape, classes = code_shape(config.bottleneck, cut.shape, cut.channel_dim), len(known.classes)
    steps = known.train_rows // config.train.batch_size
    decisions = foresee(config.schedule, run_context(config, shape, cut.channel_dim, classes, steps))
    if decisions is None:
        return None
    traffic, seconds = 0, 0.0
    for epoch, decision in enumerate(decisions):
        sent = epoch_bytes(config, decision, shape, cut.channel_dim, classes, epoch, steps)
        record = EpochRecord(epoch=epoch, level=str(decision.level), mode=decision.mode, steps=steps, bytes=sent)
        traffic += record.traffic
        seconds += predict_epoch_seconds(search.platform, config, cut, record)
    return {"bytes": traffic, "seconds": seconds, "image_bytes": plan.row.bytes_up, "answer_s": plan.row.total_s}


def _require_searchable(config: SplitConfig) -> None:
    """Raise ConfigError for a recipe that a search cannot price, or of which it could not keep the network."""
    if config.cut_back is not None:
        raise ConfigError(f"recipe {config.name} has a second cut, and a search places only one; leave cut_back out")
    if config.checkpoint.device == "local":
        raise ConfigError(
            f"recipe {config.name} leaves the device half on the device, and a search keeps the networks of its front; "
            "set checkpoint.device to server"
        )


def run_split_trial(search: SearchConfig, number: int, config: SplitConfig, folder: SearchDir) -> Iterator[TrialReport]:
    """Train a config and report after each epoch.

    `folder` is the search's, where a trial on the front leaves its family.

    Trials with a prune schedule that begin alike share their first stage: the first one keeps the state at its end,
    later ones restore it, and need no weights to start from. The weights are those of a run that trained the stage
    itself.
    """
    with TemporaryDirectory() as path:
        yield from _train_trial(search, number, config, folder, RunDir.at(path))


def _train_trial(
    search: SearchConfig, number: int, config: SplitConfig, folder: SearchDir, run_dir: RunDir
) -> Iterator[TrialReport]:
    plan = plan_cut(config, search.platform, search.rate)
    stage = find_shared_stage(config)
    state = None if stage is None else folder.find(stage.file)
    devices = make_local_devices(config if state is None else without_start(config))
    loop = Loop(config, devices, resumed=state is not None)
    write_start(loop, run_dir)
    if state is not None:
        loop.restore(unpack_state(state))
        write_ended_level(loop, run_dir)
    start = len(loop.records)
    predict = partial(predict_epoch_seconds, search.platform, config, plan.profile)
    traffic, seconds = total_traffic(loop.records), sum(map(predict, loop.records))
    for record in loop.epochs():
        epoch = record.epoch + 1
        traffic += record.traffic
        seconds += predict(record)
        write_ended_level(loop, run_dir)
        if stage is not None and not start and epoch == stage.epochs:
            folder.write(stage.file, pack_state(loop.state()))
        report = TrialReport(
            epoch=epoch,
            trained=epoch - start,
            last=epoch == config.train.epochs,
            objectives={
                "accuracy": record.val_accuracy,
                "bytes": traffic,
                "seconds": seconds,
                "image_bytes": plan.row.bytes_up,
                "answer_s": plan.row.total_s,
            },
        )
        if report.last and joins_front(search, folder, report):
            location = folder.clear_network(number)
            write_end(loop, run_dir, location, location)
        yield report


@dataclass(frozen=True)
class SharedStage:
    """The first stage of a prune schedule, which trials that begin alike train once."""

    file: str
    """Where the state at its end is kept, in the search's folder."""
    epochs: int


def find_shared_stage(config: SplitConfig) -> SharedStage | None:
    """Return the stage that a trial shares with others; None for other schedules and for a single stage."""
    schedule = config.schedule
    if not isinstance(schedule, Prune) or len(schedule.phases) == 1:
        return None
    epochs = phase_starts(schedule.phases, config.train.epochs)[1]
    tree = config.model_dump(mode="json")
    for key in ("name", "ray"):
        del tree[key]
    tree["schedule"] = {"first": tree["schedule"]["phases"][0], "epochs": epochs}
    digest = hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:16]
    return SharedStage(f"{STATES}/{digest}.pt", epochs)


def predict_epoch_seconds(platform: Platform, config: SplitConfig, cut: CutProfile, record: EpochRecord) -> float:
    """Return the seconds of an epoch's training on a platform, without validation.

    A backward pass counts as two forward passes. Epochs in which the server learns from cached activations cost the
    device nothing; each step of a device that learns alone is one call without a message. A frozen device half has no
    backward pass (that of an encoder is not counted).
    """
    micro_batches, mode = record.steps * config.train.in_flight, record.mode
    images = config.train.batch_size // config.train.in_flight
    forward_s = images * cut.device_gflops / platform.device.gflops_per_s
    server_s = 3 * images * cut.server_gflops / platform.server.gflops_per_s
    micro = MicroBatchCost(
        up_bytes=record.bytes_up / micro_batches,
        down_bytes=record.bytes_down / micro_batches,
        forward_s=0.0 if mode == "cached" else forward_s,
        backward_s=0.0 if mode in ("cached", "frozen") or config.train.device_half == "frozen" else 2 * forward_s,
        server_s=0.0 if mode == "alone" else server_s,
    )
    calls_s = record.steps * platform.link.call_s(0) if mode == "alone" else 0.0
    return train_seconds(platform.link, record.steps, config.train.in_flight, micro) + calls_s
