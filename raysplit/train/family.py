"""Writes a family, the bundle of a finished run: its network in two halves, at each level that it kept."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import torch
from safetensors.torch import save

from raysplit.compress.user_codec import build_codec
from raysplit.config import Level, SplitConfig
from raysplit.config.in_memory import PREFIX
from raysplit.errors import ConfigError
from raysplit.folders.run_dir import RunDir, level_file
from raysplit.records.epoch import EpochRecord
from raysplit.records.family import FOLDER, KIND, FamilyLevel, FamilyManifest
from raysplit.records.levels import LevelRecord, level_records, summarize_level
from raysplit.records.summary import RunSummary
from raysplit.schedules.user import UserSchedule
from raysplit.split import Cut
from raysplit.torch_utils.checkpoint import unpack_state
from raysplit.train.device_network import device_weights
from raysplit.train.divergence import require_finite_file
from raysplit.train.halves import build_device_half, takes_head
from raysplit.train.own_states import RECEIPT, StateReference, describe_missing_half
from raysplit.train.user_files import kept_user_files, use_copies
from raysplit.utils.bundle import copy_bundle, read_kind, write_bundle
from raysplit.utils.storage import Folder
from raysplit.utils.user_code import ObjectRecord

_RECORD = ("config.json", "metrics.parquet", "summary.json")
"""The run's record is part of the bundle: halves are built from the config, and a report reads a family like a run."""
_DEVICES = "devices.parquet"
"""Of many devices, part of it too."""


@dataclass(frozen=True)
class Crossing:
    """What crosses the cut of a network."""

    cut: Cut
    code_shape: tuple[int, ...]
    """Without the batch dimension."""


def write_family(run_dir: str, out: str, device: str | None = None) -> str:
    """Write the bundle of a finished run to a path or URI and return its location.

    It holds the model that a prune run kept at each level, or the one with which another run ended, the run's record,
    and the user's own model and codec files. Every run writes its own when it ends, to `RUN_DIR/family`.

    `device` is the file with the device's state, of a run with `checkpoint.device=local`, which has it on the device;
    None: where it was written, if that is on this machine. Its weights are then in the run's folder too.

    Raises ConfigError for a run that has not ended, or of which the device's state is not here; DivergenceError, before
    anything is written, for a level that holds NaN.

    >>> from raysplit import load_family
    >>> family = load_family(write_family("run", "new_family"))
    >>> [level.level for level in family.levels]
    ['all·b4/b4·zstd', 'c2·b4/b4·zstd']
    """
    folder = RunDir.at(run_dir)
    config, summary = folder.config(), folder.summary()
    if summary is None:
        raise ConfigError(f"run '{run_dir}' has not ended; continue it with --resume {run_dir}")
    own = posixpath.join(folder.location, FOLDER)
    if _needs_more(config) and Folder.at(out).location != own and read_kind(own) == KIND:
        return copy_bundle(own, KIND, out)
    collect_device(folder, config, device)
    with TemporaryDirectory() as path:
        copies = Folder.at(path)
        code = kept_user_files(folder, config)
        for name, data in code.items():
            copies.write(name, data)
        config = use_copies(config, {name: Path(path, name) for name in code})
        built = build_device_half(config, len(summary.classes), summary.shape, init_weights=False)
        return pack_family(folder, out, config, summary, folder.records(), Crossing(built.cut, built.code_shape))


def collect_device(folder: RunDir, config: SplitConfig, file: str | None) -> None:
    """Write the weights of a device half that has stayed on its device to the run's folder, unless they are there.

    `file` as in `write_family`. Raises ConfigError for a file that is not there, or is another state.
    """
    receipt = folder.find(RECEIPT)
    if receipt is None or folder.has("device.safetensors"):
        return
    reference = StateReference.parse(receipt)
    path = file or reference.path
    data = Folder.at(posixpath.dirname(path) or ".").find(posixpath.basename(path))
    if data is None:
        named = f"'{file}' does not exist; " if file else ""
        raise ConfigError(named + describe_missing_half(folder.location, reference))
    folder.write_weights(device_weights(config, unpack_state(reference.check(data, path))))


def _needs_more(config: SplitConfig) -> bool:
    """Return whether a run's folder lacks what its family is made from: objects in memory, a user's schedule."""
    parts = config.schedule, config.codec
    return config.model.name.startswith(PREFIX) or any(isinstance(part, ObjectRecord | UserSchedule) for part in parts)


