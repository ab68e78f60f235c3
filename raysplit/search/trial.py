"""One trial: the real training in this process, and what each epoch came to."""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from raysplit.compress.bottleneck import code_shape
from raysplit.config import EnsembleConfig, Prune, SplitConfig
from raysplit.config.ensemble_plan import SubmodelSpec
from raysplit.data import facts
from raysplit.ensemble.base_classifier import train_base
from raysplit.ensemble.build import build_ensemble
from raysplit.ensemble.check import check_build
from raysplit.ensemble.context import open_build
from raysplit.errors import RaysplitError
from raysplit.folders.build_dir import BASE_RECORD, BASE_WEIGHTS, BuildDir
from raysplit.hardware.link import Micro, train_seconds
from raysplit.planner.static_plan import row_of
from raysplit.records.epoch import ByteCounts, EpochRecord, total_traffic
from raysplit.schedules import foresee, phase_starts
from raysplit.search.config import SearchConfig
from raysplit.search.space import Config
from raysplit.split import CutProfile
from raysplit.torch_utils.checkpoint import pack_state, unpack_state
from raysplit.train.costs import run_context, step_bytes
from raysplit.train.local_device import LocalDevice
from raysplit.train.loop import Loop
from raysplit.utils.storage import Folder

_log = logging.getLogger(__name__)
Report = dict[str, Any]
"""What a trial has come to after an epoch: `epoch` (from 1), `trained` (epochs that were really trained, not taken from
another trial), `last`, and every objective as far as it has come."""
STATES, BASE = "states", "base"


def epochs_of(config: Config) -> int:
    """Return the epochs that a trial trains; of an ensemble, those of each sub-model and of what it starts from."""
    if isinstance(config, SplitConfig):
        return config.train.epochs
    return sum(fit.epochs for fit in (config.common, config.retrain) if fit is not None)


def fault_of(search: SearchConfig, config: Config) -> str | None:
    """Return why a config cannot be on the search's link and machines, before anything is trained."""
    try:
        if isinstance(config, SplitConfig):
            expected(search, config)
            return row_of(config, search.link, search.device, search.server, search.rate)[0].fault
        specs = check_build(config, facts(config.data)).submodels
    except RaysplitError as err:
        return str(err)
    mib, seconds = _largest(specs, search)
    if mib > search.device.memory_mib:
        return f"a sub-model needs {mib:,.1f} MiB, {search.device.name} has {search.device.memory_mib:,.1f}"
    if search.rate is not None and seconds * search.rate > 1:
        return (
            f"the device takes {1000 * seconds:,.1f} ms an image, {search.rate:g} images/s leave "
            f"{1000 / search.rate:,.1f}"
        )
    return None


def _largest(specs: Sequence[SubmodelSpec], search: SearchConfig) -> tuple[float, float]:
    """Return the MiB of the largest sub-model's file, and the seconds of the slowest one on the device."""
    mib = max(spec.file_bytes for spec in specs) / 2**20
    return mib, max(spec.flops for spec in specs) / 1e9 / search.device.gflops_per_s


def expected(search: SearchConfig, config: Config) -> dict[str, float] | None:
    """Return what is known of a config before it is trained, all but accuracy; bytes are an upper bound.

    None where a schedule depends on what it will see, and for ensembles. Raises ConfigError where a schedule cannot be,
    and as `row_of`.
    """
    if not isinstance(config, SplitConfig):
        return None
    plan, cut = row_of(config, search.link, search.device, search.server, search.rate)
    known, shape = facts(config.data), code_shape(config.bottleneck, cut.shape, cut.channel_dim)
    steps = known.train_rows // config.train.batch_size
    classes = len(known.classes)
    decisions = foresee(config.schedule, run_context(config, shape, cut.channel_dim, classes, steps))
    if decisions is None:
        return None
    traffic, seconds = 0, 0.0
    for epoch, decision in enumerate(decisions):
        step = step_bytes(config, decision.level, shape, cut.channel_dim, classes)
        sent = ByteCounts(
            up_activations=steps * step.up if decision.mode in ("joint", "local", "frozen") else 0,
            down_gradients=steps * step.down if decision.mode == "joint" else 0,
        )
        record = EpochRecord(epoch=epoch, level=str(decision.level), mode=decision.mode, steps=steps, bytes=sent)
        traffic, seconds = traffic + record.traffic, seconds + _seconds(search, config, cut, record)
    return {"bytes": traffic, "seconds": seconds, "image_bytes": plan.bytes_up, "answer_s": plan.total_s}


def prepare(search: SearchConfig, place: Folder) -> None:
    """Train what trials share: the base of ensembles."""
    config = search.recipe
    if isinstance(config, EnsembleConfig) and config.base.weights is None:
        shared = shared_base(config, place)
        if not shared.has(BASE_WEIGHTS):
            train_base(open_build(config, shared.location), _log.info)