def pack_family(
    folder: RunDir,
    out: str,
    config: SplitConfig,
    summary: RunSummary,
    records: Sequence[EpochRecord],
    crossing: Crossing,
) -> str:
    """Write the family of a run from its folder and what is known of it; return the bundle's location."""
    files = {name: folder.read(name) for name in _RECORD} | kept_user_files(folder, config)
    if (devices := folder.find(_DEVICES)) is not None:
        files[_DEVICES] = devices
    levels = []
    for index, (record, weights) in enumerate(_kept(folder, config, summary, records)):
        codec = build_codec(config.codec, Level(record.level), "up", crossing.cut.channel_dim)
        size = codec.estimate((1, *crossing.code_shape))
        entry = FamilyLevel(
            **asdict(record),
            file=level_file(index),
            bytes_per_image=size.bytes,
            bytes_per_image_exact=size.exact,
        )
        require_finite_file(weights, entry.file, folder.location, config.train.lr)
        levels.append(entry)
        files[entry.file] = weights
    manifest = FamilyManifest(
        classes=summary.classes,
        shape=summary.shape,
        mean=summary.mean,
        std=summary.std,
        cut=crossing.cut.name,
        channel_dim=crossing.cut.channel_dim,
        code_shape=crossing.code_shape,
        answered_by=_answered_by(config, records),
        levels=tuple(levels),
    )
    return write_bundle(out, KIND, manifest.model_dump(mode="json"), files)


def _answered_by(config: SplitConfig, records: Sequence[EpochRecord]) -> Literal["server", "head", "both"]:
    if _head_answers(config, records[-1]):
        return "head"
    return "both" if takes_head(config) else "server"


def _kept(
    folder: RunDir, config: SplitConfig, summary: RunSummary, records: Sequence[EpochRecord]
) -> list[tuple[LevelRecord, bytes]]:
    """Return each level that a run kept, with its weights.

    Of a run that did not end with one that it kept, or whose device learned alone to the end, it is the last one only;
    a level that ended while the device learned alone has no server half.
    """
    kept = level_records(records, config.train.batch_size)
    modes = [record.mode for record in records if record.test_accuracy is not None]
    if kept and records[-1].test_accuracy is not None and not _head_answers(config, records[-1]):
        # A schedule may return to a level: its last model counts.
        newest = {
            record.level: (record, folder.read(level_file(index)))
            for index, (record, mode) in enumerate(zip(kept, modes, strict=True))
            if mode != "alone"
        }
        return list(newest.values())
    level = records[-1].level
    stage = list(records)
    while len(stage) > 1 and any(record.level != level for record in stage):
        stage.pop(0)
    return [
        (summarize_level(stage, summary.accuracy, config.train.batch_size), _final_weights(folder, config, records))
    ]


def _head_answers(config: SplitConfig, record: EpochRecord) -> bool:
    """Return whether a device's local head answers after an epoch; in `fedavg` it trains all layers, not a head."""
    return record.mode == "alone" and config.devices.mode != "fedavg"


def _final_weights(folder: RunDir, config: SplitConfig, records: Sequence[EpochRecord]) -> bytes:
    """Return the weights that a run ended with, under the keys of a level's file."""
    sides = ("device", "server", "tail") if config.cut_back is not None else ("device", "server")
    halves = join_tail({side: folder.read_weights(f"{side}.safetensors") for side in sides})
    if _head_answers(config, records[-1]):
        head = folder.read_weights("head.safetensors")
        halves["server"] = {f"body.{name}": value for name, value in head.items()}
    return save(_under("device", halves["device"]) | _under("server", halves["server"]))


def join_tail(weights: Mapping[str, Mapping[str, torch.Tensor]]) -> dict[str, dict[str, torch.Tensor]]:
    """Return the two halves of a run's network: what lies after a second cut belongs to the server's.

    >>> weights = {"device": {}, "server": {"body.1": torch.ones(1)}, "tail": {"body.2": torch.ones(1)}}
    >>> list(join_tail(weights)["server"])
    ['body.1', 'body.2']
    """
    return {"device": dict(weights["device"]), "server": {**weights["server"], **weights.get("tail", {})}}


def _under(side: str, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{side}.{name}": value for name, value in state.items()}