def shared_base(config: EnsembleConfig, place: Folder) -> Folder:
    """Return the folder of the base of all trials whose base is trained alike."""
    alike = config.model_dump_json(include={"base", "data", "seed"})
    return Folder.at(f"{place.location}/{BASE}/{hashlib.sha256(alike.encode()).hexdigest()[:16]}")


def reports(search: SearchConfig, config: Config, location: str) -> Iterator[Report]:
    """Train one config, and report after each epoch; an ensemble reports once.

    `location` is the search's folder. Raises what training raises.
    """
    if isinstance(config, SplitConfig):
        yield from _split(search, config, Folder.at(location))
    else:
        yield _ensemble(search, config, Folder.at(location))


def _split(search: SearchConfig, config: SplitConfig, place: Folder) -> Iterator[Report]:
    plan, cut = row_of(config, search.link, search.device, search.server, search.rate)
    loop = Loop(config, LocalDevice(config))
    shared, start = shared_stage(config)
    if shared is not None and (state := place.find(shared)) is not None:
        # The first stage of a prune schedule is the same for all that begin alike: the weights are those of a run
        # that trained it itself.
        loop.restore(unpack_state(state))
    else:
        start = 0
    seconds = partial(_seconds, search, config, cut)
    traffic, time_s = total_traffic(loop.records), sum(map(seconds, loop.records))
    for record in loop.epochs():
        epoch = record.epoch + 1
        traffic, time_s = traffic + record.traffic, time_s + seconds(record)
        if shared is not None and not start and epoch == shared_stage(config)[1]:
            place.write(shared, pack_state(loop.state()))
        yield {
            "epoch": epoch,
            "trained": epoch - start,
            "last": epoch == config.train.epochs,
            "accuracy": record.val_accuracy,
            "bytes": traffic,
            "seconds": time_s,
            "image_bytes": plan.bytes_up,
            "answer_s": plan.total_s,
        }


def shared_stage(config: SplitConfig) -> tuple[str | None, int]:
    """Return where the state at the end of a prune schedule's first stage is kept, and its epochs."""
    schedule = config.schedule
    if not isinstance(schedule, Prune) or len(schedule.phases) == 1:
        return None, 0
    end = phase_starts(schedule.phases, config.train.epochs)[1]
    tree = config.model_dump(mode="json")
    for key in ("name", "ray"):
        del tree[key]
    tree["schedule"] = {"first": tree["schedule"]["phases"][0], "epochs": end}
    return f"{STATES}/{hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:16]}.pt", end


def _seconds(search: SearchConfig, config: SplitConfig, cut: CutProfile, record: EpochRecord) -> float:
    """Return the seconds of an epoch's training on the link and the machines; a backward pass is two forward ones.

    Without validation. Epochs in which the server learns from what it kept cost the device nothing.
    """
    parts, mode = record.steps * config.train.in_flight, record.mode
    images = config.train.batch_size // config.train.in_flight
    forward = images * cut.device_gflops / search.device.gflops_per_s
    trains = 3 * images * cut.server_gflops / search.server.gflops_per_s
    micro = Micro(
        up_bytes=record.bytes_up / parts,
        down_bytes=record.bytes_down / parts,
        forward_s=0.0 if mode == "cached" else forward,
        backward_s=0.0 if mode in ("cached", "frozen") else 2 * forward,
        server_s=0.0 if mode == "alone" else trains,
    )
    return train_seconds(search.link, record.steps, config.train.in_flight, micro)


def _ensemble(search: SearchConfig, config: EnsembleConfig, place: Folder) -> Report:
    with tempfile.TemporaryDirectory() as folder:
        built = BuildDir.at(folder)
        if config.base.weights is None:
            shared = shared_base(config, place)
            _copied((BASE_WEIGHTS, BASE_RECORD), shared, built)
            summary = build_ensemble(config, folder)
            _copied((BASE_RECORD, BASE_WEIGHTS), built, shared)
        else:
            summary = build_ensemble(config, folder)
        epochs, plan = built.fusion_record().epochs, built.plan()
    assert plan is not None
    size, (mib, seconds) = summary.bytes_per_sample, _largest(plan.submodels, search)
    return {
        "epoch": epochs_of(config),
        "trained": epochs_of(config),
        "last": True,
        "accuracy": max(epoch.val_accuracy for epoch in epochs),
        "bytes": size,
        "seconds": seconds + search.link.call_s(size),
        "mib": mib,
    }


def _copied(names: Sequence[str], source: Folder, target: Folder) -> None:
    """Copy files that the source has and the target has not."""
    for name in names:
        data = source.find(name)
        if data is not None and not target.has(name):
            target.write(name, data)
